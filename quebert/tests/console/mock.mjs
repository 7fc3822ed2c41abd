// A stand-in for the API: the console's files under its policy, and answers made up in memory. For checks of looks, of
// hostile content and of faults, which a real dispatcher can't be made to show at will. It checks no request in depth.

import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { slowed } from "./jitter.mjs";

const FILES = fileURLToPath(new URL("../../console/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8" };
const POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "base-uri 'none'", "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const ago = (ms) => new Date(Date.now() - ms).toISOString();

/** Starts one on a free port of loopback. What it answers with is in `state`, for tests to change. */
export async function startMock({ tokens = null, state = usual() } = {}) {
  const mock = { state, requests: [], events: [], away: false, tokens, operations: new Map(), readers: new Set() };
  const server = http.createServer((request, response) => answer(mock, request, response).catch((error) => response.destroy(error)));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  // A test that failed leaves it behind, and must not keep the process from ending.
  server.unref();
  mock.url = await slowed(`http://127.0.0.1:${server.address().port}/`);
  mock.emit = (event) => {
    const full = { seq: mock.events.length + 1, at: new Date().toISOString(), ...event };
    mock.events.push(full);
    for (const reader of mock.readers) send(reader, full);
  };
  /** Answers nothing any more (`true`), or again. */
  mock.setAway = (away) => {
    mock.away = away;
    if (away) for (const { response } of mock.readers) response.destroy();
  };
  mock.close = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  return mock;
}

async function answer(mock, request, response) {
  const url = new URL(request.url, mock.url);
  if (!url.pathname.startsWith("/v1/")) return file(url, response);
  if (mock.away) return request.socket.destroy();
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  mock.requests.push({ method: request.method, path: url.pathname, query: url.search, text, headers: request.headers });
  const json = (status, value) => {
    response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json" });
    response.end(value === undefined ? "" : JSON.stringify(value));
  };
  const problem = (status, code, detail, errors) => json(status, { type: `https://quebert.dev/problems/${code}`, title: code, status, code, detail, errors });
  const roles = mock.tokens ? mock.tokens[(request.headers.authorization ?? "").replace(/^Bearer /, "")] : ["enqueue", "read", "operate"];
  if (!roles) return problem(401, "unauthorized", "a token is needed");
  if (url.pathname === "/v1/events") return events(mock, url, request, response);
  const key = `${request.method} ${url.pathname}`;
  for (const [pattern, role, handler] of ROUTES) {
    const match = pattern.exec(key);
    if (!match) continue;
    if (role && !roles.includes(role)) return problem(403, "forbidden", `needs the role ${role}`);
    const parts = match.slice(1).map(decodeURIComponent);
    return handler({ mock, state: mock.state, url, parts, json, problem, roles, body: () => JSON.parse(text) });
  }
  return problem(404, "not_found", `there is no ${key}`);
}

async function file(url, response) {
  const name = url.pathname === "/" ? "index.html" : path.basename(url.pathname);
  try {
    const content = await readFile(path.join(FILES, name));
    response.writeHead(200, { "content-type": TYPES[path.extname(name)], "content-security-policy": POLICY, "cache-control": "no-store" });
    response.end(content);
  } catch {
    response.writeHead(404).end();
  }
}

function events(mock, url, request, response) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.write(": hello\n\n");
  const wanted = { kinds: url.searchParams.get("kind")?.split(","), queue: url.searchParams.get("queue"), task: url.searchParams.get("task") };
  const reader = { response, wanted };
  const from = request.headers["last-event-id"];
  // A number of no event of ours: something was missed, nobody knows how much.
  if (from === "0") send({ response, wanted: {} }, { seq: 0, at: ago(0), kind: "missed" });
  if (from !== undefined) for (const event of mock.events.filter(({ seq }) => seq > Number(from))) send(reader, event);
  mock.readers.add(reader);
  response.on("close", () => mock.readers.delete(reader));
}

function send({ response, wanted }, event) {
  if (wanted.kinds && !wanted.kinds.includes(event.kind)) return;
  if (wanted.queue && wanted.queue !== event.queue) return;
  if (wanted.task && wanted.task !== event.task) return;
  response.write(`id: ${event.seq}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`);
}

