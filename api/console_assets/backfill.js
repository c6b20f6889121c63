// Backfill: the jobs that fetch history with their progress, and starting one where the key may write.

import { badge, clock, field, h, number, setText, table, told, words } from "./dom.js";

export async function show(root, { api, note, rest, query, session, isShown }) {
  const symbol = h("input", { required: true, placeholder: "BTCUSDT", size: 12, value: rest[0] ?? "" });
  const from = h("input", { required: true, placeholder: "2026-01-05", size: 12, value: query.get("from") ?? "" });
  const to = h("input", { required: true, placeholder: "2026-01-06", size: 12, value: query.get("to") ?? "" });
  const said = h("p", { role: "status" }), wrong = h("p", { class: "error", role: "alert" }), jobs = h("div", { class: "live" });
  const form = h("form", { class: "bar" }, field("Symbol", symbol), field("First day, UTC", from), field("Last day, included", to), h("button", { class: "primary", type: "submit" }, "Fetch these days"));
  root.append(h("h1", {}, "Backfill"), h("p", { class: "muted" }, "History from the exchange, a UTC day at a time. Complete days are not fetched again."),
    ...(session.can_write ? [form] : [h("p", { class: "note" }, "This key is read-only: it cannot start a job.")]), said, wrong, jobs);

  async function change(path, body) {
    setText(wrong, "");
    setText(said, "");
    try {
      const answer = await api(path, { method: "POST", body });
      setText(said, answer.message ?? "Will stop at its next step.");
      await draw();
    } catch (error) {
      setText(wrong, told(error));
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    note("backfill", [symbol.value], [["from", from.value], ["to", to.value]]);
    change("/backfill/historical", { symbol: symbol.value, start_date: from.value, end_date: to.value });
  });

  async function draw() {
    const found = await api("/backfill/list?limit=100");
    const isMoving = (each) => each.status === "pending" || each.status === "in_progress";
    jobs.replaceChildren(h("h2", {}, "Jobs"), table("Jobs", [["job", "name mono"], ["symbol", ""], ["days", "name"], ["status", ""], ["progress", "name"], ["failed days", "formula"], ["ended, UTC", "name"], ["", ""]],
      found.map((each) => [each.job_id.slice(0, 12), each.symbol, `${each.start_date} to ${each.end_date}`, badge(words(each.status)),
        h("span", {}, h("progress", { max: Math.max(each.progress.dates_total, 1), value: each.progress.dates_completed, "aria-label": `progress of ${each.job_id}` }),
          ` ${number(each.progress.dates_completed)} of ${number(each.progress.dates_total)}`),
        [each.failed_dates.join(", "), each.error_message].filter(Boolean).join("; ") || "none", clock(each.end_time),
        isMoving(each) && session.can_write ? h("button", { type: "button", onclick: () => change(`/backfill/${encodeURIComponent(each.job_id)}/cancel`) }, "Cancel") : ""]), "No job yet."));
    return found.some(isMoving);
  }

  let timer = 0;
  const again = async () => {
    const isMoving = await draw();
    if (isShown()) timer = setTimeout(() => again().catch(() => { timer = setTimeout(again, 5000); }), isMoving ? 1000 : 10000);
  };
  await again();
  return () => clearTimeout(timer);
}
