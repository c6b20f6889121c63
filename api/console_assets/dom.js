// Elements, texts and small pictures. Text is always set as text: a name that came with the data is never markup.

const SVG = "http://www.w3.org/2000/svg";

// What the API said of a request that it did not do.
export class Refused extends Error {
  constructor(status, document) { super(document.message ?? `status ${status}`); this.status = status; }
}

export const told = (error) => (error instanceof Refused ? error.message : "The service does not respond.");

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A control with its name above it, and how what it takes is written.
export const field = (label, control) => h("label", { class: "field" }, label, control);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Numbers as the API gives them: shortened for reading, whole in the title.
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e9) return value.toLocaleString("en-US", { maximumSignificantDigits: 8 });
  return value.toExponential(4);
}

// So many digits of it, for tables that compare; whole where it stands alone.
export const short = (value, digits = 6) => number(value === null || value === undefined ? null : Number(value.toPrecision(digits)));

export const share = (rate) => (rate === null || rate === undefined ? "not known" : `${short(rate * 100, 4)} %`);

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds < 10 && !Number.isInteger(seconds) ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) { count /= 1024; at += 1; }
  return `${count.toFixed(at ? 1 : 0)} ${units[at]}`;
}

export const clock = (iso) => (iso ? `${iso.slice(0, 10)} ${iso.slice(11, 19)}` : "–");

const TONE = {
  OK: "ok", ok: "ok", ready: "ok", completed: "ok", WARMUP: "warn", STALE: "bad", GAP: "bad", NO_DATA: "",
  building: "warn", pending: "warn", running: "warn", "in progress": "warn", failed: "bad", unavailable: "bad", late: "bad", degraded: "bad",
  critical: "bad", warning: "warn", unknown: "warn", active: "ok", broken: "bad",
};

// What a status or reason of the API means.
export const MEANING = {
  WARMUP: "less history than it needs, so far", GAP: "messages were missed within what it sees", STALE: "its source has been silent for too long; the last known values are served",
  NO_DATA: "nothing came from its source; a position of 0 is not known", UNDEFINED: "its inputs are known, and its formula has no value: nothing traded, or an empty side",
  QUARANTINED: "withheld: what was served differed from what was computed again", NO_ROW: "no row was stored",
};

// The meaning of each of these that is not OK, as a line of text: what a title says only to a mouse.
export const legendOf = (statuses) => [...new Set(statuses)].filter((each) => each in MEANING).map((each) => `${each}: ${MEANING[each]}.`).join(" ");

// A name of the API in words.
export const words = (name) => name.replaceAll("_", " ");

export const badge = (text, title) => h("span", { class: `badge ${TONE[text] ?? ""}`, title: title ?? MEANING[text] }, text);

export const groupBadges = (groups) => h("span", { class: "badges" }, Object.entries(groups).map(([group, status]) => h("span", {}, h("span", { class: "muted" }, `${group} `), badge(status))));

const OLD_MS = 3000;

export const ageBadge = (ms) => h("span", { class: `badge ${ms > 30000 ? "bad" : ms > OLD_MS ? "warn" : "ok"}` }, duration(ms / 1000));

// When the rows of a second can be read, by far.
const READABLE_MS = 150;

// Runs at once and then so often, at whole multiples of the time whatever a run takes, so that no second is passed over;
// a failure is told by the age of what is shown.
export async function every(ms, draw, isShown) {
  await draw();
  let timer = 0;
  const later = () => { timer = setTimeout(again, ms - ((Date.now() - READABLE_MS) % ms)); };
  const again = async () => {
    try { await draw(); } catch { /* the banner tells it */ }
    if (isShown()) later();
  };
  later();
  return () => clearTimeout(timer);
}

// columns: [label, class]. A row of a narrow screen is a block, each cell with its label.
// layout: "stack" puts the cells of a row below each other on a phone; without it rows stay rows, which fits few short columns.
export function table(caption, columns, rows, empty, layout = "stack") {
  if (!rows.length) return h("p", { class: "muted" }, empty);
  const labelled = rows.map((cells) => h("tr", {}, cells.map((cell, at) =>
    h("td", { class: columns[at][1], "data-label": columns[at][0] }, cell instanceof Node ? cell : h("span", {}, String(cell))))));
  return h("div", { class: `panel ${layout}`, tabindex: 0, role: "region", "aria-label": caption },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map(([label, kind]) => h("th", { scope: "col", class: kind }, label)))),
      h("tbody", {}, labelled)));
}

const WIDE = 160, HIGH = 26;

// points: [milliseconds, value or null], ascending. What is not known is a gap in the line.
export function drawSpark(path, points, fromMs, toMs) {
  const buckets = new Array(WIDE).fill(undefined);
  for (const [ms, value] of points) {
    const at = Math.floor(((ms - fromMs) / (toMs - fromMs)) * WIDE);
    if (at >= 0 && at < WIDE && value !== null) buckets[at] = value;
  }
  const known = buckets.filter((value) => value !== undefined);
  if (!known.length) return path.setAttribute("d", "");
  const low = Math.min(...known), high = Math.max(...known), range = high - low || 1;
  // A second is a quarter of a pixel: two empty pixels are seconds without a value.
  let line = "", gap = 3;
  buckets.forEach((value, at) => {
    if (value === undefined) { gap += 1; return; }
    const y = HIGH - 2 - ((value - low) / range) * (HIGH - 4);
    line += `${gap > 2 ? "M" : "L"}${at} ${y.toFixed(1)}`;
    gap = 0;
  });
  path.setAttribute("d", line);
}

export function spark(label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  const path = document.createElementNS(SVG, "path");
  svg.append(path);
  return [svg, path];
}
