// The console: which page is shown, who may see it, and how old what it shows is.

import { h, Refused, setText, told } from "./dom.js";
import * as live from "./live.js";
import * as features from "./features.js";
import * as past from "./past.js";
import * as datasets from "./datasets.js";
import * as upkeep from "./upkeep.js";
import * as registry from "./registry.js";
import * as coverage from "./coverage.js";
import * as quality from "./quality.js";
import * as backfill from "./backfill.js";

const PAGES = { live: ["Live", live], features: ["Features", features], past: ["Time machine", past], datasets: ["Datasets", datasets],
  registry: ["Registry", registry], coverage: ["Coverage", coverage], quality: ["Quality", quality], backfill: ["Backfill", backfill],
  upkeep: ["Upkeep", upkeep] };
const SILENT_MS = 5000, PROBE_MS = 2500;

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const asOf = document.getElementById("as-of");
let session = null, stop = () => {}, lastAnswer = Date.now(), turn = 0, isProbing = false;

// A document of the API. Raises Refused with what the API says, TypeError when it does not answer.
async function api(path, { method = "GET", body } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session?.csrf_token) headers["X-CSRF-Token"] = session.csrf_token;
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  heard(answer.headers.get("Date"));
  const document = answer.status === 204 ? null : await answer.json();
  if (answer.ok) return document;
  if (answer.status === 401 && path !== "/console/login") { session = null; show(); }
  throw new Refused(answer.status, document);
}

function heard(date) {
  lastAnswer = Date.now();
  setText(asOf, `as of ${new Date(date ?? lastAnswer).toISOString().slice(11, 19)} UTC`);
}

// A page whose data does not change asks nothing more, so whether the service still responds is asked for it. That
// does not make its data newer: "as of" stays.
async function probe() {
  isProbing = true;
  try {
    await fetch("/console/session", { cache: "no-store" });
    lastAnswer = Date.now();
  } catch { /* the next answer ends the silence */ } finally { isProbing = false; }
}

setInterval(() => {
  const silent = Date.now() - lastAnswer;
  if (silent > PROBE_MS && !isProbing) probe();
  const isOld = silent > SILENT_MS && session !== null && !session.needs_key;
  main.classList.toggle("old", isOld);
  trouble.hidden = !isOld;
  if (isOld) setText(trouble, `No response for ${Math.round(silent / 1000)} s: the data shown is old.`);
}, 500);

function place() {
  const [name, ...rest] = (location.hash.slice(1) || "live").split("?")[0].split("/").map(decodeURIComponent);
  return { name: name in PAGES ? name : "live", rest, query: new URLSearchParams(location.hash.split("?")[1] ?? "") };
}

// The address without a step in the history: a search that is shared, not every letter of it.
function note(name, rest, query) {
  const text = new URLSearchParams([...query].filter(([, value]) => value)).toString();
  const path = [name, ...rest].map(encodeURIComponent).join("/");
  history.replaceState(null, "", `#${path}${text ? `?${text}` : ""}`);
}

async function show() {
  const mine = ++turn;
  stop();
  stop = () => {};
  const at = place();
  document.querySelectorAll("#pages a").forEach((link) => {
    if (link.hash !== `#${at.name}`) return link.removeAttribute("aria-current");
    link.setAttribute("aria-current", "page");
    link.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone the list is wider than the screen
  });
  try {
    session ??= await api("/console/session");
    document.getElementById("logout").hidden = !session.csrf_token;
    if (session.needs_key) return login();
    const [title, page] = PAGES[at.name];
    document.title = `${[title, ...at.rest].join(" · ")} · Feature Service`;
    const shown = h("div", {});
    const context = { api, heard, note, session, ...at, isShown: () => mine === turn };
    main.replaceChildren(shown);
    const stopPage = await page.show(shown, context);
    if (mine === turn) stop = stopPage ?? (() => {}); else stopPage?.();
  } catch (error) {
    const heading = h("h1", {}, [PAGES[at.name][0], ...at.rest].join(" · "));
    if (mine === turn && session !== null) main.replaceChildren(heading, h("p", { class: "note", role: "alert" }, told(error)));
    else if (mine === turn) main.replaceChildren(heading, h("p", { class: "note", role: "alert" }, told(error), " ", h("button", { onclick: show }, "Try again")));
  }
}

function login() {
  document.title = "Log in · Feature Service";
  const key = h("input", { type: "password", id: "key", autocomplete: "current-password", required: true });
  const wrong = h("p", { class: "error", role: "alert" });
  main.replaceChildren(h("form", { class: "panel login", onsubmit: async (event) => {
    event.preventDefault();
    try { session = await api("/console/login", { method: "POST", body: { api_key: key.value } }); show(); }
    catch (error) { setText(wrong, told(error)); key.select(); }
  } }, h("h1", {}, "Log in"), h("label", { for: "key" }, "Key of the service"), key, wrong, h("button", { class: "primary", type: "submit" }, "Log in")));
  key.focus();
}

document.getElementById("pages").append(...Object.entries(PAGES).map(([name, [title]], at) =>
  h("a", { href: `#${name}`, title: `${title} (${at + 1})` }, title)));
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
document.getElementById("logout").addEventListener("click", async () => {
  await api("/console/logout", { method: "POST" });
  session = null;
  show();
});
const changeTheme = () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
};
if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
document.getElementById("theme").addEventListener("click", changeTheme);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) { if (event.key === "Escape") event.target.blur(); return; }
  const page = Object.keys(PAGES)[Number(event.key) - 1];
  if (page) location.hash = page;
  else if (event.key === "t") changeTheme();
  else if (event.key === "/") { event.preventDefault(); main.querySelector('input[type="search"]')?.focus(); }
});
addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); scrollTo(0, 0); });
show();
