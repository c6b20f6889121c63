// The registry: every version and what workers serve of it, and what changing from one to another means.

import { badge, h, number, setText, table, told } from "./dom.js";

export async function show(root, { api, note, query }) {
  const [active, versions] = await Promise.all([api("/feature-registry"), api("/feature-registry/versions")]);
  const names = [...versions.map((each) => each.version), "latest"];
  const choice = (label, chosen) => h("select", { "aria-label": label }, names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  const before = choice("Version before", query.get("before") ?? active.version), after = choice("Version after", query.get("after") ?? "latest");
  const answer = h("div", {}), wrong = h("p", { class: "error", role: "alert" });
  const button = h("button", { class: "primary", type: "submit" }, "Compare");
  const form = h("form", { class: "bar" }, before, after, button);
  root.append(h("h1", {}, "Registry"),
    table("Versions", [["version", "name"], ["state", ""], ["features", "number"], ["datasets", "number"], ["row of a shadow, ms", "number"]],
      versions.map((each) => [each.version, badge(state(each)), number(each.features_count), number(each.usage_count), number(each.shadow_row_cost_ms)]), "No version."),
    table("Workers", [["worker", "name"], ["serves", ""], ["of the newest activation", ""], ["shadows", ""]],
      active.workers.map((each) => [each.worker_id, `${each.feature_registry_version ?? "–"}${each.is_straggling ? ", straggling" : ""}`, each.activation_state ?? "–",
        each.shadow_versions.map((one) => `${one.feature_registry_version} ${one.state}${one.detail ? `: ${one.detail}` : ""}`).join(", ") || "–"]), "No worker is running."),
    h("h2", {}, "What a change means"), form, wrong, answer);

  async function go() {
    setText(wrong, "");
    button.disabled = true;
    try {
      const found = await api(`/feature-registry/diff?${new URLSearchParams({ before: before.value, after: after.value })}`);
      note("registry", [], [["before", before.value], ["after", after.value]]);
      answer.replaceChildren(...parts(found));
    } catch (error) {
      answer.replaceChildren();
      setText(wrong, told(error));
    }
    button.disabled = false;
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  if (query.get("before") && query.get("after")) await go();
}

const state = (each) => (each.is_active ? "active" : each.is_shadow ? "next to the active one" : each.is_valid ? (each.is_shipped ? "shipped" : "candidate") : "broken");

const cost = (found) => (found.row_ms === null ? `not measured: ${found.reason}` : `${number(Number(found.row_ms.toPrecision(3)))} ms, median of ${found.rows_measured} rows`);

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
