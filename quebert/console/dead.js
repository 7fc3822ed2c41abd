// Dead letters: searched, looked at, replayed and deleted, by hand or by filter.

import { attribute, bytes, clock, confirm, count, counted, dialog, field, h, known, moment, prettyJson, reconcile, select, setOptions, text,
  toast } from "./dom.js";
import { ApiError, call, query, segment } from "./client.js";
import { act, app, complain } from "./app.js";
import { facts, historyList, taskLink, watchAnything } from "./feed.js";

const PAGE = 50;
const REASONS = ["max_attempts", "permanent", "expired", "undecodable", "not_allowed", "max_deliveries", "unroutable", "hook"];
const AGES = [["", "any time"], ["newer 300000", "in the last 5 minutes"], ["newer 3600000", "in the last hour"], ["newer 86400000", "in the last day"],
  ["older 3600000", "over an hour ago"], ["older 86400000", "over a day ago"], ["older 604800000", "over a week ago"]];

/** The filter of the address, as the API takes it. */
function filterOf(params) {
  const filter = {};
  for (const name of ["search", "queue", "reason", "url_prefix", "id"]) if (params.get(name)) filter[name] = params.get(name);
  const [which, ms] = (params.get("age") ?? "").split(" ");
  if (["newer", "older"].includes(which) && /^\d+$/.test(ms)) filter[`${which}_than_ms`] = Number(ms);
  return filter;
}

/** Reads the list on the screen again, if there is one. */
let reload = () => {};

/** The view at `#/dead` and `#/dead/<key>`. */
export function dead(root, key, params) {
  // What the address says now; the list's links and requests go by it.
  const at = { params, letter: null };
  let reading = null;
  const list = listing(at);
  const detail = h("section", { class: "letter", "aria-label": "Dead letter" });
  const split = h("div", { class: "split" }, list.node, detail);
  reload = list.load;
  root.append(h("h1", {}, "Dead letters"), operations, split);
  const view = {
    title: "",
    update: list.update,
    refresh: list.load,
    end() {
      reading?.abort();
      list.end();
      reload = () => {};
    },
    /** Another letter or another filter: what is typed, the page and what is chosen stay as far as they can. */
    moved(toKey, toParams) {
      const filtered = String(toParams) !== String(at.params);
      at.params = toParams;
      show(toKey);
      if (filtered) list.filtered();
      return true;
    },
  };
  function show(letter) {
    const before = at.letter;
    at.letter = letter;
    view.title = letter ? `Dead letter ${letter}` : "Dead letters";
    split.classList.toggle("open", Boolean(letter));
    list.mark();
    const within = detail.contains(document.activeElement);
    detail.replaceChildren();
    // What was asked for of another letter may not come into this one's place.
    reading?.abort();
    reading = new AbortController();
    if (letter) showLetter(detail, at, reading.signal);
    else detail.append(h("p", { class: "empty" }, "Choose a dead letter to see its attempts, its headers and its body."));
    if (!letter && before && within) list.focus(before);
  }
  show(key);
  watchAnything();
  return view;
}

