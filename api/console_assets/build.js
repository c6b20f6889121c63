// A dataset to be: what there is of a symbol, the splits on the time line with purge and embargo, and what is asked of them.

import { clock, h, setText, told } from "./dom.js";
import { SPLITS, timeline } from "./timeline.js";

const TARGETS = { regression: "return ahead", classification: "up, down or neither", risk_adjusted: "return by its risk", triple_barrier: "first barrier met" };

export async function show(root, { api, note, query, session }) {
  const [{ symbols }, versions, active] = await Promise.all([api("/features/overview"), api("/feature-registry/versions"), api("/feature-registry")]);
  const input = (more) => h("input", more);
  const select = (entries, chosen) => h("select", {}, entries.map(([value, label]) => h("option", { value, selected: value === chosen }, label)));
  const given = {
    symbol: input({ list: "symbols", required: true, value: query.get("symbol") ?? Object.keys(symbols)[0] ?? "" }),
    from: input({ required: true, value: query.get("from") ?? "", placeholder: "2026-01-05T12:00" }),
    to: input({ required: true, value: query.get("to") ?? "", placeholder: "2026-01-05T18:00" }),
    train: input({ type: "number", min: 1, max: 98, value: query.get("train") ?? 70 }),
    validation: input({ type: "number", min: 1, max: 98, value: query.get("validation") ?? 15 }),
    target: select(Object.entries(TARGETS), query.get("target") ?? "regression"),
    horizon: input({ required: true, value: query.get("horizon") ?? "30s" }),
    threshold: input({ required: true, value: query.get("threshold") || "0.001" }),
    interval: select(["1s", "3s", "15s", "1m"].map((each) => [each, each]), query.get("interval") ?? "1s"),
    embargo: input({ required: true, value: query.get("embargo") ?? "0s" }),
    purge: select([["yes", "yes"], ["no", "no: labels of one split reach into the next"]], query.get("purge") ?? "yes"),
    missing: select([["keep", "keep, as not known"], ["drop", "drop the row"], ["forward_fill", "fill with the value before"]], query.get("missing") ?? "keep"),
    version: select(versions.filter((each) => each.is_valid).map((each) => [each.version, each.version]), query.get("version") ?? active.served_version),
  };
  const NAMES = { symbol: "Symbol", from: "From, UTC", to: "To, UTC", train: "Train, % of the time", validation: "Validation, % of the time", target: "Target", horizon: "Horizon, as 30s, 5m",
    threshold: "Threshold or barrier, as a return", interval: "A row every", embargo: "Embargo, as 1m", purge: "Purge", missing: "Where a value is not known", version: "Registry version" };
  const held = h("p", { class: "muted", role: "status" }, "Looking at what is held …"), line = h("div", {}), wrong = h("p", { class: "error", role: "alert" });
  const field = (name) => h("label", {}, NAMES[name], given[name]);
  const button = h("button", { class: "primary", type: "submit", disabled: true }, "Build");
  const form = h("form", {}, h("div", { class: "fields" }, Object.keys(given).map(field)), h("datalist", { id: "symbols" }, Object.keys(symbols).map((each) => h("option", { value: each }))),
    line, ...(session.can_write ? [h("div", { class: "bar" }, button)] : [h("p", { class: "note" }, "This key may read alone: it cannot start a build.")]), wrong);
  root.append(h("h1", {}, h("a", { href: "#datasets" }, "Datasets"), " · new"), held, form);
  let coverage = null;
  const offerThreshold = () => { given.threshold.parentElement.hidden = !["classification", "triple_barrier"].includes(given.target.value); };
  offerThreshold();

  async function look() {
    coverage = null;
    try {
      coverage = await api(`/coverage?${new URLSearchParams({ symbol: given.symbol.value })}`);
      const spans = heldSpans(coverage);
      setText(held, spans.length ? `Held of ${coverage.symbol} within the last 31 days: ${clock(iso(spans[0][0]))} to ${clock(iso(spans[spans.length - 1][1]))} UTC.` : `Nothing of ${coverage.symbol} is held.`);
      if (spans.length && !given.from.value) given.from.value = iso(spans[0][0]).slice(0, 19);
      if (spans.length && !given.to.value) given.to.value = iso(Math.min(spans[spans.length - 1][1], Date.now() - 60000)).slice(0, 19);
    } catch (error) { setText(held, told(error)); }
    draw();
  }

  function draw() {
    offerThreshold();
    const asked = wanted(given), mistake = problemOf(asked), problem = mistake ?? emptyOf(asked);
    note("datasets", ["new"], Object.entries(given).map(([name, element]) => [name, element.value]));
    setText(wrong, problem ?? "");
    button.disabled = problem !== null;
    line.replaceChildren(...(mistake ? [] : [timeline({ folds: laid(asked), held: coverage ? heldSpans(coverage) : null })]));
  }

  form.addEventListener("input", (event) => { if (event.target !== given.symbol) draw(); });
  given.symbol.addEventListener("change", look);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setText(wrong, "");
    button.disabled = true;
    try { location.hash = `datasets/${(await api("/dataset/build", { method: "POST", body: request(wanted(given), given) })).dataset_id}`; }
    catch (error) { setText(wrong, told(error)); button.disabled = false; }
  });
  // What is held of a busy month takes seconds: a period that is known is drawn before.
  if (given.from.value && given.to.value) draw();
  await look();
}

