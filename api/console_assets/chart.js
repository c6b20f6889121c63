// Charts as SVG: lines over time with gaps shaded, bars, a map of what is not known, a matrix of correlations.

import { clock, h, number, short } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 960, HIGH = 220, EDGE = 6;
const SECOND_MS = 1000, MINUTE_MS = 60000, HOUR_MS = 3600000, DAY_MS = 86400000;
const STEPS_MS = [1, 2, 5, 10, 15, 30].map((each) => each * SECOND_MS).concat([1, 2, 5, 10, 15, 30].map((each) => each * MINUTE_MS), [1, 2, 3, 6, 12].map((each) => each * HOUR_MS), [1, 2, 7, 14, 28].map((each) => each * DAY_MS));
const MOST_TICKS = 6, MOST_FLATTENED = 3;

export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat());
  return element;
}

export const title = (text) => { const element = s("title"); element.textContent = text; return element; };

// series: [{ name, unit, times: [ms], mean: [value or null], low, high }]; those of one unit that vary alike share a scale,
// see scalesOf. gapMs: from when on the time between two known values is a gap, which is shaded where the first series has one. unread: [ms, ms] of which
// nobody has read yet whether anything is known: it stays blank.
export function lines({ label, series, fromMs, toMs, gapMs, unread = null }) {
  const x = (ms) => ((ms - fromMs) / (toMs - fromMs)) * WIDE;
  const read = h("p", { class: "muted readout" });
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  const ticks = ticksOf(fromMs, toMs);
  for (const ms of ticks.times) svg.append(s("line", { class: "grid", x1: x(ms), x2: x(ms), y1: 0, y2: HIGH }));
  for (const y of [EDGE, HIGH / 2, HIGH - EDGE]) svg.append(s("line", { class: "grid", x1: 0, x2: WIDE, y1: y, y2: y }));
  for (const [from, to] of gaps(series[0], fromMs, toMs, gapMs).filter(([from, to]) => !unread || to <= unread[0] || from >= unread[1]))
    svg.append(s("rect", { class: "gap", x: x(from), y: 0, width: Math.max(x(to) - x(from), 1), height: HIGH }, title(`not known ${clock(new Date(from).toISOString())} to ${clock(new Date(to).toISOString())}`)));
  const legend = h("div", { class: "legend" }), plot = h("div", { class: "plot" }, svg);
  const scales = scalesOf(series);
  // Two scales have room, one at each side, in the colour of their first series; of more the legend tells the ends.
  for (const scale of [...new Set(scales)].filter(Boolean).slice(0, 2)) {
    plot.append(h("div", { class: `scale s${scales.indexOf(scale)}`, "aria-hidden": "true" }, [scale.high, (scale.low + scale.high) / 2, scale.low].map((value) => h("span", {}, short(value)))));
  }
  series.forEach((each, at) => {
    const own = rangeOf(each), shared = scales.indexOf(scales[at]);
    if (own) svg.append(...drawn(each, at, scales[at], x, gapMs));
    const ends = own ? `${number(own.low)} to ${number(own.high)} ${each.unit ?? ""}` : "nothing known";
    legend.append(h("span", {}, h("span", { class: `key s${at}` }), ` ${each.name} `, h("span", { class: "muted" }, own && shared < at ? `${ends}, on the scale of ${series[shared].name}` : ends)));
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const ms = fromMs + ((event.clientX - box.left) / box.width) * (toMs - fromMs);
    const values = series.map((each) => `${each.name} ${number(each.mean[nearest(each.times, ms)] ?? null)}`);
    read.textContent = `${clock(new Date(ms).toISOString())} UTC: ${values.join(", ")}`;
  });
  const period = `${clock(new Date(fromMs).toISOString())} to ${clock(new Date(toMs).toISOString())} UTC`;
  read.textContent = period;
  svg.addEventListener("pointerleave", () => { read.textContent = period; });
  return h("figure", { class: "panel" }, legend, plot, axisOf(ticks, fromMs, toMs), read);
}

// The times below a chart, each below its place.
export function axisOf(ticks, fromMs, toMs) {
  return h("div", { class: "axis muted", "aria-hidden": "true" }, ticks.times.map((ms) => {
    const at = (100 * (ms - fromMs)) / (toMs - fromMs), label = h("span", {}, ticks.label(ms));
    label.style.left = `clamp(${label.textContent.length / 2}ch, ${at}%, calc(100% - ${label.textContent.length / 2}ch))`; // whole at both ends, however narrow
    return label;
  }));
}

// Round times within a period, and how each is written.
export function ticksOf(fromMs, toMs) {
  const stepMs = STEPS_MS.find((each) => (toMs - fromMs) / each <= MOST_TICKS) ?? STEPS_MS[STEPS_MS.length - 1];
  const times = [];
  for (let ms = Math.ceil(fromMs / stepMs) * stepMs; ms <= toMs; ms += stepMs) times.push(ms);
  const iso = (ms) => new Date(ms).toISOString();
  return { times, label: (ms) => (stepMs >= DAY_MS ? iso(ms).slice(5, 10) : stepMs < MINUTE_MS ? iso(ms).slice(11, 19) : iso(ms).slice(11, 16)) };
}

function rangeOf(each) {
  const known = [...(each.low ?? each.mean), ...(each.high ?? [])].filter((value) => value !== null);
  return known.length ? { low: known.reduce((a, b) => Math.min(a, b)), high: known.reduce((a, b) => Math.max(a, b)) } : null;
}