function listing(at) {
  const form = filterForm(at);
  const body = h("tbody", { role: "rowgroup" });
  const all = h("input", { type: "checkbox", "aria-label": "Choose all on this page" });
  const columns = [["Task"], ["Reason"], ["Queue"], ["Attempts", "n"], ["Died", "n"], ["URL"]];
  const table = h("table", { role: "table", class: "dead", "aria-label": "Dead letters" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, h("th", { role: "columnheader", class: "pick" }, all),
      columns.map(([name, kind]) => h("th", { role: "columnheader", scope: "col", class: kind ?? null }, name)))), body);
  const note = h("p", { class: "empty", role: "status" }, "Looking…");
  const partly = h("p", { class: "notice warn", hidden: true }, "There are more dead letters than a listing looks through: some that fit may be missing. A narrower filter finds them.");
  const news = h("span", { class: "hint" });
  let stack = [null];
  const chosen = new Set();
  let page = { letters: [], next_cursor: null };
  let deadThen = null;
  let request = null;

  const previous = h("button", { type: "button", on: { click: () => (stack.pop(), load()) } }, "Previous");
  const next = h("button", { type: "button", on: { click: () => (stack.push(page.next_cursor), load()) } }, "Next");
  const refresh = h("button", { type: "button", "data-refresh": true, on: { click: () => load() } }, "Refresh");
  const replaySome = act("Replay", "operate", () => some("replay"));
  const deleteSome = act("Delete…", "operate", () => some("delete"));
  const replayAll = act("Replay all that fit…", "operate", () => byFilter("replay", filterOf(at.params)));
  const deleteAll = act("Delete all that fit…", "operate", () => byFilter("delete", filterOf(at.params)));
  const picked = h("div", { class: "buttons picked", role: "group", "aria-label": "Chosen dead letters" }, replaySome, deleteSome);
  const node = h("section", { class: "list", "aria-label": "List" }, form.node,
    h("div", { class: "buttons" }, replayAll, deleteAll, refresh, news), partly, picked, table, note,
    h("div", { class: "buttons pages", role: "group", "aria-label": "Pages" }, previous, next));

  const mark = () => {
    const n = chosen.size;
    picked.hidden = n === 0;
    text(replaySome, `Replay ${count(n)} chosen`);
    text(deleteSome, `Delete ${count(n)} chosen…`);
    all.checked = n > 0 && n === page.letters.length;
    all.indeterminate = n > 0 && n < page.letters.length;
    for (const box of body.querySelectorAll("input")) box.checked = chosen.has(box.value);
  };
  all.addEventListener("change", () => {
    for (const { key } of page.letters) all.checked ? chosen.add(key) : chosen.delete(key);
    mark();
  });
  body.addEventListener("change", ({ target }) => {
    target.checked ? chosen.add(target.value) : chosen.delete(target.value);
    mark();
  });

  async function load() {
    request?.abort();
    const mine = (request = new AbortController());
    table.setAttribute("aria-busy", "true");
    try {
      page = await call("GET", `/dead${query({ ...filterOf(at.params), limit: PAGE, cursor: stack.at(-1) })}`, { signal: mine.signal });
    } catch (error) {
      if (mine.signal.aborted) return;
      text(note, `The list can’t be had: ${error.message}.`);
      note.hidden = false;
      return complain(error);
    } finally {
      table.removeAttribute("aria-busy");
    }
    deadThen = deadCount();
    chosen.clear();
    reconcile(body, page.letters, (letter) => letter.key, (letter) => letterRow(letter, at));
    markCurrent();
    table.hidden = page.letters.length === 0;
    text(note, page.letters.length ? "" : Object.keys(filterOf(at.params)).length ? "No dead letter fits." : "No dead letters.");
    note.hidden = page.letters.length > 0;
    partly.hidden = page.complete;
    previous.hidden = stack.length === 1;
    next.hidden = page.next_cursor === null;
    mark();
    tellNews();
  }
  function markCurrent() {
    for (const link of body.querySelectorAll("a")) {
      const here = link.dataset.key === at.letter;
      attribute(link, "aria-current", here ? "true" : null);
      link.closest("tr").classList.toggle("current", here);
    }
  }

  /** The list holds still; that there is news is told beside it. */
  function tellNews() {
    // A list that was read before any count was heard is compared with the first one.
    deadThen ??= deadCount();
    const change = deadThen === null || deadCount() === null ? 0 : deadCount() - deadThen;
    text(news, change > 0 ? `${count(change)} more since this list was read` : change < 0 ? `${count(-change)} fewer since this list was read` : "");
  }

  async function some(verb) {
    const keys = page.letters.map(({ key }) => key).filter((key) => chosen.has(key));
    const letters = counted(keys.length, "dead letter");
    if (verb === "delete" && !(await confirm(`Delete ${letters}?`, ["They are gone for good."], `Delete ${letters}`))) return;
    const failed = [];
    for (const key of keys) {
      try {
        await one(verb, key);
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) throw error;
        failed.push(`${key}: ${error.message}`);
      }
    }
    const done = keys.length - failed.length;
    toast(`${counted(done, "dead letter")} ${verb === "delete" ? "deleted" : "replayed"}.${failed.length ? ` ${failed.length} not: ${failed[0]}` : ""}`,
      { kind: failed.length ? "bad" : "good" });
    await load();
  }

  mark();
  load();
  return {
    node,
    load,
    mark: markCurrent,
    focus: (key) => [...body.querySelectorAll("a")].find((link) => link.dataset.key === key)?.focus(),
    filtered() {
      stack = [null];
      form.fill();
      load();
    },
    update() {
      form.update();
      tellNews();
    },
    end: () => request?.abort(),
  };
}