const iso = (ms) => new Date(ms).toISOString();
const SECONDS = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };

function seconds(text) {
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim());
  return found ? Number(found[1]) * SECONDS[found[2]] : NaN;
}

function wanted(given) {
  const utc = (text) => Date.parse(/Z$|[+-]\d\d:\d\d$/.test(text) ? text : `${text}${text.length === 10 ? "T00:00" : ""}Z`);
  const fromMs = utc(given.from.value), toMs = utc(given.to.value), shares = [Number(given.train.value), Number(given.validation.value)];
  const at = (share) => Math.round((fromMs + ((toMs - fromMs) * share) / 100) / 1000) * 1000;
  const edges = [fromMs, at(shares[0]), at(shares[0] + shares[1]), toMs];
  return { fromMs, toMs, shares, edges, horizonS: seconds(given.horizon.value), embargoS: seconds(given.embargo.value), isPurged: given.purge.value === "yes", threshold: given.threshold.parentElement?.hidden ? 1 : Number(given.threshold.value) };
}

function problemOf(asked) {
  const { fromMs, toMs, shares, horizonS, embargoS, threshold } = asked;
  if (Number.isNaN(fromMs) || Number.isNaN(toMs)) return "From and to: must be times as 2026-01-05T12:00.";
  if (fromMs >= toMs) return "To: must be after from.";
  if (shares[0] + shares[1] > 99 || Math.min(...shares) < 1) return "Train and validation: must leave at least 1 % to test.";
  if (!(horizonS > 0)) return "Horizon: must be as 30s, 5m or 1h.";
  if (!(embargoS >= 0)) return "Embargo: must be as 0s, 30s or 5m.";
  if (!(threshold > 0)) return "Threshold: must be a return above 0, as 0.001.";
  return null;
}

function emptyOf(asked) {
  const emptied = laid(asked)[0].periods.find((each) => each.used_from === each.used_until)?.name;
  return emptied === undefined ? null : `${emptied[0].toUpperCase()}${emptied.slice(1)}: nothing is left of it after purge and embargo; take a longer period, a shorter horizon or embargo, or another share.`;
}

function request({ edges, isPurged }, given) {
  const periods = Object.fromEntries(SPLITS.flatMap((name, at) => [[`${name}_period_start`, iso(edges[at])], [`${name}_period_end`, iso(edges[at + 1])]]));
  const threshold = Number(given.threshold.value), target = { type: given.target.value, horizon: given.horizon.value };
  if (target.type === "classification") target.threshold = threshold;
  if (target.type === "triple_barrier") Object.assign(target, { upper: threshold, lower: threshold });
  return { symbol: given.symbol.value, feature_registry_version: given.version.value, ...periods, target_config: target, sample_interval: given.interval.value,
    embargo: given.embargo.value, purge: isPurged, missing: given.missing.value };
}

const heldSpans = (coverage) => {
  const ranges = ["orderbook", "trades", "klines"].flatMap((name) => coverage.streams[name]?.held_ranges ?? []).map((each) => [Date.parse(each.from), Date.parse(each.to)]).sort((a, b) => a[0] - b[0]);
  const found = [];
  for (const [from, to] of ranges) {
    const last = found[found.length - 1];
    if (last && from - last[1] <= 60000) last[1] = Math.max(last[1], to); else found.push([from, to]);
  }
  return found;
};

// What is asked for as the API would lay it out: what purge takes from the end of each split but the last, and embargo
// from the begin of each but the first.
function laid(asked) {
  const { edges, horizonS, embargoS, isPurged } = asked;
  const periods = SPLITS.map((name, at) => {
    const [start, end] = [edges[at], edges[at + 1]];
    const from = Math.min(at > 0 ? start + embargoS * 1000 : start, end), until = Math.min(Math.max(from, isPurged && at < 2 ? end - horizonS * 1000 : end), end);
    return { name, start: iso(start), embargo_from: iso(start), used_from: iso(from), used_until: iso(until), end: iso(end) };
  });
  return [{ fold: null, periods }];
}
