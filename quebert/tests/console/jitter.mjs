// Hostile timing at will: `CONSOLE_JITTER=7 node faults.mjs`, or the same before `cargo test -p quebert --test console`. Every
// answer of the API and every piece of the stream of events is then held for up to 0.6 s, pieces end anywhere, every other
// page computes up to six times slower, timers are late, and the test itself may be slow between two steps. The seed, 7 here,
// decides on each delay: the nth on a path is the same again, as far as the page asks in the same order. Without the variable
// nothing here does anything. A test has to pass with every seed: what it looks at it has to wait for.

import { createHash } from "node:crypto";
import net from "node:net";

/** What decides on all delays; null if there are none. */
export const SEED = process.env.CONSOLE_JITTER || null;

const HELD_MS_MAX = 600;
const TIMER_LATE_MS_MAX = 150;
const STEP_MS_MAX = 20;
const SLOWER_MAX = 6;

if (SEED !== null) process.stdout.write(`# all timing is hostile: CONSOLE_JITTER=${SEED}\n`);

const asked = new Map();

/** From 0 to 1, the same whenever it is asked for by this name for the same time. */
function chance(name) {
  const nth = (asked.get(name) ?? 0) + 1;
  asked.set(name, nth);
  return createHash("sha256").update(`${SEED} ${name} ${nth}`).digest().readUInt32BE() / 2 ** 32;
}

/** Waits for a while, if timing is hostile. */
export async function hold(name) {
  if (SEED !== null) await new Promise((done) => setTimeout(done, chance(name) * HELD_MS_MAX));
}

/** How long the browser waits before each step of a test; in half of the runs not at all. */
export const stepMs = () => (SEED === null || chance("steps") < 0.5 ? 0 : chance("step") * STEP_MS_MAX);

/** Has a page compute slowly and, if its clock is the real one, be late with timers. */
export async function slowPage(page, { clock }) {
  if (SEED === null) return;
  // Half of the pages: slowness is made by burning the processor, of which others have less then.
  if (chance("slow") < 0.5) {
    const session = await page.context().newCDPSession(page);
    await session.send("Emulation.setCPUThrottlingRate", { rate: 1 + chance("processor") * (SLOWER_MAX - 1) });
  }
  if (clock) return;
  await page.addInitScript(lateTimers, [chance("timers"), TIMER_LATE_MS_MAX]);
}

/** Runs in the page. */
function lateTimers([start, lateMax]) {
  const set = window.setTimeout.bind(window);
  // Pseudo-random by Lehmer's way, so that the seed decides here, too.
  let at = Math.floor(start * 2 ** 30) + 1;
  const next = () => (at = (at * 48_271) % 2_147_483_647) / 2_147_483_647;
  window.setTimeout = (run, ms = 0, ...rest) => set(run, ms + next() * lateMax, ...rest);
}

/** The address at which a server on loopback is slow to answer; its own if timing is not hostile. */
export async function slowed(url) {
  if (SEED === null) return url;
  const { hostname, port } = new URL(url);
  const relay = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    // The files of the page come as they do: there is nobody yet to be too early.
    let name = null;
    carry(near, far, (piece) => {
      const [line, path] = /^[A-Z]+ ([^ ?]*)/.exec(piece.toString("latin1", 0, 1000)) ?? [];
      if (line) name = path.startsWith("/v1/") ? line : null;
      return name;
    });
    carry(far, near, () => name);
  });
  await new Promise((done) => relay.listen(0, "127.0.0.1", done));
  // It must not keep the process from ending.
  relay.unref();
  return `http://127.0.0.1:${relay.address().port}/`;
}

/** Carries bytes over, late; what comes meanwhile goes along. Events end up cut anywhere. */
function carry(from, to, nameOf) {
  const pieces = [];
  let carried = Promise.resolve();
  const some = async (name) => {
    if (!pieces.length) return;
    if (name) await hold(name);
    const all = Buffer.concat(pieces.splice(0));
    const cut = name === "GET /v1/events" && all.length > 200 ? Math.ceil(chance("a cut") * all.length) : all.length;
    if (to.writable) to.write(all.subarray(0, cut));
    if (cut === all.length) return;
    pieces.unshift(all.subarray(cut));
    await some(name);
  };
  from.on("data", (piece) => {
    const name = nameOf(piece);
    pieces.push(piece);
    carried = carried.then(() => some(name));
  });
  from.on("error", () => {});
  from.on("close", () => carried.then(() => to.destroySoon()));
}