// The scale of each series, null where nothing is known. Of one unit, a series goes on the scale of one before it where
// both overlap and neither becomes flat by it: prices are read off against each other, a spread is not flattened by them.
function scalesOf(series) {
  const scales = [];
  for (const each of series) {
    const own = rangeOf(each);
    const shared = own && scales.find((scale) => scale && scale.unit === each.unit && own.low <= scale.high && scale.low <= own.high &&
      Math.max(own.high, scale.high) - Math.min(own.low, scale.low) <= MOST_FLATTENED * Math.min(own.high - own.low, scale.high - scale.low));
    if (shared) Object.assign(shared, { low: Math.min(shared.low, own.low), high: Math.max(shared.high, own.high) });
    scales.push(shared || (own && { ...own, unit: each.unit, y(value) { return HIGH - EDGE - ((value - this.low) / (this.high - this.low || 1)) * (HIGH - 2 * EDGE); } }));
  }
  return scales;
}

function drawn(each, at, scale, x, gapMs) {
  let line = "", last = null;
  const band = [];
  each.times.forEach((ms, index) => {
    if (each.mean[index] === null) return;
    line += `${last === null || ms - last > gapMs ? "M" : "L"}${x(ms).toFixed(1)} ${scale.y(each.mean[index]).toFixed(1)}`;
    if (each.low) band.push(`M${x(ms).toFixed(1)} ${scale.y(each.low[index]).toFixed(1)}V${scale.y(each.high[index]).toFixed(1)}`);
    last = ms;
  });
  return [s("path", { class: `band s${at}`, d: band.join("") }), s("path", { class: `line s${at}`, d: line })];
}

function gaps(each, fromMs, toMs, gapMs) {
  const known = each.times.filter((_, at) => each.mean[at] !== null);
  const edges = [fromMs, ...known, toMs];
  return edges.slice(1).map((to, at) => [edges[at], to]).filter(([from, to]) => to - from > gapMs);
}

function nearest(times, ms) {
  let low = 0, high = times.length - 1;
  while (low < high) { const middle = (low + high) >> 1; if (times[middle] < ms) low = middle + 1; else high = middle; }
  return low > 0 && ms - times[low - 1] < times[low] - ms ? low - 1 : low;
}

// bars: [[label, value or null]]; the line of nought is where the values say.
export function bars(label, found) {
  const high = 120, values = found.map(([, value]) => value ?? 0);
  const most = Math.max(0, ...values), least = Math.min(0, ...values), range = most - least || 1;
  const y = (value) => ((most - value) / range) * high;
  const width = 600 / Math.max(found.length, 1);
  return s("svg", { class: "chart bars", viewBox: `0 0 600 ${high}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    found.map(([name, value], at) => s("rect", { class: "bar0", x: at * width + width * 0.08, width: width * 0.84,
      y: Math.min(y(0), y(value ?? 0)), height: Math.max(Math.abs(y(value ?? 0) - y(0)), 0.5) }, title(`${name}: ${value === null ? "not known" : number(value)}`))),
    s("line", { class: "nought", x1: 0, x2: 600, y1: y(0), y2: y(0) }));
}

// rows: [[feature, { reason: [count by bucket] }]]: each bucket in the colour of what most of its seconds lack.
export function missingMap(rows, buckets) {
  const reasons = [...new Set(rows.flatMap(([, unknown]) => Object.keys(unknown)))].sort();
  if (!reasons.length) return h("p", { class: "muted" }, "Every value of every second is known.");
  const width = WIDE / buckets;
  return h("div", { class: "panel map" }, rows.map(([name, unknown]) => {
    const cells = [];
    for (let at = 0; at < buckets; at += 1) {
      const [reason, count] = Object.entries(unknown).map(([key, counts]) => [key, counts[at]]).reduce((a, b) => (b[1] > a[1] ? b : a), [null, 0]);
      if (!count) continue;
      const before = cells[cells.length - 1];
      if (before && before.reason === reason && before.to === at) { before.to = at + 1; before.count += count; }
      else cells.push({ reason, from: at, to: at + 1, count });
    }
    return h("div", { class: "maprow" }, h("span", { class: "mono" }, name), s("svg", { viewBox: `0 0 ${WIDE} 16`, preserveAspectRatio: "none", role: "img", "aria-label": `What is not known of ${name}` },
      cells.map((each) => s("rect", { class: `why ${each.reason}`, x: each.from * width, y: 0, width: Math.max((each.to - each.from) * width, 1), height: 16 }, title(`${each.reason}: ${each.count} s`)))));
  }), h("div", { class: "legend" }, reasons.map((reason) => h("span", {}, h("span", { class: `key why ${reason}` }), ` ${reason} `,
    h("span", { class: "muted" }, `${number(Math.max(...rows.map(([, unknown]) => (unknown[reason] ?? []).reduce((a, b) => a + b, 0))))} s`)))));
}

export function matrix(names, values) {
  const cell = (value) => h("td", { class: "number", "data-sign": value === null ? "" : value < 0 ? "minus" : "plus", "data-size": value === null ? "" : String(Math.round(Math.abs(value) * 4)) }, value === null ? "–" : value.toFixed(3));
  return h("div", { class: "panel", tabindex: 0, role: "region", "aria-label": "Correlation" }, h("table", { class: "matrix" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), names.map((name) => h("th", { scope: "col", class: "number" }, name)))),
    h("tbody", {}, names.map((name, at) => h("tr", {}, h("th", { scope: "row", class: "mono" }, name), values[at].map(cell))))));
}