/** Dead letters of all queues together, as last heard; null if not known. */
const deadCount = () => app.queues?.queues.reduce((sum, { dead }) => (sum === null || dead === null ? null : sum + dead), 0) ?? null;

const one = (verb, key) => (verb === "replay" ? call("POST", `/dead/${segment(key)}/replay`) : call("DELETE", `/dead/${segment(key)}`));

const place = (key, params) => `#/dead${key === null ? "" : `/${segment(key)}`}${query(Object.fromEntries(params))}`;

function filterForm(at) {
  const plain = { autocomplete: "off", spellcheck: "false" };
  const fields = {
    search: field("Search", h("input", { type: "search", placeholder: "id, URL, reason, detail", "data-search": true, ...plain })),
    queue: field("Queue", select([["", "all queues"]])),
    reason: field("Reason", select([["", "any reason"], ...REASONS.map((reason) => [reason, reason])])),
    age: field("Died", select(AGES)),
    url_prefix: field("URL begins with", h("input", { type: "search", placeholder: "https://…", ...plain })),
  };
  const given = (name) => at.params.get(name) ?? "";
  // A filter of the address that is no choice of ours, such as a queue that is gone, holds all the same.
  const options = (name, list) => (given(name) && !list.some(([value]) => value === given(name)) ? [...list, [given(name), given(name)]] : list);
  const update = () => {
    const queues = app.queues?.queues ?? [];
    setOptions(fields.reason.input, options("reason", [["", "any reason"], ...REASONS.map((reason) => [reason, reason])]));
    setOptions(fields.queue.input, options("queue", [["", "all queues"], ...queues.map(({ name }) => [name, name])]));
  };
  const fill = () => {
    update();
    for (const [name, { input }] of Object.entries(fields)) if (input !== document.activeElement) input.value = given(name);
  };
  fill();
  const apply = () => {
    const wanted = Object.fromEntries(Object.entries(fields).map(([name, { input }]) => [name, input.value.trim()]));
    const address = `#/dead${query(wanted)}`;
    if (location.hash !== address) location.hash = address;
  };
  for (const { input } of Object.values(fields)) input.addEventListener("change", apply);
  const node = h("form", { class: "filters", "aria-label": "Filters", role: "search", on: { submit: (event) => (event.preventDefault(), apply()) } },
    Object.values(fields).map((one) => one.node));
  return { node, update, fill };
}

function letterRow({ key }, at) {
  const cell = (label, kind, ...children) => h("td", { role: "cell", "data-label": label, class: kind ?? null }, ...children);
  const [reason, queue, attempts, url] = Array.from({ length: 4 }, () => h("span"));
  const died = h("span");
  const name = h("a", { class: "mono id", "data-key": key });
  const node = h("tr", { role: "row" },
    cell("", "pick", h("input", { type: "checkbox", value: key, "aria-label": `Choose ${key}` })),
    cell("Task", "task", name),
    cell("Reason", "reason", reason),
    cell("Queue", "", queue),
    cell("Attempts", "n", attempts),
    cell("Died", "n", died),
    cell("URL", "url", url));
  return {
    node,
    update(letter) {
      text(name, letter.id ?? letter.key);
      attribute(name, "href", place(key, at.params));
      attribute(name, "title", letter.id ?? `no id; ${letter.key}`);
      known(reason, letter.reason, String, "no reason is noted");
      attribute(reason, "title", letter.detail);
      known(queue, letter.queue, String, "no queue is noted");
      text(attempts, count(letter.attempts));
      if (letter.dead_at) died.replaceChildren(moment(letter.dead_at));
      else known(died, null, String, "no time is noted");
      known(url, letter.url, String, "its URL can’t be read");
      if (letter.url) attribute(url, "title", letter.url);
      url.classList.add("mono");
    },
  };
}

