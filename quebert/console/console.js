// The console's start: the header, the addresses of views, polling while the page is visible, the token, the keyboard.

import { age, attribute, dialog, field, h, setClock, text, toast, uniqueId } from "./dom.js";
import { ApiError, call, isAbsence, onTokenWanted, token } from "./client.js";
import { app, onEvents, onStream, permitAll, stream } from "./app.js";
import { overview } from "./overview.js";
import { feed, take, task } from "./feed.js";
import { dead } from "./dead.js";
import { enqueue } from "./enqueue.js";

const POLL_MS = 2_000;

/** The views, in the order of the navigation; the digit and `g` with the letter lead to them. */
const VIEWS = [
  { name: "", label: "Overview", key: "o", open: overview },
  { name: "feed", label: "Feed", key: "f", open: feed },
  { name: "dead", label: "Dead letters", key: "d", open: dead },
  { name: "enqueue", label: "Enqueue", key: "e", open: enqueue },
  { name: "task", open: task },
];

const $ = (selector) => document.querySelector(selector);
const main = $("#main");
let view = null;
let shown = null;

// ---------------------------------------------------------------------------------------------------------------------
// Where we are

function place() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...rest] = path.split("/");
  let argument = null;
  try {
    argument = rest.length ? decodeURIComponent(rest.join("/")) || null : null;
  } catch {
    // An address that somebody has mistyped.
  }
  return { name, argument, params: new URLSearchParams(search ?? "") };
}

function route({ focus = true } = {}) {
  const { name, argument, params } = place();
  const wanted = VIEWS.find((one) => one.name === name && (one.name !== "task" || argument)) ?? VIEWS[0];
  if (shown === wanted && view.moved?.(argument, params)) return entitle();
  view?.end?.();
  main.replaceChildren();
  shown = wanted;
  view = wanted.open(main, argument, params);
  for (const link of $("#views").querySelectorAll("a")) attribute(link, "aria-current", link.dataset.view === wanted.name ? "page" : null);
  view.update?.(app);
  entitle();
  // Whoever reads by ear hears that there is another view now.
  if (focus && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
  if (focus) window.scrollTo(0, 0);
  poll();
}

function entitle() {
  document.title = `${view.title} · Quebert`;
}

// ---------------------------------------------------------------------------------------------------------------------
// What is known

let polling = null;
let timer = null;

/** Asks for everything that is on the screen, once; then again in a while. One round at a time, none while hidden. */
async function poll() {
  clearTimeout(timer);
  polling?.abort();
  if (document.hidden) return;
  const { signal } = (polling = new AbortController());
  await ask(signal);
  if (signal.aborted) return;
  polling = null;
  // Nothing changes before there is a token.
  if (app.tokenWanted) return;
  timer = setTimeout(poll, POLL_MS);
}

async function ask(signal) {
  const get = (path) => call("GET", path, { signal });
  try {
    app.status = await get("/status");
    setClock(app.status.now);
    Object.assign(app, { staleSince: null, tokenWanted: false });
    if (app.status.roles.includes("read")) {
      const wanted = [["queues", "/queues"], ...(shown.open === overview ? [["destinations", "/destinations"]] : [])];
      const answers = await Promise.allSettled(wanted.map(([, path]) => get(path)));
      answers.forEach(({ status, value }, i) => {
        if (status === "fulfilled") app[wanted[i][0]] = value;
      });
      const absence = answers.find(({ status, reason }) => status === "rejected" && isAbsence(reason));
      if (absence) throw absence.reason;
    }
    if (["closed", "refused"].includes(stream.state) && app.status.roles.includes("read")) stream.resume();
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof ApiError && error.status === 401) Object.assign(app, { status: null, staleSince: null, tokenWanted: true });
    else app.staleSince ??= new Date();
    app.fault = error.message;
  }
  if (signal.aborted) return;
  drawHeader();
  view.update?.(app);
  permitAll();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    polling?.abort();
    stream.pause();
  } else {
    stream.resume();
    poll();
  }
});

onEvents((events) => {
  take(events);
  view?.events?.();
});

// ---------------------------------------------------------------------------------------------------------------------
// The header and the notices below it

