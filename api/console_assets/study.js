// One feature: its history in a period, what is not known of it and why, its distribution, autocorrelation and
// correlation with others; and the same of another registry version beside it.

import { bars, lines, matrix, missingMap } from "./chart.js";
import { clock, duration, field, h, legendOf, number, setText, share, short, table, told } from "./dom.js";

const HOUR_MS = 3600000;

export async function show(root, { api, note, rest, query }) {
  const [all, { symbols }, versions, costs] = await Promise.all([api("/features/list"), api("/features/overview"), api("/feature-registry/versions"), api("/features/costs")]);
  const declared = all.find((each) => each.name === rest[0]);
  const input = (value, more = {}) => h("input", { value, ...more });
  const symbol = input(query.get("symbol") ?? Object.keys(symbols)[0] ?? "", { list: "symbols", required: true, size: 12 });
  const now = Date.now();
  const from = input(query.get("from") ?? new Date(now - HOUR_MS).toISOString().slice(0, 19), { required: true, size: 20 });
  const to = input(query.get("to") ?? new Date(now).toISOString().slice(0, 19), { required: true, size: 20 });
  const others = input(query.get("with") ?? "", { list: "features", placeholder: "mid_price, spread_abs" });
  const version = choice(versions, query.get("version"), "the served version");
  const against = choice(versions, query.get("against"), "no other version");
  const span = (label, hours) => h("button", { type: "button", onclick: () => { to.value = new Date().toISOString().slice(0, 19); from.value = new Date(Date.now() - hours * HOUR_MS).toISOString().slice(0, 19); go(); } }, label);
  const answer = h("div", {}), wrong = h("p", { class: "error", role: "alert" });
  const form = h("form", { class: "bar" }, field("Symbol", symbol), h("datalist", { id: "symbols" }, Object.keys(symbols).map((each) => h("option", { value: each }))),
    h("datalist", { id: "features" }, all.map((each) => h("option", { value: each.name }))),
    field("From, UTC", from), field("To, UTC", to), field("Other features, separated by commas", others), field("Registry version", version), field("Version beside it", against),
    h("button", { class: "primary", type: "submit" }, "Show"), span("Last hour", 1), span("Last day", 24), span("Last week", 168));
  root.append(h("h1", {}, h("a", { href: "#features" }, "Features"), ` · ${rest[0]}`),
    declared ? h("p", {}, `${declared.summary} `, h("code", {}, declared.formula), h("span", { class: "muted" }, ` Unit ${declared.unit}, horizon ${duration(declared.horizon_seconds)}, not known: ${declared.nan_rule}`, costOf(costs, rest[0]))) : "",
    form, wrong, answer);

  async function go() {
    setText(wrong, "");
    note("features", rest, [["symbol", symbol.value], ["from", from.value], ["to", to.value], ["with", others.value], ["version", version.value], ["against", against.value]]);
    const names = [rest[0], ...others.value.split(",").map((each) => each.trim()).filter(Boolean)];
    const asked = (chosen) => api(`/features/study?${new URLSearchParams([["symbol", symbol.value], ["from", from.value], ["to", to.value], ["features", [...new Set(names)].join(",")],
      ...(chosen ? [["registry_version", chosen]] : [])])}`);
    try {
      const found = await Promise.all([asked(version.value), ...(against.value ? [asked(against.value)] : [])]);
      const units = new Map(all.map((each) => [each.name, each.unit]));
      answer.replaceChildren(h("div", { class: found.length > 1 ? "beside" : "" }, found.map((each) => h("section", {}, parts(each, units)))));
    } catch (error) {
      answer.replaceChildren();
      setText(wrong, told(error));
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  await go();
}

const costOf = ({ features, processor }, name) => (features?.[name]?.row_us ? ` A row costs ${short(features[name].row_us, 3)} µs of processor time on ${processor}.` : "");

const choice = (versions, chosen, none) => h("select", {}, h("option", { value: "" }, none),
  versions.map((each) => h("option", { value: each.version, selected: each.version === chosen }, each.version)));

function parts(found, units) {
  const names = Object.keys(found.features), first = found.features[names[0]];
  const fromMs = Date.parse(found.from), toMs = Date.parse(found.to), stepMs = found.bucket_seconds * 1000;
  const series = names.map((name) => { const { line } = found.features[name];
    return { name, unit: units.get(name), times: line.mean.map((_, at) => Math.min(fromMs + (at + 0.5) * stepMs, toMs)), ...line }; });
  const { edges, counts, below, above } = first.histogram;
  const facts = names.map((name) => { const each = found.features[name];
    return [name, number(each.rows), each.rows ? share(each.known / each.rows) : "–", ...[each.mean, each.deviation, ...each.quantiles].map((value) => short(value))]; });
  return [
    h("h2", {}, `${found.symbol}, registry ${found.feature_registry_version}, ${clock(found.from)} to ${clock(found.to)}`),
    lines({ label: `${names.join(", ")} over time`, series, fromMs, toMs, gapMs: Math.max(2 * stepMs, 3000) }),
    h("p", { class: "muted" }, `A point is ${duration(found.bucket_seconds)}: its mean, and a stroke from its least to its greatest value. Shaded: not known.`),
    h("h2", {}, "Not known"), missingMap(names.map((name) => [name, found.features[name].unknown]), first.line.mean.length),
    h("p", { class: "muted" }, legendOf(names.flatMap((name) => Object.keys(found.features[name].unknown)))),
    h("h2", {}, "Figures"), table("Figures", [["feature", "name mono"], ["rows", "number"], ["known", "number"], ["mean", "number"], ["deviation", "number"],
      ...found.probabilities.map((each) => [each === 0 ? "least" : each === 1 ? "greatest" : each === 0.5 ? "median" : `${each * 100} %`, "number"])], facts, "No row."),
    h("div", { class: "beside" },
      h("section", {}, h("h2", {}, `Distribution of ${names[0]}`), counts.length ? h("figure", { class: "panel" }, bars(`Distribution of ${names[0]}`, counts.map((count, at) => [`${number(edges[at])} to ${number(edges[at + 1])}`, count])),
        h("div", { class: "ends muted" }, h("span", {}, `${number(edges[0])} (${number(below)} below)`), h("span", {}, `${number(edges[edges.length - 1])} (${number(above)} above)`))) : h("p", { class: "muted" }, "It does not vary here.")),
      h("section", {}, h("h2", {}, `Autocorrelation of ${names[0]}`), h("figure", { class: "panel" }, bars(`Autocorrelation of ${names[0]}`, first.autocorrelation.map((value, at) => [duration(found.lags_seconds[at]), value])),
        h("div", { class: "lags muted" }, first.autocorrelation.map((value, at) => h("span", {}, duration(found.lags_seconds[at]), h("br"), value === null ? "–" : value.toFixed(3))))))),
    h("h2", {}, "Correlation"), names.length > 1 ? matrix(names, found.correlation) : h("p", { class: "muted" }, "Name other features above to see how they move together, second by second."),
  ];
}
