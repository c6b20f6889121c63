// Upkeep: how the service is, what it does for itself, what is wrong, what it keeps.

import { badge, bytes, clock, duration, h, number, share, table, words } from "./dom.js";

export async function show(root, { api, isShown }) {
  const at = h("div", { class: "live" });
  root.append(h("h1", {}, "Upkeep"), at);
  let timer = 0;
  async function draw() {
    const [health, alerts, stats, builds, backfills] = await Promise.all([
      api("/health"), api("/alerts/open"), api("/stats"), api("/dataset/list?status=building"), api("/backfill/list?limit=20")]);
    at.replaceChildren(...status(health, stats), ...open(alerts), ...tasks(stats.upkeep), ...disks(stats), ...jobs(builds, backfills));
  }
  const again = async () => {
    try { await draw(); } catch { /* the banner tells it */ }
    if (isShown()) timer = setTimeout(again, 3000);
  };
  await draw();
  timer = setTimeout(again, 3000);
  return () => clearTimeout(timer);
}

const tile = (name, ...value) => h("div", { class: "tile" }, h("span", { class: "muted" }, name), h("b", {}, ...value));

function status(health, stats) {
  const service = stats.service;
  const latency = stats.processing.average_latency_ms_last_5min;
  return [h("div", { class: "tiles" }, tile("status", badge(health.status)), ...Object.entries(health.services).map(([name, state]) => tile(words(name), badge(words(state)))),
    tile("running for", duration(service.uptime_seconds)), tile("memory", bytes(service.memory_bytes)), tile("row to store, 5 min mean", latency === null ? "–" : `${number(Number(latency.toPrecision(3)))} ms`)),
    ...(Object.keys(health.reasons).length ? [table("Reasons", [["what", "name"], ["why", "formula"]], Object.entries(health.reasons).map(([name, why]) => [words(name), why]), "")] : [])];
}

const open = (alerts) => [h("h2", {}, "Open alerts"), table("Open alerts", [["severity", ""], ["what", "formula"], ["what to do", "formula"], ["since, UTC", "name"], ["silenced until", "name"]],
  alerts.map((each) => [badge(each.severity), each.summary.startsWith(each.subject) ? each.summary : `${each.subject}: ${each.summary}`, each.action, clock(each.opened_at), clock(each.silenced_until)]), "No alert is open.")];

const tasks = (upkeep) => [h("h2", {}, "Tasks"), upkeep.tasks === null ? h("p", { class: "note" }, upkeep.reasons.tasks) : table("Tasks",
  [["task", "name"], ["state", ""], ["last success", "number"], ["every", "number"], ["due since", "number"], ["took", "number"], ["what it found", "formula"]],
  upkeep.tasks.map((each) => [each.task, badge(each.is_late ? "late" : "ok"), each.age_seconds === null ? "never" : `${duration(each.age_seconds)} ago`, duration(each.period_seconds), each.lag_seconds ? duration(each.lag_seconds) : "–", duration(each.duration_seconds), [...(each.result?.problems ?? []), each.error].filter(Boolean).join("; ") || "nothing"]), "")];

function disks(stats) {
  const found = (stats.upkeep.tasks ?? []).flatMap((each) => each.result?.disks ?? []);
  const folders = Object.entries(stats.storage).filter(([, value]) => value && typeof value === "object" && "size_bytes" in value);
  return [h("h2", {}, "Disk"), ...(found.length ? [table("Disks", [["disk of", ""], ["used", "number"], ["free", "number"]], found.map((each) => [each.folders.join(", "), share(each.used_percent / 100), bytes(each.free_bytes)]), "")] : []),
    table("Folders", [["folder", ""], ["files", "number"], ["size", "number"]], [...folders.map(([name, value]) => [words(name), number(value.file_count), bytes(value.size_bytes)]), ["online store", "–", bytes(stats.storage.online_store?.used_bytes)], ["database", "–", bytes(stats.storage.database_bytes)]], "")];
}

const jobs = (builds, backfills) => [h("h2", {}, "Jobs"), table("Jobs", [["job", "name mono"], ["kind", ""], ["symbol", ""], ["status", ""], ["progress", ""]],
  [...builds.map((each) => [h("a", { href: `#datasets/${encodeURIComponent(each.dataset_id)}` }, each.dataset_id.slice(0, 12)), "dataset", each.symbols.join(", "), badge(each.status), h("progress", { max: 1, value: each.progress, "aria-label": "progress" })]),
   ...backfills.map((each) => [each.job_id.slice(0, 12), "backfill", each.symbol, badge(each.status), `${each.progress.dates_completed} of ${each.progress.dates_total} days`])], "Nothing is queued or running.")];
