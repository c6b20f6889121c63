// Splits on the time line: the periods of each fold, what purge and embargo take from them, and above them what is held.

import { axisOf, s, ticksOf, title } from "./chart.js";
import { clock, duration, h, number } from "./dom.js";

const WIDE = 960, TALL = 40, LOW = 18, HELD = 12;
export const SPLITS = ["train", "validation", "test"];

// folds: [{ fold, periods: [{ name, start, embargo_from, used_from, used_until, end }] }] of the API, times in ISO 8601;
// left: the numbers of those that the dataset does not have. held: [[ms, ms]], null where nobody asked.
export function timeline({ folds, held = null, isKept = () => true }) {
  const times = folds.flatMap((each) => each.periods.flatMap((period) => [Date.parse(period.start), Date.parse(period.end)]));
  const fromMs = Math.min(...times), toMs = Math.max(...times);
  const ticks = ticksOf(fromMs, toMs);
  const lane = (high, label, ...blocks) => s("svg", { viewBox: `0 0 ${WIDE} ${high}`, height: high, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...blocks);
  const x = (ms) => Math.min(Math.max(((ms - fromMs) / (toMs - fromMs)) * WIDE, 0), WIDE);
  const block = (kind, from, to, high, text) => (to > from ? [s("rect", { class: kind, x: x(from), y: 0, width: Math.max(x(to) - x(from), 1), height: high }, title(`${text}: ${clock(iso(from))} to ${clock(iso(to))} UTC`))] : []);
  const rows = folds.map((each) => {
    const high = folds.length > 1 ? LOW : TALL, isLeft = !isKept(each);
    const parts = each.periods.flatMap((period) => {
      const [start, embargo, used, until, end] = TIMES.map((name) => Date.parse(period[name]));
      return [...block(period.name, start, end, high, period.name), ...block("purge", start, embargo, high, `purged from ${period.name}`),
        ...block("embargo", embargo, used, high, `embargo of ${period.name}`), ...block("purge", until, end, high, `purged from ${period.name}`)];
    });
    const name = each.fold === null ? "" : ` of fold ${each.fold}`;
    return [each.fold === null ? null : h("span", { class: "muted" }, `fold ${each.fold}${isLeft ? ", left out" : ""}`), h("div", { class: isLeft ? "left" : "" }, lane(high, `Splits on the time line${name}`, ...parts))];
  });
  const spans = (held ?? []).filter(([from, to]) => to > fromMs && from < toMs);
  const above = held === null ? [] : [[folds.length > 1 ? h("span", { class: "muted" }, "held") : null, lane(HELD, "Held on the time line", ...spans.flatMap(([from, to]) => block("held", from, to, HELD, "held")))]];
  const isLong = folds.length > 12;
  return h("figure", { class: "panel timeline" },
    h("div", { class: `lanes${folds.length > 1 ? " named" : ""}${isLong ? " scroll" : ""}`, ...(isLong ? { tabindex: 0, role: "region", "aria-label": "Folds" } : {}) }, ...above.flat(), ...rows.flat()),
    h("div", { class: folds.length > 1 ? "lanes named" : "" }, folds.length > 1 ? h("span") : null, axisOf(ticks, fromMs, toMs)),
    legend(folds, held === null ? null : spans.length > 0));
}

const TIMES = ["start", "embargo_from", "used_from", "used_until", "end"];
const iso = (ms) => new Date(ms).toISOString();
const key = (kind, text) => h("span", {}, h("span", { class: `key ${kind}` }), ` ${text}`);

// Of one fold how long each split is used; of several what the colours are.
function legend(folds, isHeld) {
  const periods = folds.flatMap((each) => each.periods);
  const used = (name) => periods.filter((each) => each.name === name).reduce((sum, each) => sum + Date.parse(each.used_until) - Date.parse(each.used_from), 0);
  const told = (name) => key(name, folds.length > 1 ? name : `${name}, ${duration(used(name) / 1000)} used`);
  const isCut = (from, to) => periods.some((each) => each[from] !== each[to]);
  return h("div", { class: "legend" }, isHeld === null ? null : key("held", isHeld ? "held" : "nothing of this period is held"),
    SPLITS.filter((name) => periods.some((each) => each.name === name)).map(told),
    isCut("start", "embargo_from") || isCut("used_until", "end") ? key("purge", "purged: labels reach into the other split") : null,
    isCut("embargo_from", "used_from") ? key("embargo", "embargo") : null,
    folds.length > 1 ? h("span", { class: "muted" }, `${number(folds.length)} folds`) : null);
}
