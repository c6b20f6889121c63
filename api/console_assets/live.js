// Live: every symbol with its statuses, where its time goes, and one symbol with its whole vector.

import { ageBadge, badge, duration, every, h, legendOf, number, setText, table } from "./dom.js";
import { vector } from "./symbol.js";

// What a worker measures, in the order in which a message goes through it.
const STAGES = { transit: "a message, received until here", handle: "a message, on the tape and applied", close: "a row, its time until computed", online: "a row, its time until readable", fresh: "the newest message, received until its row is readable" };

export async function show(root, context) {
  return context.rest[0] ? vector(root, context) : overview(root, context);
}

async function overview(root, { api, isShown }) {
  const at = h("div", { class: "live" }), times = h("div", { class: "live" }), meaning = h("p", { class: "muted" });
  root.append(h("h1", {}, "Live"), at, meaning, times);
  async function draw() {
    const found = await api("/features/overview");
    const names = [...new Set(Object.values(found.symbols).flatMap((row) => Object.keys(row?.groups ?? {})))];
    const rows = Object.entries(found.symbols).map(([symbol, row]) => [
      h("a", { href: `#live/${encodeURIComponent(symbol)}` }, symbol),
      ...(row === null
        ? ["–", "no row yet", "–", "–"]
        : [
            row.mid_price === null ? badge(row.missing.mid_price ?? "not served") : number(row.mid_price),
            ageBadge(row.age_ms),
            duration(row.lag_ms / 1000),
            `${row.features - row.unknown} of ${row.features}`,
          ]),
      ...names.map((name) => (row?.groups[name] ? badge(row.groups[name]) : "–")),
    ]);
    // Who reads the table with the keyboard keeps the place.
    const focused = at.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    at.replaceChildren(table("Symbols", [["symbol", "name"], ["mid price, quote", "number"], ["age", ""], ["lag", "number"], ["known", "number"], ...names.map((name) => [name, "status"])], rows, "No symbol is followed."));
    setText(meaning, `Age: since the time of the newest row. Lag: from its time until it could be read. Known: features with a value. ${legendOf(Object.values(found.symbols).flatMap((row) => Object.values(row?.groups ?? {})))}`);
    if (focused) [...at.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }
  async function latency() {
    const { workers } = await api("/stats/processing");
    const ms = (value) => (value === null || value === undefined ? "–" : value < 10 ? `${value.toFixed(1)} ms` : duration(value / 1000));
    times.replaceChildren(h("h2", {}, "Latency"), table("Latency", [["worker", "name"], ["step", ""], ["what it is", ""], ["median", "number"], ["95 %", "number"], ["99 %", "number"], ["measured", "number"]],
      (workers ?? []).filter((each) => each.is_alive).flatMap((each) => Object.entries(STAGES).filter(([name]) => each.stages?.[name])
        .map(([name, what]) => [each.worker_id, name, what, ...["p50_ms", "p95_ms", "p99_ms"].map((key) => ms(each.stages[name][key])), number(each.stages[name].count)])), "No worker has measured any yet."));
  }
  const stops = await Promise.all([every(1000, draw, isShown), every(5000, () => latency().catch(() => {}), isShown)]);
  return () => stops.forEach((stop) => stop());
}