const fits = (filter) => (letter) =>
  (!filter.queue || letter.queue === filter.queue) && (!filter.reason || letter.reason === filter.reason) && (!filter.id || letter.id === filter.id)
  && (!filter.url_prefix || (letter.url ?? "").startsWith(filter.url_prefix))
  && (!filter.search || [letter.id, letter.url, letter.reason, letter.detail].some((text) => (text ?? "").includes(filter.search)));

const glance = ({ key, id, queue, reason, detail, dead_at, attempts, url }) => ({ key, id, queue, reason, detail, dead_at, attempts, url });

const ROUTES = [
  [/^GET \/v1\/status$/, null, ({ state, json, roles }) => json(200, { ...state.status, now: new Date().toISOString(), roles })],
  [/^GET \/v1\/queues$/, "read", ({ state, json }) => {
    for (const queue of state.queues) if (queue.dead !== null) queue.dead = state.dead.filter((letter) => letter.queue === queue.name).length;
    json(200, { engine: state.status.engine, queues: state.queues });
  }],
  [/^GET \/v1\/destinations$/, "read", ({ state, json }) => json(200, { destinations: state.destinations, more: false })],
  [/^POST \/v1\/queues\/([^/]+)\/(pause|resume)$/, "operate", ({ state, json, parts: [name, verb] }) => {
    const queue = state.queues.find((one) => one.name === name);
    queue.paused = verb === "pause";
    json(200, { queue: name, paused: queue.paused, scope: queue.pause_scope });
  }],
  [/^POST \/v1\/queues\/([^/]+)\/purge$/, "operate", ({ state, json, url, parts: [name] }) => {
    const queue = state.queues.find((one) => one.name === name);
    const dry = url.searchParams.get("dry_run") === "true";
    const purged = queue.ready;
    if (!dry) queue.ready = 0;
    json(200, { queue: name, purged, dry_run: dry });
  }],
  [/^GET \/v1\/dead$/, "read", ({ state, json, url }) => {
    const found = state.dead.filter(fits(Object.fromEntries(url.searchParams)));
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const limit = Number(url.searchParams.get("limit") ?? 50);
    const letters = found.slice(from, from + limit).map(glance);
    json(200, { letters, next_cursor: from + limit < found.length ? String(from + limit) : null, complete: state.complete });
  }],
  [/^POST \/v1\/dead\/(replay|delete)$/, "operate", ({ mock, state, json, body, parts: [kind] }) => {
    const { filter = {}, dry_run: dry = false, limit = Infinity } = body();
    const matched = state.dead.filter(fits(filter)).slice(0, limit);
    const operation = { id: `op-${mock.operations.size + 1}`, kind, state: "done", dry_run: dry, seen: state.dead.length, matched: matched.length, done: 0, stuck: 0, error: null };
    if (dry) return json(200, operation);
    Object.assign(operation, { state: "running", left: matched });
    mock.operations.set(operation.id, operation);
    json(202, shown(operation));
  }],
  [/^GET \/v1\/operations\/(.+)$/, "read", ({ mock, state, json, problem, parts: [id] }) => {
    const operation = mock.operations.get(id);
    if (!operation) return problem(404, "operation_not_found", "no such operation");
    const now = operation.left.splice(0, 40);
    state.dead = state.dead.filter((letter) => !now.includes(letter));
    operation.done += now.length;
    if (!operation.left.length) operation.state = "done";
    json(200, shown(operation));
  }],
  [/^GET \/v1\/dead\/(.+)$/, "read", ({ state, json, problem, parts: [key] }) => {
    const letter = state.dead.find((one) => one.key === key);
    letter ? json(200, letter) : problem(404, "dead_not_found", "no such dead letter");
  }],
  [/^(?:POST \/v1\/dead\/(.+)\/replay|DELETE \/v1\/dead\/(.+))$/, "operate", ({ state, json, problem, parts: [replayed, deleted] }) => {
    const key = replayed !== "undefined" ? replayed : deleted;
    const before = state.dead.length;
    state.dead = state.dead.filter((one) => one.key !== key);
    if (state.dead.length === before) return problem(404, "dead_not_found", "no such dead letter");
    replayed !== "undefined" ? json(200, { key, replayed: true }) : json(204);
  }],
  [/^POST \/v1\/tasks$/, "enqueue", ({ state, json, problem, body }) => {
    const task = body();
    if (!/^https?:\/\//.test(task.url)) return problem(422, "invalid_task", "the task is not valid", [{ field: "url", detail: "scheme is neither http nor https" }]);
    const id = task.id ?? "0193-made-here";
    state.tasks.set(id, { ...TASK, id, url: task.url, queue: task.queue ?? "low" });
    json(201, { id, queue: task.queue ?? "low" });
  }],
  [/^GET \/v1\/tasks\/(.+)$/, "read", ({ state, json, problem, parts: [id] }) => {
    const task = state.tasks.get(id);
    task ? json(200, task) : problem(404, "task_not_found", "no such task");
  }],
  [/^POST \/v1\/tasks\/(.+)\/run$/, "operate", ({ json, parts: [id] }) => json(200, { id, was: "delayed" })],
  [/^DELETE \/v1\/tasks\/(.+)$/, "operate", ({ state, json, parts: [id] }) => (state.tasks.delete(id), json(204))],
];

const shown = ({ left, ...operation }) => operation;

const TASK = { id: "", queue: "high", state: "delayed", url: "http://127.0.0.1:1/", attempts: 2, due_at: ago(-60_000), enqueued_at: ago(90_000),
  history: [{ number: 1, outcome: "503", at: ago(80_000), duration_ms: 12 }, { number: 2, outcome: "timeout", at: ago(40_000), duration_ms: 30_000 }], copies: 1 };

const wave = (base, spread) => Array.from({ length: 60 }, (_, i) => Math.max(0, Math.round(base + spread * Math.sin(i / 5) + (i % 7))));

function queue(name, priority, more) {
  return {
    name, broker_queue: `quebert.${name}`, priority, paused: false, pause_scope: "broker", open: true, ready: 12, unsettled: 8, delayed: 3, dead: 0,
    ready_bytes: 4096, oldest_age_ms: 1_400, consumers: 1, in_flight: 5, buffered: 3,
    limits: { slots_max: 16, slots_own: 0, window: 25, max_attempts: 20, attempt_timeout_ms: 30_000, ttl_default_ms: null, messages_max: 10_000_000 },
    recent: { attempts_per_s: 12.4, succeeded_per_s: 11.8, failed_per_s: 0.6, attempt_p50_ms: 8.4, attempt_p99_ms: 212, succeeded_by_s: wave(12, 6) },
    settled: { succeeded: 8123 }, delivered: 9000, ...more,
  };
}

/** A busy day. */
export function usual() {
  const recent = (n) => ({ attempts_per_s: n, succeeded_per_s: n * 0.9, failed_per_s: n * 0.1, attempt_p50_ms: 4.2, attempt_p99_ms: 81, succeeded_by_s: wave(n, 3) });
  return {
    complete: true,
    tasks: new Map(),
    status: { version: "0.3.0", engine: "embedded", ready: true, obstacles: [], blocked: false, uptime_ms: 11_530_000, abilities: ["lookup", "durable_pause", "ages"],
      in_flight: 31, slots: 104 },
    queues: [
      queue("high", 2, { in_flight: 22, limits: { ...queue("", 0).limits, slots_max: 64 } }),
      queue("medium", 1, { ready: 1_204_533, oldest_age_ms: 7_512_000, in_flight: 16, delayed: null, recent: { ...recent(180), failed_per_s: 0 } }),
      queue("low", 0, { paused: true, in_flight: 0, ready: 0, oldest_age_ms: null, recent: { attempts_per_s: 0, succeeded_per_s: 0, failed_per_s: 0, attempt_p50_ms: null, attempt_p99_ms: null, succeeded_by_s: wave(0, 0).fill(0) } }),
    ],
    destinations: [
      { origin: "https://billing.internal.example.com:8443", in_flight: 32, limit: 32, recent: recent(210), outcomes: { "2xx": 91_233, "5xx": 412, timeout: 9 },
        last_failure: "status 503", last_failure_at: ago(4_000) },
      { origin: "http://127.0.0.1:40123", in_flight: 1, limit: 4, recent: recent(4), outcomes: { "2xx": 31, "429": 12, connect: 2 }, last_failure: "connection refused", last_failure_at: ago(72_000) },
      { origin: "https://mail.example.com", in_flight: 0, limit: 32, recent: recent(0), outcomes: { "2xx": 7 }, last_failure: null, last_failure_at: null },
    ],
    dead: Array.from({ length: 123 }, (_, i) => letter(i)),
  };
}

function letter(i) {
  const id = `0193a5e2-7c1b-7e10-9a55-${String(i).padStart(12, "0")}`;
  const reason = ["max_attempts", "permanent", "expired"][i % 3];
  const body = `{"order":${1000 + i},"total":12345678901234567890,"lines":[{"sku":"A-${i}","n":2},{"sku":"B","n":1}],"note":null}`;
  return {
    key: id, id, queue: ["high", "medium", "low"][i % 3], reason, detail: { max_attempts: "20 attempts, the last one: status 503", permanent: "status 410", expired: "expired while waiting" }[reason],
    dead_at: ago(3_000 + i * 47_000), attempts: [20, 1, 3][i % 3], url: `https://billing.internal.example.com:8443/orders/${1000 + i}/settle`,
    history: [{ number: 1, outcome: "503", at: ago(90_000), duration_ms: 12 }, { number: 2, outcome: "timeout", at: ago(60_000), duration_ms: 30_000 }, { number: 3, outcome: "503", at: ago(3_000), duration_ms: 9 }],
    content_type: "application/json", headers: { "quebert-attempts": 20, "quebert-dead-reason": reason, "quebert-h-authorization": "***" }, body, body_lossy: false,
    body_bytes: body.length, replays_to: "quebert.high",
  };
}

/** Texts that would run if they became markup anywhere. They break out of text, of attributes and of addresses. */
export const HOSTILE = [
  `<img src=x onerror="window.__ran=1">`,
  `"><script>window.__ran=2</script>`,
  `' autofocus onfocus='window.__ran=3`,
  `javascript:window.__ran=4//`,
  `</span><svg onload=window.__ran=5>`,
  `\${window.__ran=6}{{constructor.constructor("window.__ran=7")()}}`,
];

/** The same day, with hostile text wherever a producer or an executor can put some. */
export function hostile() {
  const state = usual();
  const all = HOSTILE.join(" ");
  state.status.obstacles = HOSTILE;
  state.status.ready = false;
  state.destinations = HOSTILE.map((text, i) => ({ ...state.destinations[0], origin: text, outcomes: { [text]: i + 1 }, last_failure: text }));
  state.dead = HOSTILE.map((text, i) => ({
    ...state.dead[i], key: text, id: text, queue: "high", reason: text, detail: text, url: text, history: [{ number: 1, outcome: text, at: text, duration_ms: 1 }], content_type: text,
    headers: { [text]: text, list: HOSTILE, "__proto__x": { [text]: text } }, body: i % 2 ? JSON.stringify({ [text]: all }) : all, replays_to: text, dead_at: i % 2 ? text : ago(1000),
  }));
  for (const text of HOSTILE) state.tasks.set(text, { ...TASK, id: text, url: text, state: text, queue: text, history: [{ number: 1, outcome: text, at: text, duration_ms: 1 }] });
  return state;
}

// By hand: `node mock.mjs`, and a new event every now and then.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await startMock();
  console.log(mock.url);
  let n = 0;
  // Which also keeps the process alive.
  setInterval(() => {
    const task = `0193a5e2-7c1b-7e10-9a55-${String((n += 1)).padStart(12, "0")}`;
    const good = n % 4 > 0;
    mock.emit({ kind: "attempt_ended", queue: "high", task, attempt: 1, destination: "http://127.0.0.1:40123", status: good ? 200 : 503, result: good ? "2xx" : "5xx", duration_ms: 3.1 * n, detail: good ? undefined : "status 503" });
  }, 300);
}
