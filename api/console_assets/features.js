// Features: the catalogue, what each one is, what is promised of it and what it costs.

import { badge, clock, duration, h, number, setText, short, table, told } from "./dom.js";
import { show as study } from "./study.js";

const range = (each) => each.low === null && each.high === null ? "any" : `${each.low === null ? "" : `${number(each.low)} ≤ `}x${each.high === null ? "" : ` ≤ ${number(each.high)}`}`;

export async function show(root, context) {
  return context.rest[0] ? study(root, context) : catalogue(root, context);
}

const ORDERS = { "": "in the catalogue's order", cost: "the dearest first", horizon: "the longest horizon first" };

async function catalogue(root, { api, note, query, session }) {
  const [all, known] = await Promise.all([api("/features/list"), api("/features/costs")]);
  let costs = known;
  const search = h("input", { type: "search", placeholder: "Search name, formula or meaning", "aria-label": "Search features", value: query.get("q") ?? "" });
  const groups = [...new Set(all.map((each) => each.group))];
  const select = (label, entries, chosen) => h("select", { "aria-label": label }, entries.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  const group = select("Group", [["", "every group"], ...groups.map((name) => [name, name])], query.get("group"));
  const order = select("Order", Object.entries(ORDERS), query.get("order"));
  const count = h("span", { class: "muted", role: "status" }), said = h("span", { class: "muted", role: "status" }), at = h("div", {});
  const measure = h("button", { type: "button", onclick: async () => {
    measure.disabled = true;
    setText(said, "Measuring; it takes seconds, and a minute the first time on a machine …");
    try { costs = await api("/features/costs", { method: "POST" }); draw(); } catch (error) { setText(said, told(error)); }
    measure.disabled = false;
  } }, "Measure costs");
  root.append(h("h1", {}, "Features"), h("div", { class: "bar" }, search, group, order, count), h("div", { class: "bar" }, session.can_write ? measure : null, said), at);
  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const found = all.filter((each) => (!group.value || each.group === group.value) &&
      `${each.name} ${each.formula} ${each.summary}`.toLowerCase().includes(wanted));
    const key = order.value === "cost" ? (each) => costs.features?.[each.name]?.row_us ?? -1 : (each) => each.horizon_seconds;
    if (order.value) found.sort((one, other) => key(other) - key(one));
    setText(count, `${found.length} of ${all.length} features`);
    setText(said, costs.features ? measuredOn(costs) : "Costs have not been measured since this process began.");
    at.replaceChildren(table("Features", [["feature and group", "name"], ["meaning and formula", "formula"], ["unit", ""], ["range", "name"], ["horizon", "number"], ["cost of a row, µs", "number"], ["objective", "name"]],
      found.map((each) => [h("div", {}, h("a", { class: "mono", href: `#features/${encodeURIComponent(each.name)}` }, each.name), h("div", { class: "muted" }, each.group)),
        h("div", {}, h("div", {}, each.summary), h("code", {}, each.formula), h("div", { class: "muted" }, `not known: ${each.nan_rule}`)),
        each.unit, range(each), duration(each.horizon_seconds), cost(costs.features?.[each.name]), `${number(each.coverage_slo * 100)} % within ${duration(each.freshness_slo_seconds)}`]), "No feature has this name."));
    note("features", [], [["q", search.value.trim()], ["group", group.value], ["order", order.value]]);
  }
  search.addEventListener("input", draw);
  group.addEventListener("change", draw);
  order.addEventListener("change", draw);
  draw();
}

const cost = (each) => (!each ? "–" : each.row_us === null ? badge(each.reason) : h("span", { title: each.row_us }, short(each.row_us, 3)));

const measuredOn = (costs) => `Cost: processor time of computing a feature alone for one row of ${costs.symbol}, measured on ${costs.processor} with its state of ${clock(costs.row)} UTC, registry ${costs.feature_registry_version}. ` +
  "Features share what they take of a window: together they cost less than the sum. A badge says why a value was not known and could not be timed; – is not in that version.";