const facts = {
  ready: h("span", { class: "fact state" }),
  engine: h("span", { class: "fact" }),
  version: h("span", { class: "fact" }),
  uptime: h("span", { class: "fact", title: "since the program’s start" }),
  slots: h("span", { class: "fact", title: "attempts under way, of the slots that all queues share" }),
  stream: h("span", { class: "fact state", role: "status", "aria-label": "Live feed" }),
};

const STREAM = {
  live: ["good", "live", "events arrive as they happen"],
  opening: ["warn", "connecting", "the live feed is being opened"],
  broken: ["bad", "feed lost", "the live feed broke off; it is opened again by itself"],
  closed: ["", "feed closed", "the live feed is closed while nobody looks"],
  refused: ["", "no feed", "the live feed needs a token with the role “read”"],
};

function drawHeader() {
  const { status, staleSince } = app;
  const ready = staleSince ? ["bad", "away"] : !status ? ["", "not known"] : status.ready ? ["good", "ready"] : ["bad", "not ready"];
  mark(facts.ready, ...ready, staleSince ? app.fault : (status?.obstacles ?? []).join("; ") || null);
  for (const name of ["engine", "version", "uptime", "slots"]) facts[name].hidden = !status;
  if (status) {
    text(facts.engine, status.engine);
    text(facts.version, status.version);
    text(facts.uptime, `up ${age(status.uptime_ms)}`);
    text(facts.slots, `${status.in_flight} / ${status.slots} under way`);
  }
  mark(facts.stream, ...STREAM[stream.state]);
  drawBanners();
}

function mark(element, tone, words, title) {
  element.className = `fact state ${tone}`;
  text(element, words);
  attribute(element, "title", title);
}

onStream(drawHeader);

const banners = { stale: notice("bad"), blocked: notice("warn"), obstacles: notice("bad"), roles: notice("warn"), token: notice("warn") };

function notice(tone) {
  return h("p", { class: `notice ${tone}`, role: "status", hidden: true });
}

function drawBanners() {
  const { status, staleSince } = app;
  const say = (name, words) => {
    text(banners[name], words || "");
    banners[name].hidden = !words;
  };
  say("stale", staleSince && `The API does not answer (${app.fault}). What is shown is stale since ${staleSince.toLocaleTimeString("en", { hourCycle: "h23" })}; it goes on by itself.`);
  say("blocked", status?.blocked && !staleSince && "The broker is blocked: it takes no new tasks until it has room again. Tasks under way go on.");
  say("obstacles", !staleSince && status && !status.ready && `Not ready: ${status.obstacles.join("; ") || "no reason is told"}.`);
  say("token", app.tokenWanted && "The API wants a token: “Token…” above takes one.");
  say("roles", status && !status.roles.includes("read") && `This token may not read: it has the role ${status.roles.join(" and ") || "“none”"}. Queues, dead letters and the feed stay empty.`);
}

// ---------------------------------------------------------------------------------------------------------------------
// The token

let prompting = false;
let declined = false;

onTokenWanted(() => declined || askForToken(token.get() ? "The API does not know this token." : "The API wants a token."));

async function askForToken(why) {
  if (prompting) return;
  prompting = true;
  drawTools();
  const given = await dialog("Token", (close) => {
    const input = field("Token", h("input", { type: "password", autocomplete: "off", spellcheck: "false", autofocus: true }), "One of [api.tokens] in the program’s config.");
    const submit = (event) => {
      event.preventDefault();
      if (!input.input.value.trim()) return input.error("nothing is typed");
      close(input.input.value.trim());
    };
    return h("form", { on: { submit } }, h("p", {}, why), input.node,
      h("p", { class: "hint" }, "It is kept in this tab until the tab is closed, and sent to this address only."),
      h("div", { class: "buttons" }, h("button", { type: "button", on: { click: () => close(null) } }, "Not now"),
        h("button", { type: "submit", class: "primary" }, "Use it")));
  });
  prompting = false;
  declined = !given;
  if (given) useToken(given);
  else drawTools();
}

function useToken(given) {
  token.set(given);
  Object.assign(app, { status: null, queues: null, destinations: null, tokenWanted: false });
  stream.pause();
  drawTools();
  route({ focus: false });
}

// ---------------------------------------------------------------------------------------------------------------------
// Theme, help, keyboard

