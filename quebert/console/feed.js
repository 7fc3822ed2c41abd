// What happens, as it happens: the feed, and the view of one task. Holds the last few hundred events and no more.

import { clock, confirm, count, counted, duration, field, h, moment, reconcile, select, setOptions, text, toast } from "./dom.js";
import { ApiError, call, query, segment } from "./client.js";
import { act, stream } from "./app.js";

const HELD_MAX = 500;
const ROWS_MAX = 300;

/** Which kinds of events go by which name in the filter. */
const GROUPS = [
  ["Attempts", "attempt_ended,hook_failed", true],
  ["Starts", "attempt_started", false],
  ["Retries", "retry_scheduled", true],
  ["Given up", "buried,expired", true],
  ["Settled", "settled", false],
  ["Enqueued", "enqueued", false],
  ["Broker and queues", "broker_connected,broker_disconnected,broker_blocked,queue_paused,queue_resumed,reconfigured,draining,missed", true],
];
const OF_OVERVIEW = GROUPS.filter(([, , usual]) => usual).map(([, kinds]) => kinds).join(",");

/** The last events that came, newest first, and the filters they came by. */
const held = { by: "", events: [] };

/** Takes in what the stream brought; console.js calls it. */
export function take(events) {
  held.events = [...events.reverse(), ...held.events].slice(0, HELD_MAX);
}

/** Has the stream bring these; what is held of other filters goes. */
function watch(filters, past) {
  const by = JSON.stringify(filters);
  if (held.by !== by) {
    held.by = by;
    held.events = [];
    stream.watch(filters, past);
  }
}

export const watchOverview = () => watch({ kind: OF_OVERVIEW }, true);

/** For views without events of their own, so that the header tells whether the feed lives. */
export const watchAnything = () => held.by || watchOverview();

/** A list of the latest events. It holds still while somebody points at it or is in it with the keyboard. */
export function latest(rows, { fits = () => true, short = false, onShown = () => {} } = {}) {
  const list = h("ol", { class: "events", "aria-label": "Events, newest first", tabindex: "-1" });
  const note = h("p", { class: "empty" }, "No event yet.");
  const node = h("div", {}, note, list);
  let frozen = false;
  let shown = [];
  let timer = null;
  const draw = () => {
    timer = null;
    const now = held.events.filter(fits);
    if (frozen || list.matches(":hover, :focus-within")) return onShown(now.filter(({ seq }) => seq > (shown[0]?.seq ?? 0)).length);
    shown = now.slice(0, rows);
    reconcile(list, shown, (event) => event.seq, (event) => eventRow(event, short));
    note.hidden = shown.length > 0;
    onShown(0);
  };
  // A busy dispatcher has thousands of events a second; nobody reads more often than this.
  const render = () => (timer ??= setTimeout(draw, 200));
  list.addEventListener("mouseleave", render);
  list.addEventListener("focusout", render);
  draw();
  return { node, render, freeze: (on) => ((frozen = on), render()), end: () => clearTimeout(timer) };
}

const GOOD = new Set(["2xx", "succeeded"]);
const BAD_KINDS = new Set(["buried", "expired", "hook_failed", "broker_disconnected", "missed"]);

function eventRow(event, short) {
  const { words, tone } = inWords(event);
  const node = h("li", { class: `event ${tone}` },
    h("time", { class: "at", datetime: event.at, title: event.at }, clock(event.at)),
    h("span", { class: "what" }, words),
    h("span", { class: "task" }, event.task ? taskLink(event.task, short) : null),
    h("span", { class: "where" }, [event.queue, event.destination].filter(Boolean).join(" → ")),
    h("span", { class: "detail" }, event.detail ?? ""));
  return { node, update() {} };
}

/** A link to a task. Of a long id, `short` shows the end: UUIDs of the same moment begin alike. */
export const taskLink = (id, short = false) =>
  h("a", { class: "mono id", href: `#/task/${segment(id)}`, title: id }, short && id.length > 20 ? `…${id.slice(-12)}` : id);

