// Features: the catalogue, what each one is and what is promised of it.

import { duration, h, number, setText, table } from "./dom.js";
import { show as study } from "./study.js";

const range = (each) => each.low === null && each.high === null ? "any" : `${each.low === null ? "" : `${number(each.low)} ≤ `}x${each.high === null ? "" : ` ≤ ${number(each.high)}`}`;

export async function show(root, context) {
  return context.rest[0] ? study(root, context) : catalogue(root, context);
}

async function catalogue(root, { api, note, query }) {
  const all = await api("/features/list");
  const search = h("input", { type: "search", placeholder: "Search name, formula or meaning", "aria-label": "Search features", value: query.get("q") ?? "" });
  const groups = [...new Set(all.map((each) => each.group))];
  const group = h("select", { "aria-label": "Group" }, h("option", { value: "" }, "every group"), groups.map((name) => h("option", { value: name, selected: name === query.get("group") }, name)));
  const count = h("span", { class: "muted", role: "status" }), at = h("div", {});
  root.append(h("h1", {}, "Features"), h("div", { class: "bar" }, search, group, count), at);
  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const found = all.filter((each) => (!group.value || each.group === group.value) &&
      `${each.name} ${each.formula} ${each.summary}`.toLowerCase().includes(wanted));
    setText(count, `${found.length} of ${all.length} features`);
    at.replaceChildren(table("Features", [["name", "name mono"], ["group", ""], ["meaning and formula", "formula"], ["unit", ""], ["range", "name"], ["horizon", "number"], ["fresh within", "number"], ["coverage", "number"]],
      found.map((each) => [h("a", { href: `#features/${encodeURIComponent(each.name)}` }, each.name), each.group,
        h("div", {}, h("div", {}, each.summary), h("code", {}, each.formula), h("div", { class: "muted" }, `not known: ${each.nan_rule}`)),
        each.unit, range(each), duration(each.horizon_seconds), duration(each.freshness_slo_seconds), `${number(each.coverage_slo * 100)} %`]), "No feature has this name."));
    note("features", [], [["q", search.value.trim()], ["group", group.value]]);
  }
  search.addEventListener("input", draw);
  group.addEventListener("change", draw);
  draw();
}
