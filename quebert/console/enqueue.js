// The form that enqueues a test task. What is wrong with a field is told by the API and shown beside that field.

import { field, h, parseDuration, select, setOptions } from "./dom.js";
import { ApiError, call } from "./client.js";
import { act } from "./app.js";
import { taskLink, watchAnything } from "./feed.js";

const METHODS = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"];

/** What was sent and not answered, with its key. */
let unanswered = null;

/** What was typed, kept while the page is open. */
let kept = {};

/** The view at `#/enqueue`. */
export function enqueue(root) {
  const plain = { autocomplete: "off", spellcheck: "false" };
  const fields = {
    url: field("URL", h("input", { type: "url", required: true, inputmode: "url", placeholder: "https://executor.example/path", ...plain })),
    method: field("Method", select(METHODS.map((name) => [name, name]))),
    queue: field("Queue", select([["", "the default"]])),
    body: field("Body", h("textarea", { rows: "7", ...plain }), "Empty: no body."),
    as: field("Body as", select([["json", "JSON, byte for byte"], ["text", "text"]])),
    headers: field("Headers", h("textarea", { rows: "2", placeholder: "X-Name: value", ...plain }), "One a line."),
    delay: field("Delay", h("input", { type: "text", placeholder: "none", ...plain }), "Such as 30s, 5m, 1h30m."),
    ttl: field("Time to live", h("input", { type: "text", placeholder: "the queue’s", ...plain }), "Such as 10m; then it expires."),
    id: field("Id", h("input", { type: "text", placeholder: "a new UUID", maxlength: "128", ...plain })),
  };
  for (const [name, { input }] of Object.entries(fields)) {
    if (kept[name] !== undefined) input.value = kept[name];
    input.addEventListener("input", () => (kept[name] = input.value));
  }
  const result = h("div", { class: "result", role: "status" });
  const submit = act("Enqueue", "enqueue", () => send(fields, result), { class: "primary", type: "submit" });
  const form = h("form", { class: "enqueue", novalidate: true, "aria-label": "A task", on: { submit: (event) => event.preventDefault() } },
    h("div", { class: "row wide" }, fields.method.node, fields.url.node),
    h("div", { class: "row" }, fields.queue.node, fields.id.node),
    h("div", { class: "row" }, fields.delay.node, fields.ttl.node),
    h("div", { class: "row content-row" }, fields.body.node, h("div", {}, fields.as.node, fields.headers.node)),
    h("div", { class: "buttons" }, submit), result);
  watchAnything();
  root.append(h("h1", {}, "Enqueue a task"), h("p", { class: "hint" }, "It is a real one: the dispatcher sends it like any other."), form);
  return {
    title: "Enqueue",
    update({ queues }) {
      if (!queues?.queues.length) return;
      const names = queues.queues.map(({ name }) => name);
      // The choice stays what it was when the queues become known: another one would make it another task.
      setOptions(fields.queue.input, [["", `the default (${names.at(-1)})`], ...names.map((name) => [name, name])]);
      if (kept.queue && fields.queue.input.value !== kept.queue) fields.queue.input.value = kept.queue;
    },
  };
}

async function send(fields, result) {
  result.replaceChildren();
  for (const { error } of Object.values(fields)) error("");
  const faults = [];
  const fault = (name, message) => faults.push([name, message]);
  const envelope = envelopeOf(fields, fault);
  if (faults.length) return show(fields, result, faults, "");
  // The same task sent again after a lost answer adds no second one.
  if (unanswered?.envelope !== envelope) unanswered = { envelope, key: uuid() };
  try {
    const accepted = await call("POST", "/tasks", { body: envelope, headers: { "idempotency-key": unanswered.key } });
    unanswered = null;
    result.className = "result good";
    result.replaceChildren("Stored in ", h("b", {}, accepted.queue), " as ", taskLink(accepted.id), ".");
  } catch (error) {
    if (!(error instanceof ApiError) || error.status === 401) throw error;
    unanswered = null;
    show(fields, result, error.errors.map(({ field, detail }) => [FIELDS[field.split(".")[0]] ?? "", `${field}: ${detail}`]), error.message);
  }
}

/** The API's names of fields, and the form's. */
const FIELDS = {
  url: "url", method: "method", queue: "queue", body: "body", body_text: "body", headers: "headers", id: "id", delay_ms: "delay", not_before: "delay",
  ttl_ms: "ttl", expires_at: "ttl",
};

function show(fields, result, faults, message) {
  const elsewhere = [];
  for (const [name, detail] of faults) fields[name] ? fields[name].error(detail) : elsewhere.push(detail);
  result.className = "result bad";
  result.replaceChildren(`Not enqueued. ${[message, ...elsewhere].filter(Boolean).join("; ")}`);
  faults.map(([name]) => fields[name]?.input).find(Boolean)?.focus();
}

/** The envelope as JSON. The body goes in as it was typed: parsing and writing it again would change large numbers. */
function envelopeOf(fields, fault) {
  const value = (name) => fields[name].input.value.trim();
  const envelope = { url: value("url") };
  if (!envelope.url) fault("url", "a task needs one");
  if (value("method") !== "POST") envelope.method = value("method");
  for (const name of ["queue", "id"]) if (value(name)) envelope[name] = value(name);
  for (const [name, key] of [["delay", "delay_ms"], ["ttl", "ttl_ms"]]) {
    if (!value(name)) continue;
    envelope[key] = parseDuration(value(name));
    if (envelope[key] === null) fault(name, "a duration is written as 500ms, 30s, 5m or 1h30m");
  }
  const lines = value("headers").split("\n").map((line) => line.trim()).filter(Boolean);
  for (const line of lines) {
    const [, name, rest] = /^([^:\s]+)\s*:\s*(.*)$/.exec(line) ?? [];
    if (!name) fault("headers", "each line is a name, a colon and a value");
    else (envelope.headers ??= Object.create(null))[name] = [...(envelope.headers[name] ?? []), rest];
  }
  const body = fields.body.input.value;
  if (!body.trim()) return JSON.stringify(envelope);
  if (fields.as.input.value === "text") return JSON.stringify({ ...envelope, body_text: body });
  try {
    JSON.parse(body);
  } catch (error) {
    fault("body", `no JSON: ${error.message}`);
  }
  return `${JSON.stringify(envelope).slice(0, -1)},"body":${body}}`;
}

/** A random UUID; `crypto.randomUUID` is not there on plain HTTP. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
