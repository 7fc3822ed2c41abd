// Makes the screenshots of docs/console.md with the real program: `node quebert/tests/console/shots.mjs`, after
// `cargo build` and `scripts/setup`. With ImageMagick each gets a third of the size: `convert IN -colors 64 PNG8:OUT`. It
// tests nothing.

import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { close, eventually, openPage } from "./lib.mjs";
import { startExecutor, startProgram } from "./program.mjs";

const IMAGES = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
/** Long enough for the lines of the last minute. */
const SECONDS = Number(process.env.SECONDS_OF_WORK ?? 65);

test("screenshots", async () => {
  const pick = (n) => Math.floor(Math.random() * n);
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const fast = await startExecutor(async () => (await wait(2 + pick(8)), 200));
  const flaky = await startExecutor(async () => (await wait(pick(40)), pick(4) ? 200 : 503));
  const slow = await startExecutor(async (path) => (await wait(150 + pick(400)), path.endsWith("0") ? 410 : 200));
  const program = await startProgram({ toml: "[lanes.high]\npriority = 2\nslots_max = 64\n[lanes.medium]\npriority = 1\nslots_max = 16\n[lanes.low]\nslots_max = 4\n" });
  after(() => Promise.all([fast, flaky, slow].map((one) => one.close())));
  const page = await openPage(program.url, { width: 1600, height: 900 });
  const send = (queue, url, body, more) => program.call("POST", "/tasks", { url, queue, body, ...more });
  let working = true;
  const work = async () => {
    for (let n = 0; working; n += 1) {
      const wave = 8 + Math.round(6 * Math.sin(n / 12));
      await Promise.all([
        ...Array.from({ length: wave }, (_, i) => send("high", `${fast.url}/mails/${n * 20 + i}`, { mail: n * 20 + i, to: "ada@example.com" })),
        ...Array.from({ length: 3 }, (_, i) => send("medium", `${flaky.url}/orders/${n * 3 + i}/settle`, { order: n * 3 + i, total: 1995, note: null }, { headers: { "X-Shop": "north" } })),
        ...Array.from({ length: 1 + (n % 3) }, (_, i) => send("low", `${slow.url}/reports/${(n * 3 + i) % 23}`, { report: n })),
        ...(n % 5 ? [] : [send("low", `${slow.url}/reports/later`, null, { delay_ms: 600_000 })]),
      ]);
      await wait(200);
    }
  };
  const worked = work();
  await wait(SECONDS * 1000);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  const letters = await eventually("dead letters", async () => (await program.call("GET", "/dead?queue=medium")).letters);
  const key = letters[Math.min(2, letters.length - 1)].key;
  // Each view in light and dark, and wide and narrow; of the feed two are enough.
  const left = ["feed-dark-1600", "feed-light-360"];
  const views = { overview: ["", ".event"], "dead-letter": [`#/dead/${encodeURIComponent(key)}`, ".letter pre"], feed: ["#/feed", ".event"] };
  for (const [name, [hash, ready]] of Object.entries(views)) {
    await page.goto("about:blank");
    await page.goto(program.url + hash);
    await page.getByRole("row", { name: "low" }).or(page.locator(".letter, .event")).first().waitFor();
    await page.locator(ready).first().waitFor();
    await page.locator(".fact", { hasText: "embedded" }).waitFor();
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      for (const [width, height] of [[1600, 900], [360, 740]]) {
        await page.setViewportSize({ width, height });
        await page.evaluate(() => window.scrollTo(0, 0));
        if (left.includes(`${name}-${scheme}-${width}`)) continue;
        await page.screenshot({ path: `${IMAGES}console-${name}-${scheme}-${width}.png` });
      }
    }
    await page.setViewportSize({ width: 1600, height: 900 });
  }
  working = false;
  await worked;
  await close(page);
  await program.stop();
});
