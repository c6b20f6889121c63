// Live: every symbol with its statuses, and one symbol with its whole vector.

import { badge, clock, drawSpark, duration, h, number, setText, spark, table } from "./dom.js";

const OLD_MS = 3000, MINUTES = 10, MOST_VALUES = 200000;

export async function show(root, context) {
  return context.rest[0] ? vector(root, context) : overview(root, context);
}

const ageBadge = (ms) => h("span", { class: `badge ${ms > 30000 ? "bad" : ms > OLD_MS ? "warn" : "ok"}` }, duration(ms / 1000));

async function overview(root, { api, isShown }) {
  const at = h("div", { class: "live" });
  root.append(h("h1", {}, "Live"), at);
  async function draw() {
    const found = await api("/features/overview");
    const rows = Object.entries(found.symbols).map(([symbol, row]) => [
      h("a", { href: `#live/${encodeURIComponent(symbol)}` }, symbol),
      ...(row === null
        ? ["–", "no row yet", "–", "–", "–"]
        : [
            row.mid_price === null ? badge(row.missing.mid_price ?? "not served") : number(row.mid_price),
            ageBadge(row.age_ms),
            duration(row.lag_ms / 1000),
            `${row.features - row.unknown} of ${row.features}`,
            h("span", { class: "badges" }, Object.entries(row.groups).map(([group, status]) => badge(status, group)).map((each, index) =>
              h("span", {}, h("span", { class: "muted" }, `${Object.keys(row.groups)[index]} `), each))),
          ]),
    ]);
    // Who reads the table with the keyboard keeps the place.
    const focused = at.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    at.replaceChildren(table("Symbols", [["symbol", "name"], ["mid price", "number"], ["age", ""], ["lag", "number"], ["known features", "number"], ["status by group", ""]], rows, "No symbol is followed."));
    if (focused) [...at.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }
  return every(1000, draw, isShown);
}

// Runs at once and then so often; a failure is told by the age of what is shown.
async function every(ms, draw, isShown) {
  await draw();
  let timer = 0;
  const again = async () => {
    try { await draw(); } catch { /* the banner tells it */ }
    if (isShown()) timer = setTimeout(again, ms);
  };
  timer = setTimeout(again, ms);
  return () => clearTimeout(timer);
}

async function vector(root, { api, heard, note, rest, query, isShown }) {
  const symbol = rest[0];
  const search = h("input", { type: "search", placeholder: "Search a feature", "aria-label": "Search a feature", value: query.get("q") ?? "" });
  const facts = h("span", { class: "muted" }), count = h("span", { class: "muted", role: "status" });
  const body = h("tbody", {}), unit = new Map(), rows = new Map(), points = new Map();
  root.append(
    h("h1", {}, h("a", { href: "#live" }, "Live"), ` · ${symbol}`),
    h("div", { class: "bar" }, search, count, facts),
    h("div", { class: "panel stack vector live", tabindex: 0, role: "region", "aria-label": `Vector of ${symbol}` }, h("table", {}, h("thead", {}, h("tr", {},
      ["feature", "value", "unit", "last ten minutes"].map((label, at) => h("th", { scope: "col", class: at === 1 ? "number" : "" }, label)))), body)));
  for (const each of await api("/features/list")) unit.set(each.name, each.unit);
  let version = null, newest = null;

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const [name, row] of rows) { row.line.hidden = !name.toLowerCase().includes(wanted); shown += row.line.hidden ? 0 : 1; }
    setText(count, `${shown} of ${rows.size} features`);
  }
  search.addEventListener("input", () => { filter(); draw(); note("live", rest, [["q", search.value.trim()]]); });

  function rowOf(name) {
    if (!rows.has(name)) {
      const value = h("td", { class: "number", "data-label": "value" }), [picture, path] = spark(`${name}, last ten minutes`);
      const line = h("tr", {}, h("td", { class: "name mono", "data-label": "feature" }, h("a", { href: `#features?q=${encodeURIComponent(name)}` }, name)), value,
        h("td", { class: "muted", "data-label": "unit" }, unit.get(name) ?? ""), h("td", { "data-label": "ten minutes" }, picture));
      rows.set(name, { line, value, path });
      points.set(name, []);
      body.append(line);
    }
    return rows.get(name);
  }

  function take(document) {
    newest = document;
    version = document.feature_registry_version;
    const ms = Date.parse(document.timestamp);
    for (const name of [...Object.keys(document.features), ...Object.keys(document.missing)]) {
      const row = rowOf(name), value = document.features[name] ?? null;
      if (value === null) row.value.replaceChildren(badge(document.missing[name], "why it is unknown"));
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
  }

  // What was before this page was opened: the log has it, up to a minute behind now.
  async function fillIn() {
    const names = [...rows.keys()], to = new Date(Date.parse(newest.timestamp)), from = new Date(to - MINUTES * 60000);
    const most = Math.max(1, Math.floor(MOST_VALUES / (MINUTES * 60)));
    for (let at = 0; at < names.length; at += most) {
      const asked = new URLSearchParams({ symbol, features: names.slice(at, at + most).join(","), from: from.toISOString(), to: to.toISOString(), registry_version: version });
      const found = await api(`/features/history?${asked}`);
      const times = found.timestamps.map(Date.parse);
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
  const fill = await every(60000, () => fillIn().catch(() => {}), isShown);
  return () => { stream.close(); clearInterval(age); fill(); };
}
