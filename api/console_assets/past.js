// The time machine: a symbol at a moment of the raw data, and the messages that a chosen value depends on.

import { badge, clock, field, groupBadges, h, legendOf, number, setText, table, told } from "./dom.js";
import { inOrder } from "./symbol.js";

export async function show(root, { api, note, rest, query }) {
  const [{ symbols }, catalogue] = await Promise.all([api("/features/overview"), api("/features/list")]);
  const units = new Map(catalogue.map((each) => [each.name, each.unit]));
  const symbol = h("input", { list: "symbols", required: true, size: 12, value: rest[0] ?? Object.keys(symbols)[0] ?? "" });
  const at = h("input", { required: true, placeholder: "2026-01-05T12:05:00Z", size: 26, value: query.get("at") ?? `${new Date(Date.now() - 120000).toISOString().slice(0, 19)}Z` });
  const feature = h("input", { list: "features", placeholder: "vwap_3s", size: 24, value: query.get("feature") ?? "" });
  const search = h("input", { type: "search", placeholder: "Search a feature", "aria-label": "Search a feature" });
  const answer = h("div", {}), wrong = h("p", { class: "error", role: "alert" });
  const form = h("form", { class: "bar" }, field("Symbol", symbol), h("datalist", { id: "symbols" }, Object.keys(symbols).map((each) => h("option", { value: each }))),
    h("datalist", { id: "features" }, catalogue.map((each) => h("option", { value: each.name }))),
    field("Moment, UTC", at), field("Feature whose messages are listed", feature), h("button", { class: "primary", type: "submit" }, "Go there"), [-60, -1, 1, 60].map((seconds) =>
      h("button", { type: "button", "aria-label": `${Math.abs(seconds)} s ${seconds < 0 ? "earlier" : "later"}`, onclick: () => step(seconds) }, `${seconds < 0 ? "−" : "+"}${Math.abs(seconds)} s`)));
  root.append(h("h1", {}, "Time machine"),
    h("p", { class: "muted" }, "The row at a moment, recomputed bit for bit from the raw messages, and its inputs."), form, wrong, answer);

  function step(seconds) {
    const ms = Date.parse(at.value);
    if (Number.isNaN(ms)) return;
    at.value = new Date(ms + seconds * 1000).toISOString();
    go();
  }

  async function go() {
    setText(wrong, "");
    const asked = new URLSearchParams({ symbol: symbol.value, at: at.value, ...(feature.value ? { feature: feature.value } : {}) });
    try {
      const found = await api(`/features/moment?${asked}`);
      note("past", [symbol.value], [["at", at.value], ["feature", feature.value]]);
      answer.replaceChildren(...parts(found, units, search, (name) => { feature.value = name; go(); }));
      filter();
    } catch (error) {
      answer.replaceChildren();
      setText(wrong, told(error));
    }
  }

  function filter() {
    for (const row of answer.querySelectorAll('[aria-label="Vector"] tbody tr')) row.hidden = !row.firstChild.textContent.includes(search.value.trim().toLowerCase());
  }
  search.addEventListener("input", filter);

  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  if (query.get("at")) await go();
  else answer.append(h("p", { class: "muted" }, "Choose a moment, and a feature if its messages are to be listed."));
}

function parts(found, units, search, choose) {
  const named = (name) => h("button", { type: "button", class: "quiet", title: `Messages behind ${name}`, "aria-pressed": String(name === found.depends_on?.feature), onclick: () => choose(name) }, name);
  const values = inOrder([...Object.keys(found.features), ...Object.keys(found.missing)], [...units.keys()]).map((name) => [named(name),
    name in found.features ? h("span", { title: found.features[name] }, number(found.features[name])) : badge(found.missing[name]), units.get(name) ?? ""]);
  const levels = (side) => (found.book?.[side] ?? []).map(([price, quantity]) => [number(price), number(quantity)]);
  const behind = found.depends_on;
  // In a box of its own: thousands of rows would push the book and the vector out of reach.
  const messages = behind && table("Messages", [["seq", "number"], ["received", "mono"], ["kind", ""], ["records", "number"]],
    [...behind.messages].reverse().map((each) => [each.seq, `${clock(each.received)}${each.received.slice(19)}`, each.kind, each.records]), "It depends only on the time.", "stack scroll");
  return [
    h("h2", {}, `${found.symbol} at ${found.timestamp}, registry ${found.feature_registry_version}`),
    h("p", {}, groupBadges(found.groups)), h("p", { class: "muted" }, legendOf([...Object.values(found.groups), ...Object.values(found.missing)])),
    behind && h("h2", {}, `${behind.feature} depends on ${behind.count} messages${behind.count > behind.messages.length ? `, the newest ${behind.messages.length} are shown` : ""}`),
    messages,
    h("div", { class: "beside" },
      h("section", {}, h("h2", {}, "Vector"), h("p", { class: "muted" }, "Choose a feature to list the messages behind its value."), h("div", { class: "bar" }, search), table("Vector", [["feature", "name mono"], ["value", "number"], ["unit", ""]], values, "No value.", "")),
      h("section", {}, h("h2", {}, "Order book"), h("div", { class: "pair" },
        table("Bids", [["bid, quote", "number"], ["quantity, base", "number"]], levels("bids"), "The book was unknown.", ""),
        table("Asks", [["ask, quote", "number"], ["quantity, base", "number"]], levels("asks"), "The book was unknown.", "")))),
  ].filter(Boolean);
}