/** An event in a few words, and whether that is good news. */
function inWords(event) {
  const nth = event.attempt ? `attempt ${event.attempt}` : "attempt";
  const took = typeof event.duration_ms === "number" ? duration(event.duration_ms) : "";
  switch (event.kind) {
    case "enqueued":
      return { words: "enqueued", tone: "" };
    case "attempt_started":
      return { words: `${nth} started`, tone: "" };
    case "attempt_ended":
      return { words: `${nth}: ${event.status ?? event.result ?? "ended"}${took && `, ${took}`}`, tone: GOOD.has(event.result) ? "good" : "bad" };
    case "retry_scheduled":
      return { words: `again in ${took || "a while"} (${event.result ?? "retry"})`, tone: "warn" };
    case "settled":
      return { words: event.result ?? "settled", tone: GOOD.has(event.result) ? "good" : "" };
    case "buried":
      return { words: `dead letter: ${event.result ?? "given up"}`, tone: "bad" };
    case "missed":
      return { words: `${event.count ? counted(event.count, "event") : "events"} missed`, tone: "warn" };
    default:
      return { words: event.kind.replaceAll("_", " ") + (event.result ? `: ${event.result}` : ""), tone: BAD_KINDS.has(event.kind) ? "bad" : "" };
  }
}

let chosen = { queue: "", task: "", groups: new Set(GROUPS.filter(([, , usual]) => usual).map(([name]) => name)) };

/** The view at `#/feed`. */
export function feed(root) {
  const queue = field("Queue", select([["", "all queues"]]));
  const task = field("Task", h("input", { type: "search", placeholder: "a task’s id", autocomplete: "off", spellcheck: "false", "data-search": true }));
  task.input.value = chosen.task;
  const groups = GROUPS.map(([name]) => {
    const box = h("input", { type: "checkbox", checked: chosen.groups.has(name), on: { change: () => {
      if (box.checked) chosen.groups.add(name);
      else chosen.groups.delete(name);
      apply();
    } } });
    return h("label", { class: "chip" }, box, name);
  });
  const waiting = h("span", { class: "hint" });
  const pause = h("button", { type: "button", "aria-pressed": "false", "data-pause": true, on: { click: () => hold(pause.getAttribute("aria-pressed") !== "true") } }, "Pause");
  const list = latest(ROWS_MAX, { onShown: (n) => text(waiting, n ? `${count(n)} new, not shown yet` : "") });
  const hold = (on) => {
    pause.setAttribute("aria-pressed", String(on));
    text(pause, on ? "Go on" : "Pause");
    list.freeze(on);
  };
  const apply = () => {
    const kind = GROUPS.filter(([name]) => chosen.groups.has(name)).map(([, kinds]) => kinds).join(",");
    watch({ queue: chosen.queue, task: chosen.task, kind: kind || "missed" }, true);
    list.render();
  };
  queue.input.addEventListener("change", () => ((chosen.queue = queue.input.value), apply()));
  task.input.addEventListener("change", () => ((chosen.task = task.input.value.trim()), apply()));
  root.append(
    h("h1", {}, "Feed"),
    h("form", { class: "filters", "aria-label": "Filters", on: { submit: (e) => (e.preventDefault(), (chosen.task = task.input.value.trim()), apply()) } },
      queue.node, task.node,
      h("fieldset", { class: "chips" }, h("legend", {}, "Events"), ...groups),
      h("div", { class: "buttons" }, pause, waiting)),
    list.node);
  apply();
  return {
    title: "Feed",
    update({ queues }) {
      if (!queues) return;
      setOptions(queue.input, [["", "all queues"], ...queues.queues.map(({ name }) => [name, name])]);
      if (queue.input.value !== chosen.queue) queue.input.value = chosen.queue;
    },
    events: list.render,
    end: list.end,
  };
}

const STATES = {
  ready: "waits to be delivered",
  delayed: "waits for its moment",
  in_flight: "an attempt is under way",
  waiting: "held by the dispatcher, waits for a slot",
  dead: "given up: a dead letter",
};

