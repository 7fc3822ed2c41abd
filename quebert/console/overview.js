// The overview: queues, destinations and the latest attempts, live. What is shown here is asked for by console.js.

import { attribute, bar, confirm, count, counted, duration, age, h, known, moment, rate, reconcile, sparkline, text, toast } from "./dom.js";
import { call, query, segment } from "./client.js";
import { latest, watchOverview } from "./feed.js";
import { act } from "./app.js";

/** The view at `#/`. */
export function overview(root) {
  const queues = queueTable();
  const destinations = destinationTable();
  const attempts = latest(20, { short: true });
  root.append(
    h("h1", { class: "hidden" }, "Overview"),
    h("section", { "aria-labelledby": "queues-title" }, h("h2", { id: "queues-title" }, "Queues"), queues.node),
    h("div", { class: "columns" },
      h("section", { "aria-labelledby": "destinations-title" }, h("h2", { id: "destinations-title" }, "Destinations"), destinations.node),
      h("section", { "aria-labelledby": "latest-title" },
        h("div", { class: "bartop" }, h("h2", { id: "latest-title" }, "Latest attempts"), h("a", { href: "#/feed" }, "all")),
        attempts.node)),
  );
  watchOverview();
  return {
    title: "Overview",
    update(app) {
      if (app.queues) queues.update(app.queues.queues);
      if (app.destinations) destinations.update(app.destinations);
    },
    events: attempts.render,
    end: attempts.end,
  };
}

/** A table whose cells get their column's name as a label, for narrow windows. */
function table(label, columns, body, props = {}) {
  return h("table", { role: "table", "aria-label": label, ...props },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      columns.map(([name, kind]) => h("th", { role: "columnheader", scope: "col", class: kind ?? null }, name)))),
    body);
}

const cell = (label, kind, ...children) => h("td", { role: "cell", "data-label": label, class: kind ?? null }, ...children);

function queueTable() {
  const body = h("tbody", { role: "rowgroup" });
  const columns = [["Queue"], ["Ready", "n"], ["In flight"], ["Delayed", "n"], ["Dead", "n"], ["Oldest", "n"], ["Completed, last minute"],
    ["p50 / p99", "n"], ["Actions", "end"]];
  const node = table("Queues", columns, body, { class: "queues" });
  return { node, update: (queues) => reconcile(body, queues, (queue) => queue.name, queueRow) };
}

function queueRow({ name }) {
  const state = h("span", { class: "badge warn", hidden: true });
  const [ready, delayed, dead, oldest, latency] = Array.from({ length: 5 }, () => h("span"));
  const deadLink = h("a", { href: `#/dead${query({ queue: name })}` }, dead);
  const flight = h("span");
  const flightBar = bar();
  const spark = sparkline();
  const speed = h("span");
  const failing = h("span", { class: "bad" });
  let queue = null;
  const pause = act("", "operate", () => steer(queue));
  const purge = act("Purge…", "operate", () => purgeQueue(name), { "aria-label": `Purge ${name}…` });
  const node = h("tr", { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, h("span", { class: "name" }, name), " ", state),
    cell("Ready", "n", ready),
    cell("In flight", "flight", flight, flightBar.node),
    cell("Delayed", "n", delayed),
    cell("Dead", "n", deadLink),
    cell("Oldest", "n", oldest),
    cell("Completed, last minute", "speed", spark.node, h("span", {}, speed, " ", failing)),
    cell("p50 / p99", "n", latency),
    cell("Actions", "end", h("span", { class: "buttons" }, pause, purge)));
  const away = "not known while the broker is away";
  return {
    node,
    update(now) {
      queue = now;
      const word = now.paused ? "paused" : now.open ? "" : "closed";
      text(state, word);
      state.hidden = !word;
      const paused = now.pause_scope === "broker" ? "nothing is taken from it, even after a restart" : "this dispatcher takes nothing from it until it is resumed or restarted";
      attribute(state, "title", now.paused ? paused : "the dispatcher has not got it open");
      known(ready, now.ready, count, away);
      attribute(ready, "title", now.ready === null ? away : sizeOf(now));
      text(flight, `${count(now.in_flight)} / ${count(now.limits.slots_max)}`);
      attribute(flight, "title", `${counted(now.in_flight, "attempt")} under way, ${count(now.limits.slots_max)} at most; ${counted(now.buffered, "task")} held`);
      flightBar.update(now.in_flight, now.limits.slots_max);
      known(delayed, now.delayed, count);
      known(dead, now.dead, count);
      attribute(deadLink, "aria-label", now.dead === null ? `dead letters of ${name}, number not known` : `${counted(now.dead, "dead letter")} of ${name}`);
      deadLink.className = now.dead > 0 ? "bad" : "none";
      if (now.oldest_age_ms === null && now.ready === 0) known(oldest, "–", String);
      else known(oldest, now.oldest_age_ms, age);
      spark.update(now.recent.succeeded_by_s);
      text(speed, `${rate(now.recent.succeeded_per_s)} /s`);
      text(failing, now.recent.failed_per_s > 0 ? `${rate(now.recent.failed_per_s)} failing` : "");
      attribute(failing, "title", "attempts that failed, a second");
      tellLatency(latency, now.recent);
      text(pause, now.paused ? "Resume" : "Pause");
      attribute(pause, "aria-label", `${now.paused ? "Resume" : "Pause"} ${name}`);
    },
  };
}