async function showLetter(root, { letter: key, params }, left) {
  const back = h("a", { href: place(null, params), class: "back" }, "Close");
  const title = h("h2", { tabindex: "-1" }, "Dead letter");
  root.append(h("div", { class: "bartop" }, title, back));
  title.focus({ preventScroll: window.innerWidth >= 1100 });
  let letter;
  try {
    letter = await call("GET", `/dead/${segment(key)}`, { signal: left });
  } catch (error) {
    if (left.aborted) return;
    const gone = error instanceof ApiError && error.status === 404;
    root.append(h("p", { class: "empty" }, gone ? "It is not there any more: replayed, deleted, or taken away by the broker." : `It can’t be read: ${error.message}.`));
    return gone ? undefined : complain(error);
  }
  const name = letter.id ?? letter.key;
  title.replaceChildren("Dead letter ", h("span", { class: "mono wrap" }, name));
  const settle = (message, link) => {
    toast(message, { link });
    reload();
    // Somebody has gone on to another one meanwhile.
    if (left.aborted) return;
    root.replaceChildren(h("div", { class: "bartop" }, h("h2", { tabindex: "-1" }, message), back), link ? h("p", {}, link.cloneNode(true)) : "");
    root.querySelector("h2").focus();
  };
  const replay = act("Replay", "operate", async () => {
    await one("replay", key);
    const link = letter.id ? h("a", { href: taskLink(letter.id).getAttribute("href") }, "See what becomes of it") : null;
    settle(`${name} is replayed.`, link);
  }, { class: "primary" });
  const remove = act("Delete…", "operate", async () => {
    if (!(await confirm("Delete this dead letter?", [`${name} is gone for good.`], "Delete it"))) return;
    await one("delete", key);
    settle(`${name} is deleted.`);
  });
  root.append(
    h("div", { class: "buttons" }, replay, remove,
      letter.replays_to === null ? h("span", { class: "hint" }, "No queue to return to is known.") : h("span", { class: "hint" }, "A replay goes to ", h("span", { class: "mono" }, letter.replays_to))),
    facts([
      ["Reason", h("span", {}, h("b", {}, letter.reason ?? "?"), letter.detail ? `: ${letter.detail}` : "")],
      ["URL", h("span", { class: "mono wrap" }, letter.url ?? "?")],
      ["Queue", letter.queue ?? "?"],
      ["Died", letter.dead_at ? h("span", {}, moment(letter.dead_at), `, ${clock(letter.dead_at, 0)}`) : "?"],
      ["Attempts", count(letter.attempts)],
    ]),
    h("h3", {}, "What came of its attempts"),
    letter.history.length ? historyList(letter.history) : h("p", { class: "hint" }, letter.attempts ? "No notes of them." : "There was none."),
    ...bodyOf(letter),
    h("h3", {}, "Message headers"), headersOf(letter.headers));
}

function bodyOf(letter) {
  const pretty = letter.body_lossy ? null : prettyJson(letter.body);
  const shown = h("pre", { class: "content", tabindex: "0", "aria-label": "Body" }, pretty ?? letter.body);
  const toggle = pretty === null || pretty === letter.body ? null
    : h("button", { type: "button", class: "small", "aria-pressed": "false", on: { click: () => {
      const raw = toggle.getAttribute("aria-pressed") !== "true";
      toggle.setAttribute("aria-pressed", String(raw));
      text(shown, raw ? letter.body : pretty);
    } } }, "As it was sent");
  const about = [bytes(letter.body_bytes), letter.content_type, letter.body_lossy ? "only a part, or not all of it text" : ""].filter(Boolean).join(", ");
  return [h("div", { class: "bartop" }, h("h3", {}, "Message body ", h("span", { class: "hint" }, about)), toggle),
    letter.body ? shown : h("p", { class: "hint" }, "Empty.")];
}

function headersOf(headers) {
  const entries = Object.entries(headers ?? {});
  if (!entries.length) return h("p", { class: "hint" }, "None.");
  const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  return h("dl", { class: "facts-list mono small" }, entries.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, written(value))]));
}

/** Replays or deletes by filter: first counts, then asks, then shows how far it is. */
async function byFilter(verb, filter) {
  const path = `/dead/${verb}`;
  const told = Object.entries(filter).map(([name, value]) => `${name} = ${value}`);
  const dry = await finished(await call("POST", path, { json: { filter, dry_run: true } }));
  if (dry.state !== "done") throw new Error(dry.error ?? `the dry run is ${dry.state}`);
  if (dry.matched === 0) return toast("No dead letter fits.", { kind: "warn" });
  const action = await dialog(verb === "replay" ? "Replay dead letters?" : "Delete dead letters?", (close) => filterDialog(verb, dry, told, close));
  if (!action) return;
  track(await call("POST", path, { json: { filter, ...action } }), Math.min(dry.matched, action.limit ?? Infinity));
}

