// The coverage calendar: what of each stream and day of a symbol is held, and each hole with how it is known.

import { clock, duration, field, h, number, setText, table, told } from "./dom.js";

export async function show(root, { api, note, rest, query }) {
  const symbol = h("input", { list: "symbols", required: true, size: 12, value: rest[0] ?? "" }), symbols = h("datalist", { id: "symbols" });
  const from = h("input", { placeholder: "31 days ago", size: 16, value: query.get("from") ?? "" });
  const to = h("input", { placeholder: "now", size: 16, value: query.get("to") ?? "" });
  const answer = h("div", {}), said = h("p", { class: "muted", role: "status" }), wrong = h("p", { class: "error", role: "alert" });
  const form = h("form", { class: "bar" }, field("Symbol", symbol), symbols,
    field("From, UTC", from), field("To, UTC", to), h("button", { class: "primary", type: "submit" }, "Show"));
  root.append(h("h1", {}, "Coverage calendar"),
    h("p", { class: "muted" }, "What is stored of each stream and UTC day, live or backfilled, and exactly what is missing."), form, said, wrong, answer);

  async function go() {
    setText(wrong, "");
    setText(said, "Reading what is stored …");
    const period = [["from", from.value], ["to", to.value]].filter(([, value]) => value);
    try {
      const found = await api(`/coverage?${new URLSearchParams([["symbol", symbol.value], ...period])}`);
      note("coverage", [symbol.value], period);
      answer.replaceChildren(...parts(found));
    } catch (error) {
      answer.replaceChildren();
      setText(wrong, told(error));
    }
    setText(said, "");
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  // An address that names a symbol need not wait for the names of all.
  const asked = symbol.value ? go() : null;
  const names = Object.keys((await api("/features/overview")).symbols);
  symbols.append(...names.map((each) => h("option", { value: each })));
  if (asked === null && names.length) { symbol.value = names[0]; await go(); }
  await asked;
}

const shade = (share) => (share === 1 ? "whole" : share >= 0.95 ? "most" : share > 0 ? "some" : "none");

function day(each, unit) {
  const told = `${each.date}: ${number(each.held)} of ${number(each.expected)} ${unit}, ${number(each.messages_live)} messages live, ${number(each.messages_backfilled)} backfilled`;
  const isOld = each.messages_backfilled > each.messages_live;
  return h("span", { class: `day ${shade(each.coverage)}${isOld ? " backfilled" : ""}`, role: "img", "aria-label": told, title: told }, each.date.slice(8));
}

function parts(found) {
  const streams = Object.entries(found.streams);
  const holes = streams.flatMap(([name, stream]) => stream.missing.map((hole) => [name, clock(hole.from), clock(hole.to), hole.evidence, number(hole.messages), unknown(hole, stream)]));
  return [h("p", {}, `${found.symbol}, ${clock(found.from)} to ${clock(found.to)}`), h("div", { class: "legend" }, [["whole", "the whole day"], ["most", "95 % of it or more"], ["some", "less"], ["none", "nothing"], ["none backfilled", "framed: mostly backfilled"]]
      .map(([kind, text]) => h("span", {}, h("span", { class: `day ${kind}` }), ` ${text}`))),
    ...streams.flatMap(([name, stream]) => [h("h2", {}, name), h("div", { class: "calendar", role: "group", "aria-label": `Days of ${name}` }, stream.days.map((each) => day(each, stream.unit))),
      h("p", { class: "muted" }, `${number(stream.held)} of ${number(stream.expected)} ${stream.unit}, certified by ${stream.certified_by}; ${stream.not_proven.length ? `ranges not proven: ${number(stream.not_proven.length)}` : "every range is proven"}`)]),
    h("h2", {}, "Holes"), table("Holes", [["stream", "name"], ["from, UTC", "name"], ["to", "name"], ["known by", ""], ["messages", "number"], ["makes unknown", "formula"]], holes, "Nothing is missing."),
    h("h2", {}, "Held"), table("Held ranges", [["stream", "name"], ["from, UTC", "name"], ["to", "name"], ["source", ""]],
      streams.flatMap(([name, stream]) => stream.held_ranges.map((each) => [name, clock(each.from), clock(each.to), each.source])), "Nothing is stored.")];
}

function unknown(hole, stream) {
  const groups = Object.entries(hole.unknown_until).map(([group, until]) => `${group} until ${clock(until)}`);
  if (!groups.length) return hole.computed_without.length ? `nothing; computed without: ${hole.computed_without.join(", ")}` : "nothing";
  const longest = Object.entries(stream.unknown_for_s).map(([name, seconds]) => `${name} for ${duration(seconds)}`);
  return h("details", {}, h("summary", {}, groups.join(", ")), longest.join(", "));
}
