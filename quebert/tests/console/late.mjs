// Answers that come late and in another order than they were asked for, and a page that was out of sight: what is shown is
// what was asked for last. Each answer is held by the test itself; see jitter.mjs for delays at random.

import assert from "node:assert/strict";
import { test } from "node:test";
import { close, eventually, openPage } from "./lib.mjs";
import { startMock } from "./mock.mjs";

/** Holds the answers to the requests that `which(request, nth)` wants held. Returns how many are, and what lets them come. */
async function holding(page, path, which) {
  const held = { count: 0, release: null };
  const released = new Promise((done) => (held.release = done));
  let nth = 0;
  await page.route(`**${path}`, async (route) => {
    if (!which(route.request(), (nth += 1))) return route.continue();
    const response = await route.fetch();
    held.count += 1;
    await released;
    // The page may have given it up.
    await route.fulfill({ response }).catch(() => {});
    held.count -= 1;
  });
  return held;
}

/** Lets what is held come, and returns when the page has had the time to take it. */
async function come(page, held) {
  held.release();
  await eventually("nothing is held", () => held.count === 0);
  await page.evaluate(async () => {
    await fetch("/v1/status").then((answer) => answer.text());
    await new Promise((done) => setTimeout(done));
  });
}

test("a dead letter that comes late does not come into another's place", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/dead`);
  const [first, second] = mock.state.dead.map(({ key }) => key);
  const held = await holding(page, `/v1/dead/${first}`, () => true);
  await page.getByRole("link", { name: first }).click();
  await eventually("it is asked for", () => held.count === 1);
  await page.getByRole("link", { name: second }).click();
  await page.getByRole("heading", { name: `Dead letter ${second}` }).waitFor();
  await come(page, held);
  assert.equal(await page.locator(".letter").getByRole("button", { name: "Replay", exact: true }).count(), 1, "one letter, one button");
  await close(page);
  await mock.close();
});

test("a replay that ends late does not take the place of the letter that is looked at by then", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/dead`);
  const [first, second] = mock.state.dead.map(({ key }) => key);
  const held = await holding(page, `/v1/dead/${first}/replay`, () => true);
  await page.getByRole("link", { name: first }).click();
  await page.locator(".letter").getByRole("button", { name: "Replay", exact: true }).click();
  await eventually("it is asked for", () => held.count === 1);
  await page.getByRole("link", { name: second }).click();
  await page.getByRole("heading", { name: `Dead letter ${second}` }).waitFor();
  await come(page, held);
  await page.locator(".toast", { hasText: `${first} is replayed.` }).waitFor();
  assert.equal(await page.getByRole("heading", { name: `Dead letter ${second}` }).count(), 1);
  await page.locator(".dead").getByRole("link", { name: first }).waitFor({ state: "detached" });
  await close(page);
  await mock.close();
});

test("what was known of a task before it was cancelled is not shown after", async () => {
  const mock = await startMock();
  mock.state.tasks.set("t-1", { ...mock.state.dead[0], id: "t-1", state: "delayed", copies: 1 });
  const page = await openPage(`${mock.url}#/task/t-1`);
  await page.getByText("waits for its moment").waitFor();
  let looks = true;
  const held = await holding(page, "/v1/tasks/t-1", (request) => looks && request.method() === "GET");
  await eventually("it is looked up again", () => held.count > 0);
  looks = false;
  await page.getByRole("button", { name: "Cancel…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the task" }).click();
  await page.getByText("It waits nowhere").waitFor();
  await page.evaluate(() => {
    window.__seen = [];
    new MutationObserver(() => window.__seen.push(document.querySelector(".panel").textContent)).observe(document.querySelector(".panel"), { childList: true });
  });
  await come(page, held);
  assert.deepEqual(await page.evaluate(() => window.__seen), []);
  await close(page);
  await mock.close();
});

test("a task is not looked up while nobody sees the page, and is again as soon as somebody does", async () => {
  const mock = await startMock();
  mock.state.tasks.set("t-1", { ...mock.state.dead[0], id: "t-1", state: "delayed", copies: 1 });
  const page = await openPage(`${mock.url}#/task/t-1`, { clock: true });
  await page.getByText("waits for its moment").waitFor();
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await page.evaluate(() => {
    const real = window.fetch;
    window.__asked = 0;
    window.fetch = (...request) => ((window.__asked += 1), real(...request));
  });
  await page.clock.fastForward(10_000);
  assert.equal(await page.evaluate(() => window.__asked), 0);
  mock.state.tasks.get("t-1").state = "ready";
  await hide(false);
  await page.getByText("waits to be delivered").waitFor();
  mock.state.tasks.get("t-1").state = "in_flight";
  await page.getByText("an attempt is under way").waitFor();
  await close(page);
  await mock.close();
});

test("the slash leads into the search, however early a timer is", async () => {
  const mock = await startMock();
  const page = await openPage("about:blank");
  await page.addInitScript(() => {
    const real = window.setTimeout.bind(window);
    window.setTimeout = (run, ms = 0, ...rest) => (ms ? real(run, ms, ...rest) : queueMicrotask(run));
  });
  await page.goto(mock.url);
  await page.locator(".queues tbody tr").first().waitFor();
  await page.keyboard.press("/");
  await page.getByRole("heading", { name: "Dead letters", level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.matches("[data-search]")), true);
  await close(page);
  await mock.close();
});
