// Elements, and how figures are written. All text gets into the page as text nodes or attributes, so that no content of
// a task can become markup. This file knows neither the API nor the views.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `props`: `class`, `on: {event: listener}`, properties such as `value`, else attributes; null leaves out. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "indeterminate", "open", "selected"]);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (PROPERTIES.has(name)) element[name] = value;
    // What could run something or be navigated to is never made from data.
    else if (name === "href" && !value.startsWith("#")) throw new Error(`a link within the page only, not ${name}`);
    else if (name === "style" || name.startsWith("on")) throw new Error(`not allowed by the page's policy: ${name}`);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets an element's text, and leaves the page alone if it is that already. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
  return element;
}

/** Sets or removes an attribute. */
export function attribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  return element;
}

const KNOWN = new WeakMap();

/**
 * Makes the children of `parent` those of `items`, in their order. An item that was there before keeps its element, and
 * with it focus and scroll position. `make(item)` returns `{ node, update(item) }`.
 */
export function reconcile(parent, items, keyOf, make) {
  const before = KNOWN.get(parent) ?? new Map();
  const now = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (now.has(key)) continue;
    const row = before.get(key) ?? make(item);
    row.update(item);
    now.set(key, row);
  }
  for (const [key, row] of before) if (!now.has(key)) row.node.remove();
  let place = parent.firstChild;
  for (const { node } of now.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  KNOWN.set(parent, now);
}

const WHOLE = new Intl.NumberFormat("en");

/** `12,345` */
export const count = (n) => WHOLE.format(n);

/** `1 task`, `12,345 tasks` */
export const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A rate per second: `0`, `0.35`, `12.4`, `1,234` */
export function rate(n) {
  if (n === 0) return "0";
  if (n < 0.01) return "<0.01";
  if (n < 10) return String(Number(n.toFixed(2)));
  return n < 100 ? n.toFixed(1) : count(Math.round(n));
}

/** A duration: `0.8 ms`, `412 ms`, `1.24 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h` */
export function duration(ms) {
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
}

/** The same in whole seconds from one second up, for what counts on. */
export const age = (ms) => (ms < 1000 ? "<1 s" : ms < 60_000 ? `${Math.floor(ms / 1000)} s` : duration(ms));

/** `412 B`, `3.1 KiB` */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) (n /= 1024), (unit += 1);
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** `500`, `2s`, `1m30s`, `1h` as milliseconds (a plain number is seconds); null for anything else. */
export function parseDuration(written) {
  const units = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
  const compact = written.replace(/\s+/g, "").toLowerCase();
  if (/^\d+(\.\d+)?$/.test(compact)) return Math.round(Number(compact) * 1000);
  if (!/^(\d+(\.\d+)?(ms|min|s|m|h|d))+$/.test(compact)) return null;
  const parts = compact.matchAll(/(\d+(?:\.\d+)?)(ms|min|s|m|h|d)/g);
  return Math.round([...parts].reduce((sum, [, n, unit]) => sum + Number(n) * units[unit], 0));
}

/** How far the server's clock is ahead of this machine's, in milliseconds. */
let skew = 0;
export function setClock(serverNow) {
  const at = Date.parse(serverNow);
  if (Number.isFinite(at)) skew = at - Date.now();
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

/** A moment as time of day, with milliseconds. */
export function clock(iso, digits = 3) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  return at.toLocaleTimeString("en", digits ? { ...CLOCK, fractionalSecondDigits: digits } : CLOCK);
}

/** A moment as how long ago or ahead it is, with the exact one as its title. */
export function moment(iso) {
  const away = Date.parse(iso) - (Date.now() + skew);
  if (Number.isNaN(away)) return h("span", {}, iso);
  return h("time", { datetime: iso, title: iso }, away > 0 ? `in ${age(away)}` : `${age(-away)} ago`);
}

/** A value that may be unknown: `?` with the reason as title. */
export function known(element, value, write, why = "this broker can’t tell") {
  const missing = value === null || value === undefined;
  text(element, missing ? "?" : write(value));
  attribute(element, "title", missing ? why : null);
  element.classList.toggle("unknown", missing);
  return element;
}

/** A bar of `part` in `whole`. The figures stand beside it, so that it says nothing by itself. */
export function bar() {
  const inner = h("i");
  const node = h("span", { class: "bar", "aria-hidden": "true" }, inner);
  return {
    node,
    update(part, whole) {
      const share = whole > 0 ? Math.min(1, part / whole) : 0;
      inner.style.width = `${(share * 100).toFixed(1)}%`;
      node.classList.toggle("full", share >= 1);
    },
  };
}