const sizeOf = (queue) =>
  [queue.ready_bytes === null ? "" : `${count(queue.ready_bytes)} bytes`, queue.consumers === null ? "" : counted(queue.consumers, "consumer"),
    queue.limits.messages_max === null ? "" : `at most ${count(queue.limits.messages_max)}`].filter(Boolean).join(", ") || null;

/** Median and 99th percentile, or a dash where there was no attempt to measure. */
function tellLatency(element, { attempt_p50_ms: p50, attempt_p99_ms: p99 }) {
  const measured = p50 !== null && p99 !== null;
  text(element, measured ? pair(duration(p50), duration(p99)) : "–");
  attribute(element, "title", measured ? "of attempts in the last minute" : "no attempt in the last minute");
}

/** `8.4 / 212 ms`: the unit once, if it is the same. */
function pair(low, high) {
  const unit = high.slice(high.indexOf(" "));
  return `${low.endsWith(unit) && !low.slice(0, -unit.length).includes(" ") ? low.slice(0, -unit.length) : low} / ${high}`;
}

async function steer(queue) {
  const verb = queue.paused ? "resume" : "pause";
  const answer = await call("POST", `/queues/${segment(queue.name)}/${verb}`);
  const scope = answer.scope === "broker" ? "" : " (by this dispatcher, until it restarts)";
  toast(answer.paused ? `Queue ${answer.queue} is paused${scope}.` : `Queue ${answer.queue} runs again.`);
}

async function purgeQueue(name) {
  const path = `/queues/${segment(name)}/purge`;
  const { purged: waiting } = await call("POST", `${path}?dry_run=true`);
  const lines = [
    `This removes what is ready in the queue ${name}, ${counted(waiting, "task")} now, for good. They do not become dead letters.`,
    "Tasks under way, delayed tasks and dead letters stay.",
  ];
  if (!(await confirm(`Purge the queue ${name}?`, lines, `Purge ${counted(waiting, "task")}`))) return;
  const { purged } = await call("POST", path);
  toast(`${counted(purged, "task")} removed from the queue ${name}.`);
}

function destinationTable() {
  const body = h("tbody", { role: "rowgroup" });
  const columns = [["Origin"], ["In flight"], ["Attempts", "n"], ["Failed", "n"], ["p50 / p99", "n"], ["Outcomes since the start"], ["Last failure"]];
  const list = table("Destinations", columns, body, { class: "destinations" });
  const empty = h("p", { class: "empty" }, "No destination yet: each executor’s origin appears with its first attempt.");
  const more = h("p", { class: "hint", hidden: true }, "The 200 busiest are shown.");
  const node = h("div", {}, list, empty, more);
  return {
    node,
    update(view) {
      reconcile(body, view.destinations, (destination) => destination.origin, destinationRow);
      list.hidden = !view.destinations.length;
      empty.hidden = Boolean(view.destinations.length);
      more.hidden = !view.more;
    },
  };
}

function destinationRow({ origin }) {
  const [flight, speed, failed, latency] = Array.from({ length: 4 }, () => h("span"));
  const flightBar = bar();
  const outcomes = h("span", { class: "outcomes" });
  const failure = h("span", { class: "failure" });
  const at = h("span", { class: "hint" });
  const node = h("tr", { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, h("span", { class: "mono wrap" }, origin)),
    cell("In flight", "flight", flight, flightBar.node),
    cell("Attempts", "n", speed),
    cell("Failed", "n", failed),
    cell("p50 / p99", "n", latency),
    cell("Outcomes", "outcomes-cell", outcomes),
    cell("Last failure", "last", failure, " ", at));
  return {
    node,
    update(now) {
      text(flight, `${count(now.in_flight)} / ${count(now.limit)}`);
      attribute(flight, "title", `${counted(now.in_flight, "request")} under way, ${count(now.limit)} at most now`);
      flightBar.update(now.in_flight, now.limit);
      text(speed, `${rate(now.recent.attempts_per_s)} /s`);
      text(failed, `${rate(now.recent.failed_per_s)} /s`);
      failed.classList.toggle("bad", now.recent.failed_per_s > 0);
      tellLatency(latency, now.recent);
      const all = Object.entries(now.outcomes).filter(([, n]) => n > 0).map(([name, n]) => ({ name, n })).sort((a, b) => b.n - a.n);
      reconcile(outcomes, all, ({ name }) => name, outcome);
      text(failure, now.last_failure ?? "–");
      at.replaceChildren(...(now.last_failure_at ? [moment(now.last_failure_at)] : []));
    },
  };
}

function outcome({ name }) {
  const number = h("b");
  const node = h("span", { class: `outcome ${name === "2xx" ? "good" : "bad"}` }, `${name} `, number);
  return { node, update: ({ n }) => text(number, count(n)) };
}
