// Two datasets side by side: what they were asked for, what came of it, and where they differ.

import { badge, h, number, table } from "./dom.js";

export async function show(root, { api, rest }) {
  const ids = rest.slice(1, 3);
  const found = await Promise.all(ids.map((id) => api(`/dataset/${encodeURIComponent(id)}`)));
  const facts = found.map(factsOf);
  const names = [...new Set(facts.flatMap((each) => [...each.keys()]))];
  const differing = names.filter((name) => facts[0].get(name) !== facts[1].get(name));
  const link = (id) => h("a", { href: `#datasets/${encodeURIComponent(id)}`, class: "mono" }, id.slice(0, 12));
  const columns = [["what", "name"], ["first", "formula"], ["second", "formula"]];
  const rows = (chosen) => chosen.map((name) => [pathOf(name), ...facts.map((each, at) => cell(each.get(name) ?? "–", `${name}, ${columns[at + 1][0]}`))]);
  root.append(h("h1", {}, h("a", { href: "#datasets" }, "Datasets"), " · two beside each other"),
    h("p", {}, "First ", link(ids[0]), " ", badge(found[0].status), ", second ", link(ids[1]), " ", badge(found[1].status)),
    h("h2", {}, `Different (${number(differing.length)})`), table("Different", columns, rows(differing), "Nothing: both were asked for the same and came out the same."),
    h("h2", {}, "The same"), table("The same", columns.slice(0, 2), rows(names.filter((name) => !differing.includes(name))).map((row) => row.slice(0, 2)), "Nothing."));
}

// A path breaks between its names, not within one.
function pathOf(name) {
  return h("span", {}, name.split(/(?<=[._])/).flatMap((part) => [part, h("wbr")]));
}

// A long value has its own scroll bar, so that the rows below it stay in reach.
function cell(value, name) {
  return value.length > 300 ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, value) : value;
}

// The leaves of a document by their path. Of long lists the length, and of what differs by nature nothing.
const NATURAL = /^(dataset_id|created_at|updated_at|download_urls|timeline|files|performance)/;

function factsOf(each) {
  const facts = new Map();
  const add = (path, value) => {
    if (NATURAL.test(path)) return;
    if (Array.isArray(value) && value.length && new Set(value.map((one) => one?.name).filter(Boolean)).size === value.length) for (const { name, ...inner } of value) add(`${path}.${name}`, inner);
    else if (Array.isArray(value)) facts.set(path, value.length > 12 ? `${value.length} entries, ${digest(JSON.stringify(value))}` : value.map((one) => (typeof one === "object" ? JSON.stringify(one) : one)).join(", ") || "none");
    else if (value !== null && typeof value === "object") for (const [name, inner] of Object.entries(value)) add(path ? `${path}.${name}` : name, inner);
    else facts.set(path, value === null ? "–" : String(value));
  };
  const { manifest, ...asked } = each;
  add("", asked);
  for (const name of ["code", "rows", "continuity", "leakage", "quality", "labels", "features", "libraries"]) if (manifest?.[name] !== undefined) add(`manifest.${name}`, manifest[name]);
  return facts;
}

// So that two long lists of one length are seen to differ.
function digest(text) {
  let hash = 0;
  for (const letter of text) hash = (Math.imul(hash, 31) + letter.codePointAt(0)) | 0;
  return (hash >>> 0).toString(16);
}
