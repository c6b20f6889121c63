// Datasets: those there are with their progress, and one with its manifest and report.

import { show as build } from "./build.js";
import { show as compare } from "./compare.js";
import { badge, clock, h, number, table, told } from "./dom.js";
import { timeline } from "./timeline.js";

export async function show(root, context) {
  if (context.rest[0] === "new") return build(root, context);
  if (context.rest[0] === "compare" && context.rest[2]) return compare(root, context);
  const draw = context.rest[0] ? one : list;
  const at = h("div", { class: "live" });
  root.append(at);
  let timer = 0;
  const again = async () => {
    const isMoving = await draw(at, context);
    // What has ended does not change: null is not asked for again.
    if (isMoving !== null && context.isShown()) timer = setTimeout(() => again().catch(() => { timer = setTimeout(again, 5000); }), isMoving ? 1000 : 10000);
  };
  await again();
  return () => clearTimeout(timer);
}

const progress = (each) => each.status === "building"
  ? h("span", {}, h("progress", { max: 1, value: each.progress, "aria-label": "progress" }), ` ${each.step ?? "waiting"}`) : "";

async function list(at, { api }) {
  const found = await api("/dataset/list?limit=100");
  const chosen = [...at.querySelectorAll("input:checked")].map((each) => each.value);
  const box = (id) => h("input", { type: "checkbox", value: id, checked: chosen.includes(id), "aria-label": `Compare ${id}` });
  const beside = h("button", { type: "button", onclick: () => {
    const ids = [...at.querySelectorAll("input:checked")].map((each) => each.value);
    if (ids.length === 2) location.hash = `datasets/compare/${ids.map(encodeURIComponent).join("/")}`;
    else said.textContent = `Choose two datasets to compare, ${ids.length} chosen.`;
  } }, "Compare the two chosen"), said = h("span", { class: "muted", role: "status" });
  at.replaceChildren(h("h1", {}, "Datasets"), h("div", { class: "bar" }, h("a", { class: "button", href: "#datasets/new" }, "New dataset"), ...(found.length > 1 ? [beside, said] : [])), table("Datasets",
    [["compare", ""], ["dataset", "name mono"], ["symbols", ""], ["status", ""], ["train", "number"], ["validation", "number"], ["test", "number"], ["registry", ""], ["created, UTC", "name"], ["progress", ""]],
    found.map((each) => [box(each.dataset_id), h("a", { href: `#datasets/${encodeURIComponent(each.dataset_id)}` }, each.dataset_id.slice(0, 12)), each.symbols.join(", "), badge(each.status),
      number(each.train_records), number(each.validation_records), number(each.test_records), each.feature_registry_version, clock(each.created_at), progress(each)]),
    "No dataset has been built: run feature-service dataset build."));
  return found.some((each) => each.status === "building");
}

async function one(at, { api, rest, session }) {
  const each = await api(`/dataset/${encodeURIComponent(rest[0])}`);
  const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
  const base = `/dataset/${encodeURIComponent(each.dataset_id)}`;
  const wrong = h("p", { class: "error", role: "alert" });
  const cancel = each.status === "building" && session.can_write
    ? h("button", { type: "button", onclick: () => api(`${base}/cancel`, { method: "POST" }).catch((error) => { wrong.textContent = told(error); }) }, "Cancel this build") : null;
  const verdict = h("span", { role: "status" });
  const verify = h("button", { type: "button", onclick: async () => {
    verdict.textContent = "Reading every byte …";
    try {
      const files = Object.entries((await api(`${base}/verification`)).files), changed = files.filter(([, state]) => state !== "intact");
      verdict.replaceChildren(changed.length ? badge("failed") : badge("ok"), changed.length ? ` ${changed.map(([name, state]) => `${name}: ${state}`).join("; ")}` : ` ${number(files.length)} files are as they were built`);
    } catch (error) { verdict.textContent = told(error); }
  } }, "Verify");
  at.replaceChildren(
    h("h1", {}, h("a", { href: "#datasets" }, "Datasets"), " · ", h("span", { class: "mono" }, each.dataset_id)),
    h("div", { class: "bar" }, badge(each.status), progress(each), cancel, wrong,
      ...(each.status === "ready" ? [
        each.manifest?.quality?.checked ? h("a", { href: `${base}/report`, target: "_blank", rel: "noopener" }, "Report") : null,
        h("a", { href: `${base}/download?split=all` }, "Download all"), h("a", { href: `${base}/lineage`, target: "_blank", rel: "noopener" }, "Lineage"), verify, verdict] : [])),
    h("div", { class: "panel" }, h("dl", {},
      ...fact("symbols", each.symbols.join(", ")), ...fact("registry", each.feature_registry_version), ...fact("feature set", h("span", { class: "mono" }, each.feature_set)),
      ...fact("targets", each.targets.map((target) => `${target.name}: ${target.type}, ${number(target.horizon_seconds)} s ahead`).join("; ")),
      ...fact("samples", `every ${number(each.sample_interval_seconds)} s, missing values: ${each.missing}, purge: ${each.purge ? "yes" : "no"}, embargo ${number(each.embargo_seconds)} s`),
      ...fact("rows", `train ${number(each.train_records)}, validation ${number(each.validation_records)}, test ${number(each.test_records)}`),
      ...fact("created", `${clock(each.created_at)} UTC, changed ${clock(each.updated_at)} UTC`),
      ...(each.error_message ? fact("error", h("span", { class: "error" }, each.error_message)) : []))),
    h("h2", {}, "Splits"), ...splits(each),
    ...(each.manifest ? [h("h2", {}, "Load it"), h("div", { class: "panel" }, h("pre", { tabindex: 0, "aria-label": "Load it" }, snippet(each.dataset_id))),
      h("h2", {}, "Manifest"), h("div", { class: "panel" }, h("pre", { tabindex: 0, "aria-label": "Manifest" }, JSON.stringify(each.manifest, null, 2)))] : []));
  return each.status === "building" ? true : null;
}

// Each fold's periods on the time line, and of a ready dataset how many samples each split has and what became of the others.
function splits({ timeline: folds, manifest }) {
  const built = new Map((manifest?.folds ?? []).map((each) => [each.fold, each.splits]));
  const rows = (manifest ? folds.filter((each) => built.has(each.fold)) : folds).flatMap((each) => each.periods.map((period) => {
    const split = (built.get(each.fold) ?? []).find((one) => one.name === period.name);
    const counted = split?.periods?.find((one) => one.start === period.start) ?? split;
    return [...(folds.length > 1 ? [number(each.fold)] : []), period.name, clock(period.start), clock(period.end),
      ...["records", "purged", "embargoed"].map((name) => number(counted?.[name])), clock(counted?.last_label_end)];
  }));
  return [timeline({ folds, isKept: (each) => !manifest || built.has(each.fold) }),
    table("Splits", [...(folds.length > 1 ? [["fold", "number"]] : []), ["split", ""], ["from, UTC", "name"], ["until, UTC", "name"], ["samples", "number"], ["purged", "number"], ["embargoed", "number"], ["last label ends, UTC", "name"]],
      rows, "No fold has enough to train on.", rows.length > 12 ? "stack scroll" : "stack")];
}

// The page is told no folder of the service's machine, so the reader names it, or loads over HTTP.
function snippet(id) {
  return `from feature_client import FeatureStoreClient

client = FeatureStoreClient("data/historical")  # the folder historical/ of the service's data folder
features, targets = client.dataset("${id}").load("train")

# on another machine: downloaded once, checked, and kept
dataset = client.dataset("${id}", url="${location.origin}")  # api_key=... if the service has one`;
}