const THEMES = ["auto", "light", "dark"];
const theme = h("button", { type: "button", class: "quiet", on: { click: nextTheme } });
const help = h("button", { type: "button", class: "quiet", title: "Keyboard shortcuts (?)", on: { click: showHelp } }, "Keys");
const tokenButton = h("button", { type: "button", class: "quiet", on: { click: changeToken } });

/** What is kept in this browser: taste, never a token. */
const taste = {
  get: (name) => localStorage.getItem(`quebert-${name}`),
  set: (name, value) => localStorage.setItem(`quebert-${name}`, value),
};

function applyTheme() {
  const chosen = THEMES.includes(taste.get("theme")) ? taste.get("theme") : "auto";
  attribute(document.documentElement, "data-theme", chosen === "auto" ? null : chosen);
  text(theme, `Theme: ${chosen}`);
  attribute(theme, "title", "as the system says, light, or dark (t)");
}

function nextTheme() {
  taste.set("theme", THEMES[(THEMES.indexOf(taste.get("theme") ?? "auto") + 1) % THEMES.length]);
  applyTheme();
}

function drawTools() {
  text(tokenButton, token.get() ? "Forget token" : "Token…");
}

function changeToken() {
  if (!token.get()) return askForToken("A token is only needed where the program has some configured.");
  declined = true;
  useToken("");
  toast("The token is forgotten.");
}

const SHORTCUTS = [
  ["1 to 4", "the views, in their order"],
  ["g then o, f, d, e", "overview, feed, dead letters, enqueue"],
  ["/", "to the search"],
  ["p", "pause the feed, or let it go on"],
  ["r", "read again"],
  ["t", "light, dark, as the system says"],
  ["?", "this help"],
  ["Escape", "closes what is open"],
];

function showHelp() {
  // The page alone says what is open: a dialog is closed a moment before its end is told, and a key may come in between.
  if (document.querySelector("dialog[open]")) return;
  const off = h("input", { type: "checkbox", id: uniqueId("off"), checked: taste.get("keys") === "off", on: { change: () => taste.set("keys", off.checked ? "off" : "on") } });
  dialog("Keyboard", (close) => [
    h("dl", { class: "facts-list keys" }, SHORTCUTS.flatMap(([keys, words]) => [h("dt", {}, h("kbd", {}, keys)), h("dd", {}, words)])),
    h("p", {}, h("label", { class: "chip" }, off, "No shortcuts of single keys")),
    h("div", { class: "buttons" }, h("button", { type: "button", autofocus: true, class: "primary", on: { click: () => close() } }, "Close")),
  ]);
}

let pending = false;
function shortcut(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  if (event.key === "Escape" && shown.open === dead && place().argument) return $(".letter .back")?.click();
  if (taste.get("keys") === "off" && event.key !== "?") return;
  const to = pending ? VIEWS.find(({ key }) => key && key === event.key) : VIEWS.filter(({ key }) => key)[Number(event.key) - 1];
  const wasPending = pending;
  pending = !wasPending && event.key === "g";
  if (to) location.hash = `#/${to.name}`;
  else if (wasPending || pending) return;
  else if (event.key === "?") showHelp();
  else if (event.key === "t") nextTheme();
  else if (event.key === "r") view.refresh ? view.refresh() : poll();
  else if (event.key === "p") $("[data-pause]")?.click();
  else if (event.key === "/") {
    const focus = () => $("[data-search]")?.focus();
    if ($("[data-search]")) focus();
    else {
      // The view opens when the change of the address is told, a moment later.
      window.addEventListener("hashchange", focus, { once: true });
      location.hash = "#/dead";
    }
  } else return;
  event.preventDefault();
}

// ---------------------------------------------------------------------------------------------------------------------

$("#views").append(...VIEWS.filter(({ label }) => label).map(({ name, label, key }, i) =>
  h("a", { href: `#/${name}`, "data-view": name, title: `${i + 1}, or g then ${key}` }, label)));
$("#facts").append(...Object.values(facts));
$("#tools").append(tokenButton, theme, help);
$("#banners").append(...Object.values(banners));
$("#skip").addEventListener("click", () => main.focus());
window.addEventListener("hashchange", () => route());
document.addEventListener("keydown", shortcut);
applyTheme();
drawTools();
drawHeader();
route({ focus: false });
