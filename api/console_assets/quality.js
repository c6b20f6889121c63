// Quality: the report on a symbol's data in a period, and how far what is served has moved from a dataset.

import { clock, field, h, number, setText, share, short, table, told, words } from "./dom.js";

const DAY_MS = 86400000;
const plain = (value) => (value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? number(value) : String(value));

export async function show(root, { api, note, rest, query }) {
  const [{ symbols }, datasets] = await Promise.all([api("/features/overview"), api("/dataset/list?status=ready&limit=100")]);
  const symbol = h("input", { list: "symbols", required: true, size: 12, value: rest[0] ?? Object.keys(symbols)[0] ?? "" });
  const now = Date.now();
  const from = h("input", { required: true, size: 24, value: query.get("from") ?? new Date(now - DAY_MS).toISOString() });
  const to = h("input", { required: true, size: 24, value: query.get("to") ?? new Date(now).toISOString() });
  const dataset = h("select", {}, h("option", { value: "" }, "none"),
    datasets.map((each) => h("option", { value: each.dataset_id, selected: each.dataset_id === query.get("dataset") }, each.dataset_id.slice(0, 12))));
  const answer = h("div", {}), drift = h("div", {}), wrong = h("p", { class: "error", role: "alert" });
  const form = h("form", { class: "bar" }, field("Symbol", symbol), h("datalist", { id: "symbols" }, Object.keys(symbols).map((each) => h("option", { value: each }))),
    field("From, UTC", from), field("To, UTC", to), field("Drift of served rows from dataset", dataset), h("button", { class: "primary", type: "submit" }, "Report"));
  root.append(h("h1", {}, "Quality"),
    h("p", { class: "muted" }, "Missing, duplicated and late messages and outliers in a symbol's data. Each report is stored."), form, wrong, answer, drift);

  async function go() {
    setText(wrong, "");
    note("quality", [symbol.value], [["from", from.value], ["to", to.value], ["dataset", dataset.value]]);
    answer.replaceChildren();
    drift.replaceChildren();
    const asked = new URLSearchParams({ symbol: symbol.value, from: from.value, to: to.value });
    try {
      answer.replaceChildren(...report(await api(`/data-quality/report?${asked}`)));
      if (dataset.value) drift.replaceChildren(...moved(await api(`/data-quality/drift?${new URLSearchParams({ dataset_id: dataset.value })}`)));
    } catch (error) {
      setText(wrong, told(error));
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  // A report is kept, so one is made only for who asks: by the button, or by an address that names a period.
  if (rest[0] && query.get("from")) await go();
  else answer.append(h("p", { class: "muted" }, "Choose a symbol and a period of at most 31 days."));
}

const tile = (name, value) => h("div", { class: "tile" }, h("b", {}, value), h("span", { class: "muted" }, name));

function report(found) {
  const period = new URLSearchParams({ from: found.period_start.slice(0, 10), to: found.period_end.slice(0, 10) });
  return [h("h2", {}, `${found.symbol}, ${clock(found.period_start)} to ${clock(found.period_end)}`),
    h("div", { class: "tiles" }, tile("missing", share(found.missing_rate)), tile("anomalies", share(found.anomaly_rate)),
      tile("gaps in the order book", number(found.sequence_gaps)), tile("gaps and interruptions", number(found.desynchronization_events)),
      tile("late messages", number(found.late_messages)), tile("repeated messages", number(found.duplicate_messages))),
    h("p", {}, h("a", { href: `#coverage/${encodeURIComponent(found.symbol)}?${period}` }, "Calendar of stored and missing data")),
    h("h2", {}, "What to do"), found.recommendations.length ? h("ul", {}, found.recommendations.map((each) => h("li", {}, each))) : h("p", { class: "muted" }, "Nothing is wrong in what was checked."),
    h("h2", {}, "Not checked"), table("Not checked", [["check", "name"], ["why", "formula"]], Object.entries(found.unchecked), "Everything was checked."),
    h("h2", {}, "Streams"), rows("Streams", streams(found), "No stream."),
    h("h2", {}, "Gaps"), rows("Gaps", found.sequence_gap_details, "No gap."),
    h("h2", {}, "Anomalies"), rows("Anomalies", found.anomaly_details, "No anomaly.")];
}

const OF_A_STREAM = ["received", "expected", "missing", "late", "duplicates", "silences"];

function streams(found) {
  return Object.entries(found.streams).map(([stream, each]) => ({ stream, ...Object.fromEntries(OF_A_STREAM.map((name) => [name, each[name]])) }));
}

function rows(caption, found, empty) {
  const names = [...new Set(found.flatMap(Object.keys))];
  const kind = (name) => (found.every((each) => typeof (each[name] ?? 0) === "number") ? "number" : "");
  return table(caption, names.map((name) => [words(name), kind(name)]), found.map((each) => names.map((name) => plain(each[name] ?? null))), empty);
}

function moved(found) {
  return [h("h2", {}, `Served from ${clock(found.from)} to ${clock(found.to)}, against the dataset`),
    h("p", { class: "muted" }, "PSI and KS say how far the distribution of a column has moved since the dataset: 0 is not at all. Missing: the share of rows in which it is unknown."),
    ...Object.entries(found.symbols).flatMap(([symbol, each]) => [h("h3", {}, `${symbol}: ${number(each.rows)} rows, ${number(each.drifted.length)} of ${number(Object.keys(each.columns).length)} columns have moved`),
      table(`Drift of ${symbol}`, [["column", "name mono"], ["PSI", "number"], ["KS", "number"], ["missing then", "number"], ["missing now", "number"], ["limits exceeded", ""]],
        Object.entries(each.columns).map(([name, column]) => [name, short(column.psi, 3), short(column.ks, 3), share(column.missing_then), share(column.missing_now),
          column.is_expected ? "moves by nature" : column.drifted.join(", ").replace("psi", "PSI").replace("ks", "KS") || "none"]), "No row of it was served in this time.")])];
}