/** A line of the last 60 seconds, oldest first. */
export function sparkline() {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const node = svg("svg", { class: "spark", viewBox: "0 0 118 26", preserveAspectRatio: "none", role: "img" }, area, line);
  let drawn = "";
  return {
    node,
    update(values) {
      const written = values.join(" ");
      if (written === drawn && node.hasAttribute("aria-label")) return;
      drawn = written;
      const top = Math.max(1, ...values);
      const at = (value, i) => `${((i * 118) / Math.max(1, values.length - 1)).toFixed(1)} ${(25 - (value / top) * 23).toFixed(1)}`;
      const path = values.length ? `M${values.map(at).join(" L")}` : "M0 25 L118 25";
      line.setAttribute("d", path);
      area.setAttribute("d", `${path} L118 26 L0 26 Z`);
      const most = values.length ? Math.max(...values) : 0;
      attribute(node, "aria-label", `last minute: at most ${counted(most, "task")} in a second`);
    },
  };
}

/** JSON, indented, with every number and string as it was written; null if it is no JSON. */
export function prettyJson(source) {
  try {
    JSON.parse(source);
  } catch {
    return null;
  }
  const tokens = source.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let out = "";
  let depth = 0;
  // A body of 64 KiB may be nested 64 Ki deep.
  const line = () => `\n${"  ".repeat(Math.min(depth, 40))}`;
  tokens.forEach((token, i) => {
    const empty = "{[".includes(tokens[i - 1]) && "}]".includes(token);
    if ("}]".includes(token)) depth -= 1;
    if ("}]".includes(token) && !empty) out += line();
    out += token === ":" ? ": " : token;
    if ("{[".includes(token)) depth += 1;
    if (token === "," || ("{[".includes(token) && !"}]".includes(tokens[i + 1]))) out += line();
  });
  return out;
}

let nextId = 0;
/** An id for one element of the page. */
export const uniqueId = (name) => `${name}-${(nextId += 1)}`;

/** A labelled form field with room for a hint and an error. `error(text)` shows one, `error("")` takes it away. */
export function field(label, input, hint) {
  const id = (input.id ||= uniqueId("field"));
  const fault = h("span", { class: "fault", id: `${id}-fault`, hidden: true });
  const help = hint ? h("span", { class: "hint", id: `${id}-hint` }, hint) : null;
  if (help) input.setAttribute("aria-describedby", help.id);
  const node = h("div", { class: "field" }, h("label", { for: id }, label), input, help, fault);
  const error = (message) => {
    text(fault, message);
    fault.hidden = !message;
    attribute(input, "aria-invalid", message ? "true" : null);
    attribute(input, "aria-describedby", [help?.id, message ? fault.id : null].filter(Boolean).join(" ") || null);
  };
  input.addEventListener("input", () => error(""));
  return { node, input, error };
}

/** A drop-down of `[value, label]`s; keeps its choice when the options change. */
export function select(options, props = {}) {
  const node = h("select", props);
  setOptions(node, options);
  return node;
}

export function setOptions(node, options) {
  const has = [...node.options].map(({ value, text }) => [value, text]);
  if (JSON.stringify(has) === JSON.stringify(options)) return;
  const chosen = node.value;
  node.replaceChildren(...options.map(([value, label]) => h("option", { value }, label)));
  if (options.some(([value]) => value === chosen)) node.value = chosen;
}

/** Tells of a result: at the page's lower edge, and to screen readers. */
export function toast(message, { kind = "good", link = null } = {}) {
  const region = document.querySelector("#toasts");
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Dismiss" }, "×");
  const node = h("div", { class: `toast ${kind}` }, h("span", {}, message, link ? " " : null, link), close);
  const remove = () => node.remove();
  close.addEventListener("click", remove);
  region.append(node);
  while (region.children.length > 4) region.firstChild.remove();
  // Nobody loses a message while reading it.
  const later = () => setTimeout(() => (node.matches(":hover, :focus-within") ? later() : remove()), kind === "bad" ? 15_000 : 8_000);
  later();
}

/**
 * A modal dialog. `build(close)` returns its content; resolves with what was given to `close`, or null for Escape and
 * Cancel. The browser keeps the focus inside and gives it back.
 */
export function dialog(title, build, props = {}) {
  return new Promise((resolve) => {
    const heading = h("h2", { id: uniqueId("dialog") }, title);
    let result = null;
    const node = h("dialog", { "aria-labelledby": heading.id, ...props });
    const close = (value = null) => {
      result = value;
      node.close();
    };
    node.append(heading, ...[build(close)].flat());
    node.addEventListener("close", () => {
      node.remove();
      resolve(result);
    });
    document.body.append(node);
    node.showModal();
    node.querySelector("[autofocus]")?.focus();
  });
}

/** Asks before something that can't be undone. `lines` are texts or elements. */
export function confirm(title, lines, label, { danger = true } = {}) {
  return dialog(title, (close) => [
    ...lines.map((line) => (typeof line === "string" ? h("p", {}, line) : line)),
    h("div", { class: "buttons" },
      h("button", { type: "button", autofocus: true, on: { click: () => close(false) } }, "Cancel"),
      h("button", { type: "button", class: danger ? "danger" : "primary", on: { click: () => close(true) } }, label)),
  ]);
}
