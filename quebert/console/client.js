// Talks to the API: requests with the token, and the stream of events. It draws nothing.

const TOKEN = "quebert-token";
const TIMEOUT_MS = 15_000;

/** What the API answered when it was not what was asked for. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the API answered ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
  }
}

/** The API could not be reached. */
export class Away extends Error {}

const listeners = new Set();
/** Calls `listener` when the API wants a token that it has not got. */
export const onTokenWanted = (listener) => listeners.add(listener);

/** The token is kept for this tab and sent in a header: never in an address, where logs and histories would keep it. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

function headers(more) {
  const held = token.get();
  return { ...(held ? { authorization: `Bearer ${held}` } : {}), ...more };
}

/** The query part of an address; what is null or empty is left out. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** One segment of a path. */
export const segment = (value) => encodeURIComponent(value);

/** A request. Returns the answer's JSON, or null where it has none. */
export async function call(method, path, { body, json, headers: more, signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const options = { method, headers: headers(more), signal: signal ? AbortSignal.any([signal, limit]) : limit, cache: "no-store" };
  if (json !== undefined) body = JSON.stringify(json);
  if (body !== undefined) {
    options.body = body;
    options.headers["content-type"] = "application/json";
  }
  let response, text;
  try {
    response = await fetch(`/v1${path}`, options);
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Away(limit.aborted ? "no answer within 15 s" : "not reachable");
  }
  if (response.ok) return text ? JSON.parse(text) : null;
  throw refused(response.status, text);
}

function refused(status, text) {
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {
    // Something between us and the API answered.
  }
  if (status === 401) for (const listener of listeners) listener();
  return new ApiError(status, problem);
}

/** Whether an error is the API's absence, from which it recovers by itself. */
export const isAbsence = (error) => error instanceof Away || (error instanceof ApiError && error.status >= 500 && !error.code);

const BACKOFF_MS_MAX = 8_000;
/** The API sends something at least every 15 s; after this silence the connection counts as dead. */
const SILENCE_MS_MAX = 45_000;

/**
 * The stream of events: one connection at a time, opened again after a fault from where it broke off. `fetch` rather
 * than EventSource, which can't send a token.
 */
export class Stream {
  #wanted = null;
  #last = null;
  #fromStart = false;
  #running = null;
  #state = "closed";

  /** `onEvents(events)` gets what came, `onState(state)` one of `closed`, `opening`, `live`, `broken`, `refused`. */
  constructor(onEvents, onState) {
    this.onEvents = onEvents;
    this.onState = onState;
  }

  get state() {
    return this.#state;
  }

  /** Reads events with these filters from now on; `past` also those that the API remembers. */
  watch(filters, past = false) {
    this.#wanted = filters;
    this.#last = past ? "0" : null;
    this.#fromStart = past;
    this.#restart();
  }

  /** Closes the connection, to be opened again by `resume`. */
  pause() {
    this.#running?.abort();
    this.#running = null;
    this.#tell("closed");
  }

  resume() {
    if (!this.#running && this.#wanted) this.#restart();
  }

  #tell(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.onState(state);
  }

  #restart() {
    this.#running?.abort();
    if (document.hidden) {
      this.#running = null;
      return;
    }
    this.#running = new AbortController();
    this.#run(this.#running.signal);
  }

  async #run(signal) {
    let wait = 250;
    this.#tell("opening");
    while (!signal.aborted) {
      try {
        await this.#read(signal, () => (wait = 250));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && [401, 403].includes(error.status)) {
          this.#running = null;
          return this.#tell("refused");
        }
      }
      if (signal.aborted) return;
      this.#tell("broken");
      await new Promise((done) => setTimeout(done, wait * (0.75 + Math.random() / 2)));
      wait = Math.min(wait * 2, BACKOFF_MS_MAX);
    }
  }

  async #read(signal, opened) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
    try {
      const more = { accept: "text/event-stream", ...(this.#last === null ? {} : { "last-event-id": this.#last }) };
      const options = { headers: headers(more), signal: AbortSignal.any([signal, silence.signal]), cache: "no-store" };
      const response = await fetch(`/v1/events${query(this.#wanted)}`, options);
      if (!response.ok) throw refused(response.status, await response.text());
      opened();
      this.#tell("live");
      const parser = new Parser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || signal.aborted) return;
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
        const events = parser.take(value);
        // Asked for all that is remembered, the API rightly says that there was more once. Nobody here has missed it.
        if (this.#fromStart && events.length) {
          this.#fromStart = false;
          if (events[0].kind === "missed") events.shift();
        }
        if (parser.last !== null) this.#last = parser.last;
        if (events.length) this.onEvents(events);
      }
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }
}

const EVENT_CHARACTERS_MAX = 1 << 20;

/** Server-sent events out of pieces of text. */
class Parser {
  #rest = "";
  last = null;

  take(piece) {
    this.#rest += piece;
    const blocks = this.#rest.split(/\r?\n\r?\n/);
    this.#rest = blocks.pop();
    if (this.#rest.length > EVENT_CHARACTERS_MAX) throw new Error("an event without end");
    return blocks.map((block) => this.#event(block)).filter(Boolean);
  }

  #event(block) {
    const data = [];
    for (const line of block.split(/\r?\n/)) {
      const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === "id") this.last = value ?? "";
      else if (name === "data") data.push(value ?? "");
    }
    if (!data.length) return null;
    try {
      return JSON.parse(data.join("\n"));
    } catch {
      return null;
    }
  }
}
