// The market of a symbol as its tape has it now: order book and trades, every two seconds.

import { clock, duration, h, number, setText, table, told } from "./dom.js";

const EVERY_MS = 2000, DEPTH = 15, TRADES = 15;

export function market(symbol, { api, isShown }) {
  const facts = h("span", { class: "muted" }), book = h("div", {}), trades = h("div", {});
  let timer = 0;
  async function draw() {
    const found = await api(`/features/market?${new URLSearchParams({ symbol, depth: DEPTH, trades: TRADES })}`);
    setText(facts, `after the message of ${clock(found.received)} UTC, ${duration(Math.max(0, found.age_ms) / 1000)} ago`);
    book.replaceChildren(found.book ? ladder(found.book) : h("p", { class: "note" }, "The book is not known: it waits for a snapshot."));
    trades.replaceChildren(table("Trades", [["time, UTC", "name"], ["side", ""], ["price, quote", "number"], ["quantity, base", "number"]],
      found.trades.map((each) => [each.timestamp.slice(11, 23), h("span", { class: each.side }, each.side), number(each.price), number(each.quantity)]), "Nothing traded lately.", ""));
  }
  const again = async () => {
    try { await draw(); } catch (error) { setText(facts, told(error)); }
    if (isShown()) timer = setTimeout(again, EVERY_MS);
  };
  again();
  const element = h("section", { class: "live" }, h("div", { class: "bar" }, h("h2", {}, "Order book and trades"), facts), h("div", { class: "beside" }, book, trades));
  return { element, stop: () => clearTimeout(timer) };
}

// Best prices meet in the middle: bids left, asks right, the length of a bar is the quantity.
function ladder({ bids, asks }) {
  const most = Math.max(...bids.map((each) => each[1]), ...asks.map((each) => each[1]));
  const size = (level, name) => h("td", { class: "size" }, level ? h("meter", { class: name, min: 0, max: most, value: level[1], "aria-hidden": "true" }) : "");
  const figure = (level, at, name) => h("td", { class: `number ${name}` }, level ? number(level[at]) : "");
  const rows = Array.from({ length: Math.max(bids.length, asks.length) }, (_, at) => h("tr", {},
    size(bids[at], "bids"), figure(bids[at], 1, ""), figure(bids[at], 0, "buy"), figure(asks[at], 0, "sell"), figure(asks[at], 1, ""), size(asks[at], "asks")));
  const head = [["", "size"], ["quantity, base", "number"], ["bid, quote", "number"], ["ask, quote", "number"], ["quantity, base", "number"], ["", "size"]];
  return h("div", { class: "panel", tabindex: 0, role: "region", "aria-label": "Order book" }, h("table", { class: "ladder" },
    h("thead", {}, h("tr", {}, head.map(([label, kind]) => (label ? h("th", { scope: "col", class: kind }, label) : h("td", { class: kind }))))), h("tbody", {}, rows)));
}
