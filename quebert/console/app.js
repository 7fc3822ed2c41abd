// What all views share: what is known of the process, the stream of events, and buttons that know who may press them.

import { attribute, h, toast } from "./dom.js";
import { ApiError, isAbsence, Stream } from "./client.js";

/** The latest answers of the API. While it is away, `staleSince` tells since when and `fault` why. */
export const app = { status: null, queues: null, destinations: null, staleSince: null, fault: "", tokenWanted: false };

const listeners = { events: new Set(), stream: new Set() };
/** Calls `listener(events)` with every batch of events. */
export const onEvents = (listener) => listeners.events.add(listener);
/** Calls `listener(state)` when the stream's state changes. */
export const onStream = (listener) => listeners.stream.add(listener);

export const stream = new Stream(
  (events) => listeners.events.forEach((listener) => listener(events)),
  (state) => listeners.stream.forEach((listener) => listener(state)),
);

/** Why the caller's token does not allow this; null if it does, or if nothing is known yet. */
export const forbidden = (role) =>
  !app.status || app.status.roles.includes(role) ? null : `needs a token with the role “${role}”; yours has ${app.status.roles.join(", ") || "none"}`;

/**
 * A button for an action that needs a role. Without the role it stays reachable by keyboard and says why it does nothing;
 * while the action runs it does nothing either. What goes wrong is told in a toast.
 */
export function act(label, role, run, props = {}) {
  const { class: kind, type = "button", ...rest } = props;
  let busy = false;
  const node = h("button", { type, class: kind, "data-role": role, ...rest, on: { click: press } }, label);
  async function press() {
    const why = forbidden(role);
    if (why) return toast(`Not allowed: this ${why}.`, { kind: "bad" });
    if (busy) return;
    busy = true;
    attribute(node, "aria-busy", "true");
    try {
      await run();
    } catch (error) {
      complain(error);
    } finally {
      busy = false;
      attribute(node, "aria-busy", null);
    }
  }
  permit(node);
  return node;
}

function permit(node) {
  const why = forbidden(node.dataset.role);
  attribute(node, "aria-disabled", why ? "true" : null);
  attribute(node, "title", why);
}

/** Brings all buttons up to date with the caller's roles. */
export const permitAll = () => document.querySelectorAll("[data-role]").forEach(permit);

/** Tells what went wrong, in words. */
export function complain(error) {
  if (error instanceof ApiError && error.status === 401 && document.querySelector("dialog[open]")) return;
  if (isAbsence(error)) return toast(`The API does not answer (${error.message}). What was asked for may or may not have happened.`, { kind: "bad" });
  if (!(error instanceof ApiError)) console.error(error);
  const more = (error.errors ?? []).map(({ field, detail }) => `${field}: ${detail}`).join("; ");
  toast(`Failed: ${error.message}${more ? ` (${more})` : ""}`, { kind: "bad" });
}
