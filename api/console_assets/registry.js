// The registry: every version and what workers serve of it, and what changing from one to another means.

import { badge, field, h, number, setText, short, table, told } from "./dom.js";

export async function show(root, { api, note, query, session, isShown }) {
  const [active, versions] = await Promise.all([api("/feature-registry"), api("/feature-registry/versions")]);
  const names = [...versions.map((each) => each.version), "latest"];
  const choice = (chosen) => h("select", {}, names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  const before = choice(query.get("before") ?? active.version), after = choice(query.get("after") ?? "latest");
  const answer = h("div", {}), wrong = h("p", { class: "error", role: "alert" });
  const button = h("button", { class: "primary", type: "submit" }, "Compare");
  const form = h("form", { class: "bar" }, field("Version before", before), field("Version after", after), button);
  root.append(h("h1", {}, "Registry"),
    table("Versions", [["version", "name"], ["state", ""], ["features", "number"], ["datasets", "number"], ["a row as shadow costs, ms", "number"]],
      versions.map((each) => [each.version, badge(state(each)), number(each.features_count), number(each.usage_count), number(each.shadow_row_cost_ms)]), "No version."),
    h("p", { class: "muted" }, "Active: what a worker serves unless it is started with another version. Shipped: comes with this release. Shadow: computed next to the active one, and served to who asks for it."),
    h("h2", {}, "Workers"), table("Workers", [["worker", "name"], ["serves", ""], ["newest activation", ""], ["shadows", ""]],
      active.workers.map((each) => [each.worker_id, `${each.feature_registry_version ?? "–"}${each.is_straggling ? ", straggling" : ""}`, each.activation_state ?? "–",
        each.shadow_versions.map((one) => `${one.feature_registry_version} ${one.state}${one.detail ? `: ${one.detail}` : ""}`).join(", ") || "–"]), "No worker is running."),
    h("h2", {}, "What a change means"), form, wrong, answer);

  async function go() {
    setText(wrong, "");
    button.disabled = true;
    answer.replaceChildren(h("p", { class: "muted", role: "status" }, "Comparing; what a row of each costs is measured once, which takes seconds …"));
    try {
      const found = await api(`/feature-registry/diff?${new URLSearchParams({ before: before.value, after: after.value })}`);
      note("registry", [], [["before", before.value], ["after", after.value]]);
      answer.replaceChildren(...parts(found), ...(session.can_write && found.before === active.version && found.after !== "latest" ? [activation(found, api, isShown)] : []));
    } catch (error) {
      answer.replaceChildren();
      setText(wrong, told(error));
    }
    button.disabled = false;
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  if (query.get("before") && query.get("after")) await go();
}

// What breaks readers must be acknowledged by a tick before the button works, as the API asks.
function activation(found, api, isShown) {
  const who = h("input", { required: true, autocomplete: "name" }), why = h("input", { required: true });
  const seen = h("input", { type: "checkbox", required: found.breaking_changes.length > 0 });
  const said = h("p", { role: "status" }), wrong = h("p", { class: "error", role: "alert" }), button = h("button", { class: "primary", type: "submit" }, `Activate ${found.after}`);
  return h("form", { onsubmit: async (event) => {
    event.preventDefault();
    setText(wrong, "");
    button.disabled = true;
    setText(said, "Workers compile it and warm it up; this answers when they serve it …");
    try {
      const done = await api(`/feature-registry/versions/${encodeURIComponent(found.after)}/activate`, { method: "POST", body: { activated_by: who.value, activation_reason: why.value, acknowledge_breaking_changes: seen.checked } });
      if (isShown()) setText(said, `${done.version} is active, after ${done.previous_version ?? "none"}.`);
    } catch (error) { setText(said, ""); setText(wrong, told(error)); button.disabled = false; }
  } }, h("h2", {}, `Activate ${found.after}`), h("div", { class: "fields" }, h("label", {}, "Who activates it", who), h("label", {}, "Why", why)),
  found.breaking_changes.length ? h("p", {}, h("label", {}, seen, ` I know that this breaks readers: ${found.breaking_changes.join("; ")}`)) : "", h("div", { class: "bar" }, button), said, wrong);
}

const state = (each) => (each.is_active ? "active" : each.is_shadow ? "next to the active one" : each.is_valid ? (each.is_shipped ? "shipped" : "candidate") : "broken");

const cost = (found) => (found.row_ms === null ? `not measured: ${found.reason}` : `${short(found.row_ms, 3)} ms, median of ${found.rows_measured} rows`);

function parts(found) {
  const words = (names) => (names.length ? names.join(", ") : "none");
  const facts = [["columns added", words(found.added)], ["columns removed", words(found.removed)],
    ["columns renamed", words(Object.entries(found.renamed).map(([old, now]) => `${old} to ${now}`))],
    ["columns changed", words(Object.entries(found.changed).map(([name, what]) => `${name}: ${what.join("; ")}`))],
    ["sources added", words(found.sources_added)], ["sources removed", words(found.sources_removed)],
    ["horizon", `${number(found.horizon_before_s)} s to ${number(found.horizon_after_s)} s`],
    ["a row costs before", cost(found.cost_before)], ["a row costs after", cost(found.cost_after)],
    ["rows of history to compute", words(Object.entries(found.rows_to_compute).map(([group, rows]) => `${group}: ${number(rows)}`))],
    ["breaks readers", words(found.breaking_changes)], ["warnings", words(found.warnings)]];
  return [table(`From ${found.before} to ${found.after}`, [["what", "name"], ["", "formula"]], facts, "")];
}