function filterDialog(verb, dry, told, close) {
  const speed = field("At most a second", h("input", { type: "text", inputmode: "decimal", placeholder: "as fast as it goes", autocomplete: "off" }));
  const most = field("At most in all", h("input", { type: "text", inputmode: "numeric", placeholder: "all of them", autocomplete: "off" }));
  const letters = counted(dry.matched, "dead letter");
  const submit = () => {
    const action = {};
    const rate = Number(speed.input.value.trim() || "NaN");
    const limit = Number(most.input.value.trim() || "NaN");
    if (speed.input.value.trim() && !(rate > 0)) return speed.error("a number above 0"), speed.input.focus();
    if (most.input.value.trim() && !(Number.isInteger(limit) && limit > 0)) return most.error("a whole number above 0"), most.input.focus();
    if (rate > 0) action.rate_per_s = rate;
    if (limit > 0) action.limit = limit;
    close(action);
  };
  return [
    h("form", { on: { submit: (event) => (event.preventDefault(), submit()) } },
      h("p", {}, `This would ${verb} `, h("b", {}, letters), ` of ${count(dry.seen)} looked at. `,
        told.length ? `The filter: ${told.join(", ")}.` : "There is no filter: it is all of them."),
      verb === "delete" ? h("p", {}, "They are gone for good.") : h("p", {}, "Each goes back to the queue it came from and starts with a fresh count of attempts."),
      dry.stuck ? h("p", { class: "notice warn" }, `${counted(dry.stuck, "of them has", "of them have")} no queue to return to, and would stay.`) : null,
      h("div", { class: "row" }, speed.node, most.node),
      h("div", { class: "buttons" },
        h("button", { type: "button", autofocus: true, on: { click: () => close(null) } }, "Cancel"),
        h("button", { type: "submit", class: verb === "delete" ? "danger" : "primary" }, `${verb === "delete" ? "Delete" : "Replay"} ${letters}`))),
  ];
}

/** Operations under way and just ended; they outlive a change of view. */
const operations = h("div", { class: "operations" });

async function finished(operation) {
  while (operation.state === "running") {
    await new Promise((done) => setTimeout(done, 400));
    operation = await call("GET", `/operations/${segment(operation.id)}`);
  }
  return operation;
}

function track(operation, total) {
  const meter = h("progress", { max: 1, "aria-label": `${operation.kind} of dead letters` });
  const words = h("span");
  const cancel = act("Cancel", "operate", () => call("DELETE", `/operations/${segment(operation.id)}`), { class: "small" });
  const dismiss = h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", hidden: true }, "×");
  const node = h("div", { class: "operation" }, words, meter, cancel, dismiss);
  dismiss.addEventListener("click", () => node.remove());
  operations.append(node);
  const verb = operation.kind === "delete" ? "deleted" : "replayed";
  const show = (now) => {
    meter.value = Math.min(1, (now.done + now.stuck) / Math.max(1, total));
    text(words, `${count(now.done)} of ${counted(total, "dead letter")} ${verb}${now.stuck ? `, ${count(now.stuck)} kept without a queue to return to` : ""}`
      + (now.state === "running" ? "…" : now.state === "done" ? "." : ` (${now.state}${now.error ? `: ${now.error}` : ""})`));
  };
  const poll = async () => {
    try {
      operation = await call("GET", `/operations/${segment(operation.id)}`);
    } catch (error) {
      // Only this process remembers it; after a restart nobody does.
      if (error instanceof ApiError && error.status === 404) return end({ ...operation, state: "lost sight of", error: error.message });
    }
    step();
  };
  const end = (now) => {
    show(now);
    meter.hidden = cancel.hidden = true;
    dismiss.hidden = false;
    toast(words.textContent, { kind: now.state === "done" ? "good" : "bad" });
    reload();
  };
  const step = () => {
    show(operation);
    if (operation.state === "running") setTimeout(poll, 500);
    else end(operation);
  };
  step();
}
