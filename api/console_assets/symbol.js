// One symbol: its whole vector as it changes, charts over the mid price, order book and trades.

import { lines } from "./chart.js";
import { ageBadge, badge, clock, drawSpark, every, groupBadges, h, number, setText, spark } from "./dom.js";
import { market } from "./market.js";

const MINUTES = 10, AGAIN_MINUTES = 2, AGAIN_MS = 20000, MOST_VALUES = 200000, MOST_CHARTED = 4, PRICE = "mid_price";

export async function vector(root, { api, heard, note, rest, query, isShown }) {
  const symbol = rest[0];
  const search = h("input", { type: "search", placeholder: "Search a feature", "aria-label": "Search a feature", value: query.get("q") ?? "" });
  const facts = h("span", { class: "muted" }), groups = h("span", {}), count = h("span", { class: "muted", role: "status" });
  const charted = new Set((query.get("chart") ?? "").split(",").filter(Boolean)), chart = h("div", { class: "live" });
  const now = market(symbol, { api, isShown });
  const body = h("tbody", {}), unit = new Map(), rows = new Map(), points = new Map();
  root.append(
    h("h1", {}, h("a", { href: "#live" }, "Live"), ` · ${symbol}`), h("div", { class: "bar" }, facts, groups), chart, now.element,
    h("h2", {}, "Vector"), h("div", { class: "bar" }, search, count),
    h("div", { class: "panel stack vector live", tabindex: 0, role: "region", "aria-label": `Vector of ${symbol}` }, h("table", {}, h("thead", {}, h("tr", {},
      ["feature", "value", "unit", "last ten minutes", "chart"].map((label, at) => h("th", { scope: "col", class: at === 1 ? "number" : "" }, label)))), body)));
  for (const each of await api("/features/list")) unit.set(each.name, each.unit);
  let version = null, newest = null, openedMs = null, loggedMs = null;

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const [name, row] of rows) { row.line.hidden = !name.toLowerCase().includes(wanted); shown += row.line.hidden ? 0 : 1; }
    setText(count, `${shown} of ${rows.size} features`);
  }
  const noteAll = () => note("live", rest, [["q", search.value.trim()], ["chart", [...charted].join(",")]]);
  search.addEventListener("input", () => { filter(); draw(); noteAll(); });

  function toggle(name) {
    if (!charted.delete(name)) charted.add(name);
    if (charted.size > MOST_CHARTED) charted.delete(charted.values().next().value);
    for (const [each, row] of rows) row.button.setAttribute("aria-pressed", charted.has(each));
    noteAll();
    drawChart();
  }

  // Over the mid price; while it is pointed at it stays as it is.
  function drawChart() {
    if (!newest || chart.querySelector("svg:hover")) return;
    const toMs = Date.parse(newest.timestamp) + 1000, names = [PRICE, ...[...charted].filter((name) => name !== PRICE)].filter((name) => points.has(name));
    const series = names.map((name) => ({ name, unit: unit.get(name), times: points.get(name).map(([ms]) => ms), mean: points.get(name).map(([, value]) => value) }));
    if (series.length) chart.replaceChildren(lines({ label: `${names.join(", ")}, last ten minutes`, series, fromMs: toMs - MINUTES * 60000, toMs, gapMs: 3000, unread: loggedMs < openedMs ? [loggedMs, openedMs] : null }));
  }

  function rowOf(name) {
    if (!rows.has(name)) {
      const value = h("td", { class: "number", "data-label": "value" }), [picture, path] = spark(`${name}, last ten minutes`);
      const line = h("tr", {}, h("td", { class: "name mono", "data-label": "feature" }, h("a", { href: `#features/${encodeURIComponent(name)}?symbol=${encodeURIComponent(symbol)}` }, name)), value,
        h("td", { class: "muted", "data-label": "unit" }, unit.get(name) ?? ""), h("td", { "data-label": "ten minutes" }, picture));
      const button = h("button", { type: "button", "aria-pressed": String(charted.has(name)), "aria-label": `${name} in the chart`, onclick: () => toggle(name) }, "Chart");
      line.append(h("td", { "data-label": "chart" }, button));
      rows.set(name, { line, value, path, button });
      points.set(name, []);
      body.append(line);
    }
    return rows.get(name);
  }

  function take(document) {
    newest = document;
    version = document.feature_registry_version;
    const ms = Date.parse(document.timestamp);
    openedMs ??= ms;
    loggedMs ??= ms - MINUTES * 60000;
    groups.replaceChildren(groupBadges(document.groups));
    for (const name of inOrder([...Object.keys(document.features), ...Object.keys(document.missing)], [...unit.keys()])) {
      const row = rowOf(name), value = document.features[name] ?? null;
      if (value === null) row.value.replaceChildren(badge(document.missing[name]));
      else { setText(row.value, number(value)); row.value.title = String(value); }
      const known = points.get(name);
      if (!known.length || known[known.length - 1][0] < ms) known.push([ms, value]);
    }
    filter();
    draw();
  }

  function draw() {
    if (!newest) return;
    const to = Date.parse(newest.timestamp) + 1000, from = to - MINUTES * 60000;
    for (const [name, row] of rows) {
      const known = points.get(name);
      while (known.length && known[0][0] < from) known.shift();
      if (!row.line.hidden) drawSpark(row.path, known, from, to);
    }
    drawChart();
  }

  // What was before this page was opened: the log has it, up to a minute behind now.
  async function fillIn(minutes) {
    const names = [...rows.keys()], to = new Date(Date.parse(newest.timestamp)), from = new Date(to - minutes * 60000);
    const most = Math.max(1, Math.floor(MOST_VALUES / (minutes * 60)));
    for (let at = 0; at < names.length; at += most) {
      const asked = new URLSearchParams({ symbol, features: names.slice(at, at + most).join(","), from: from.toISOString(), to: to.toISOString(), registry_version: version });
      const found = await api(`/features/history?${asked}`);
      const times = found.timestamps.map(Date.parse);
      loggedMs = Math.max(loggedMs, times[times.length - 1] ?? 0);
      for (const [name, values] of Object.entries(found.features)) {
        const merged = new Map(times.map((ms, index) => [ms, values[index]]));
        for (const [ms, value] of points.get(name)) merged.set(ms, value);
        points.set(name, [...merged].sort((a, b) => a[0] - b[0]));
      }
    }
    draw();
  }

  take(await api(`/features/latest?symbol=${encodeURIComponent(symbol)}`));
  const stream = new EventSource(`/features/stream?symbol=${encodeURIComponent(symbol)}&interval=1s`);
  stream.addEventListener("row", (event) => { heard(null); take(JSON.parse(event.data)); });
  const age = setInterval(() => {
    if (!newest) return;
    const seconds = (Date.now() - Date.parse(newest.timestamp)) / 1000;
    facts.replaceChildren(`row of ${clock(newest.timestamp)} UTC, registry ${version}, `, ageBadge(Math.max(0, seconds * 1000)), " old");
  }, 1000);
  let isFilled = false;
  const fill = await every(AGAIN_MS, () => fillIn(isFilled ? AGAIN_MINUTES : MINUTES).then(() => { isFilled = true; }, () => {}), isShown);
  return () => { stream.close(); clearInterval(age); fill(); now.stop(); };
}

// As the catalogue lists them, whichever of them are not known just now; others last.
export function inOrder(names, catalogue) {
  const places = new Map(catalogue.map((name, at) => [name, at]));
  return names.sort((a, b) => (places.get(a) ?? catalogue.length) - (places.get(b) ?? catalogue.length));
}