/** The view at `#/task/<id>`. */
export function task(root, id) {
  const facts = h("div", { class: "panel", "aria-live": "polite" }, h("p", { class: "empty" }, "Looking for it…"));
  const buttons = h("div", { class: "buttons" });
  const list = latest(ROWS_MAX, { fits: (event) => event.task === id || event.kind === "missed" });
  let timer = null;
  let looking = null;
  let drawn = "";
  let ended = false;
  const path = `/tasks/${segment(id)}`;
  const run = act("Run now", "operate", async () => {
    await call("POST", `${path}/run`);
    toast(`Task ${id} is due now.`);
    look();
  });
  const cancel = act("Cancel…", "operate", async () => {
    if (!(await confirm("Cancel this task?", [`Task ${id} is taken out for good. It does not become a dead letter.`], "Cancel the task"))) return;
    await call("DELETE", path);
    toast(`Task ${id} is cancelled.`);
    look();
  });
  root.append(
    h("h1", {}, "Task ", h("span", { class: "mono wrap" }, id)),
    facts, buttons, h("h2", {}, "What happened to it"), list.node);
  watch({ task: id }, true);

  const show = (nodes, actions, key) => {
    if (drawn === key) return;
    drawn = key;
    facts.replaceChildren(...nodes);
    buttons.replaceChildren(...actions);
  };
  async function look() {
    if (ended) return;
    clearTimeout(timer);
    // What was asked for before may be answered after, and is of yesterday then.
    looking?.abort();
    const { signal } = (looking = new AbortController());
    try {
      const view = await call("GET", path, { signal });
      const dead = view.state === "dead";
      show(described(view), dead ? [deadLink(id)] : [run, cancel], JSON.stringify(view));
    } catch (error) {
      if (signal.aborted) return;
      const why = error instanceof ApiError && NOT_THERE[error.code];
      show([h("p", {}, why || `It can’t be looked up: ${error.message}.`)], error.code === "task_not_held" ? [run, cancel, amongDead(id)] : [], error.message);
    }
    looking = null;
    timer = setTimeout(() => {
      timer = null;
      if (!document.hidden) look();
    }, 2_000);
  }
  look();
  return {
    title: `Task ${id}`,
    // After a time out of sight nothing is under way.
    update() {
      if (!document.hidden && !looking && timer === null) look();
    },
    events: list.render,
    end() {
      ended = true;
      looking?.abort();
      clearTimeout(timer);
      list.end();
    },
    refresh: look,
  };
}

const NOT_THERE = {
  task_not_found: "It waits nowhere: it has completed, has expired or was cancelled, or there never was one with this id.",
  task_not_held: "This broker can’t look for waiting tasks. It is not under way in this dispatcher, and may wait in a queue or be over.",
};

const amongDead = (id) => h("a", { href: `#/dead${query({ search: id })}` }, "Look among the dead letters");
const deadLink = (id) => h("a", { href: `#/dead/${segment(id)}` }, "Show its dead letter");

function described(view) {
  const rows = [
    ["State", h("span", {}, h("b", {}, view.state.replaceAll("_", " ")), STATES[view.state] ? `, ${STATES[view.state]}` : "")],
    ["Queue", view.queue ?? "?"],
    ["URL", h("span", { class: "mono wrap" }, view.url ?? "?")],
    ["Attempts", count(view.attempts)],
    view.due_at && ["Due", moment(view.due_at)],
    view.enqueued_at && ["Enqueued", moment(view.enqueued_at)],
    view.copies > 1 && ["Copies", `${count(view.copies)}, left by a fault; the executor sees the same id on each`],
    view.history.length && ["Last attempts", historyList(view.history)],
  ].filter(Boolean);
  return [facts(rows)];
}

/** Names and values. */
export const facts = (rows) => h("dl", { class: "facts-list" }, rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

/** What came of the last attempts, newest last; each with its number and how long it took. */
export const historyList = (history) =>
  h("ol", { class: "history", start: String(history[0].number) }, history.map(({ outcome, at, duration_ms }) => h("li", {}, h("span", { class: "mono wrap" }, outcome), ` in ${duration(duration_ms)} `, h("span", { class: "hint" }, moment(at)))));
