// How the console stands faults, tokens and crowds, against answers made up: an API that goes away and comes back, a feed
// that breaks off or floods, tokens that may not do everything. What a real dispatcher does with a click is in live.mjs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { close, eventually, go, openPage } from "./lib.mjs";
import { startMock } from "./mock.mjs";

const attempt = (n, more) => ({ kind: "attempt_ended", queue: "high", task: `task-${n}`, attempt: 1, status: 200, result: "2xx", duration_ms: 5, destination: "http://127.0.0.1:1", ...more });

test("an API that is away is told of, and comes back by itself", async () => {
  const mock = await startMock();
  const page = await openPage(mock.url);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  await page.getByRole("row", { name: "high" }).waitFor();
  mock.setAway(true);
  await page.getByText("What is shown is stale since").waitFor();
  await page.locator(".fact", { hasText: "feed lost" }).waitFor();
  assert.equal(await page.locator(".queues tbody tr").count(), 3, "what was known stays on the screen");
  mock.setAway(false);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  await page.getByText("What is shown is stale since").waitFor({ state: "hidden" });
  await close(page);
  await mock.close();
});

test("a feed that broke off goes on where it was", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/feed`);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  mock.emit(attempt("before"));
  await page.getByRole("link", { name: "task-before" }).waitFor();
  mock.setAway(true);
  mock.emit(attempt("between"));
  await page.locator(".fact", { hasText: "feed lost" }).waitFor();
  mock.setAway(false);
  await page.getByRole("link", { name: "task-between" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "task-before" }).count(), 1, "nothing comes twice");
  await close(page);
  await mock.close();
});

test("a flood of events leaves a few hundred rows, newest first", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/feed`);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  for (let n = 0; n < 5_000; n += 1) mock.emit(attempt(n));
  await page.getByRole("link", { name: "task-4999", exact: true }).waitFor();
  const ids = await page.locator(".event .task").allTextContents();
  assert.equal(ids.length, 300);
  assert.deepEqual(ids.slice(0, 2), ["task-4999", "task-4998"]);
  await close(page);
  await mock.close();
});

test("the feed holds still when it is told to, and while somebody points at it", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/feed`);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  mock.emit(attempt(1));
  await page.getByRole("link", { name: "task-1" }).waitFor();
  await page.keyboard.press("p");
  await page.getByRole("button", { name: "Go on", pressed: true }).waitFor();
  mock.emit(attempt(2));
  await page.getByText("1 new, not shown yet").waitFor();
  assert.equal(await page.getByRole("link", { name: "task-2" }).count(), 0);
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("link", { name: "task-2" }).waitFor();
  await page.locator(".event").first().hover();
  mock.emit(attempt(3));
  await page.getByText("1 new, not shown yet").waitFor();
  await page.mouse.move(0, 0);
  await page.getByRole("link", { name: "task-3" }).waitFor();
  await close(page);
  await mock.close();
});

test("the feed's filters are the API's", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/feed`);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  mock.emit(attempt(1));
  mock.emit(attempt(2, { queue: "low" }));
  mock.emit({ kind: "enqueued", queue: "low", task: "task-3" });
  await page.getByRole("link", { name: "task-1" }).waitFor();
  await page.getByLabel("Queue", { exact: true }).selectOption("low");
  await page.getByRole("link", { name: "task-1" }).waitFor({ state: "detached" });
  await page.getByRole("link", { name: "task-2" }).waitFor();
  await page.getByLabel("Enqueued").check();
  await page.getByRole("link", { name: "task-3" }).waitFor();
  await page.getByLabel("Attempts", { exact: true }).uncheck();
  await page.getByRole("link", { name: "task-2" }).waitFor({ state: "detached" });
  await page.getByLabel("Task", { exact: true }).fill("task-9");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "task-3" }).waitFor({ state: "detached" });
  await page.locator(".fact", { hasText: "live" }).waitFor();
  // The mock hears of the end of the ones before a moment later.
  await eventually("one connection at a time", () => mock.readers.size === 1);
  await close(page);
  await mock.close();
});

/** Has a page count what it asks for. What is on its way is of no use for that: it comes when it comes. */
const counted = (page) => page.evaluate(() => {
  const real = window.fetch;
  window.__asked = 0;
  window.fetch = (...request) => ((window.__asked += 1), real(...request));
});

/** Whether a page that counts asks for anything by itself within ten seconds of its time. */
async function asks(page) {
  const asked = () => page.evaluate(() => window.__asked);
  const before = await asked();
  await page.clock.fastForward(10_000);
  return (await asked()) > before;
}

test("a page that nobody sees asks for nothing", async () => {
  const mock = await startMock();
  const page = await openPage(mock.url, { clock: true });
  await page.locator(".fact", { hasText: "live" }).waitFor();
  await page.getByRole("row", { name: "high" }).waitFor();
  await counted(page);
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await eventually("it polls", () => asks(page));
  await hide(true);
  await eventually("the feed is closed", () => mock.readers.size === 0);
  assert.equal(await asks(page), false);
  await hide(false);
  await page.locator(".fact", { hasText: "live" }).waitFor();
  await eventually("it polls again", () => asks(page));
  await close(page);
  await mock.close();
});

test("a token is asked for, kept for the tab, sent in a header and never in an address", async () => {
  const mock = await startMock({ tokens: { "reader-token-0123456789": ["read"], "all-token-0123456789": ["read", "operate", "enqueue"] } });
  const page = await openPage(mock.url, { clock: true });
  const prompt = page.getByRole("dialog", { name: "Token" });
  await prompt.getByText("The API wants a token.").waitFor();
  await page.keyboard.type("wrong-token-0123456789");
  await page.keyboard.press("Enter");
  await prompt.getByText("The API does not know this token.").waitFor();
  await page.keyboard.press("Escape");
  await prompt.waitFor({ state: "detached" });
  await page.getByText("takes one.").waitFor();
  await counted(page);
  assert.equal(await asks(page), false, "nothing is asked for until there is a token");
  await page.keyboard.press("r");
  await eventually("asked for all the same", () => page.evaluate(() => window.__asked > 0));
  await page.locator(".fact", { hasText: "not known" }).waitFor();
  assert.equal(await prompt.count(), 0, "who says no is not asked again and again");
  await page.getByRole("button", { name: "Forget token" }).click();
  await page.getByRole("button", { name: "Token…" }).click();
  await page.keyboard.type("reader-token-0123456789");
  await page.keyboard.press("Enter");
  await page.locator(".fact", { hasText: "live" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 1);
  await page.reload();
  await page.locator(".fact", { hasText: "live" }).waitFor();
  assert.ok(!mock.requests.some(({ path, query, text }) => `${path}${query}${text}`.includes("token-0")), "not in an address");
  assert.ok(!page.url().includes("token-0"));
  await page.getByRole("button", { name: "Forget token" }).click();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await close(page);
  await mock.close();
});

test("what a token may not do says why, and does nothing", async () => {
  const mock = await startMock({ tokens: { "reader-token-0123456789": ["read"] } });
  const page = await openPage(mock.url);
  await page.getByRole("dialog", { name: "Token" }).waitFor();
  await page.keyboard.type("reader-token-0123456789");
  await page.keyboard.press("Enter");
  const pause = page.getByRole("button", { name: "Pause high" });
  await eventually("it is disabled", async () => (await pause.getAttribute("aria-disabled")) === "true");
  assert.match(await pause.getAttribute("title"), /needs a token with the role “operate”; yours has read/);
  await pause.focus();
  await page.keyboard.press("Enter");
  await page.locator(".toast", { hasText: "Not allowed: this needs a token with the role “operate”" }).waitFor();
  assert.ok(!mock.requests.some(({ method }) => method === "POST"));
  await go(page, "#/enqueue");
  await page.getByLabel("URL").fill("http://127.0.0.1:1/");
  await page.keyboard.press("Enter");
  await page.locator(".toast", { hasText: "role “enqueue”" }).waitFor();
  assert.ok(!mock.requests.some(({ method }) => method === "POST"));
  await close(page);
  await mock.close();
});

test("what a broker can't tell is a question mark that says so", async () => {
  const mock = await startMock();
  Object.assign(mock.state.queues[0], { ready: null, delayed: null, oldest_age_ms: null, dead: null });
  const page = await openPage(mock.url);
  const row = page.getByRole("row", { name: "high" });
  const unknown = row.locator(".unknown");
  await eventually("four of them", async () => (await unknown.count()) === 4);
  assert.deepEqual(await unknown.allTextContents(), ["?", "?", "?", "?"]);
  assert.equal(await unknown.nth(1).getAttribute("title"), "this broker can’t tell");
  await close(page);
  await mock.close();
});

test("rows keep the focus while figures change", async () => {
  const mock = await startMock();
  const page = await openPage(mock.url);
  await page.getByRole("button", { name: "Purge medium…" }).focus();
  mock.state.queues[1].ready = 77;
  await page.getByRole("row", { name: "medium" }).getByText("77", { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Purge medium…");
  await close(page);
  await mock.close();
});

test("dead letters are paged, chosen, and settled by hand and by filter", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/dead`);
  const rows = page.locator(".dead tbody tr");
  await eventually("a page", async () => (await rows.count()) === 50);
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByRole("link", { name: mock.state.dead[50].key }).waitFor();
  await page.getByRole("link", { name: mock.state.dead[51].key }).click();
  await page.getByRole("heading", { name: mock.state.dead[51].key }).waitFor();
  assert.equal(await rows.first().getByRole("link").textContent(), mock.state.dead[50].key, "the list stays on its page");
  await page.keyboard.press("Escape");
  await page.getByRole("heading", { name: mock.state.dead[51].key }).waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), mock.state.dead[51].key, "the focus goes back to the row");
  await page.getByRole("button", { name: "Previous" }).click();
  await page.getByRole("link", { name: mock.state.dead[0].key }).waitFor();

  for (const i of [0, 2]) await rows.nth(i).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Delete 2 chosen…" }).click();
  await page.getByRole("dialog", { name: "Delete 2 dead letters?" }).getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Replay 2 chosen" }).click();
  await page.locator(".toast", { hasText: "2 dead letters replayed." }).waitFor();
  assert.equal(mock.state.dead.length, 121, "and Cancel did nothing");

  await page.getByLabel("Reason").selectOption("permanent");
  await eventually("the address has the filter", () => page.url().endsWith("#/dead?reason=permanent"));
  await eventually("those that fit", async () => (await rows.count()) === 41);
  await page.getByRole("button", { name: "Replay all that fit…" }).click();
  const dialog = page.getByRole("dialog", { name: "Replay dead letters?" });
  await dialog.getByText("This would replay 41 dead letters of 121 looked at.").waitFor();
  await dialog.getByLabel("At most a second").fill("0");
  await dialog.getByRole("button", { name: "Replay 41 dead letters" }).click();
  await dialog.getByText("a number above 0").waitFor();
  await dialog.getByLabel("At most a second").fill("2.5");
  await dialog.getByRole("button", { name: "Replay 41 dead letters" }).click();
  await page.locator(".toast", { hasText: "41 of 41 dead letters replayed." }).waitFor();
  const posted = mock.requests.filter(({ path }) => path === "/v1/dead/replay").map(({ text }) => JSON.parse(text));
  assert.deepEqual(posted, [{ filter: { reason: "permanent" }, dry_run: true }, { filter: { reason: "permanent" }, rate_per_s: 2.5 }]);
  await page.getByText("No dead letter fits.").waitFor();
  await close(page);
  await mock.close();
});

test("a list of dead letters holds still and tells of news", async () => {
  const mock = await startMock();
  mock.state.dead.length = 3;
  const page = await openPage(`${mock.url}#/dead`);
  await eventually("three", async () => (await page.locator(".dead tbody tr").count()) === 3);
  // The queues are known, and with them how many are dead: news is what comes after.
  await page.getByLabel("Queue", { exact: true }).getByText("high").waitFor({ state: "attached" });
  mock.state.dead.push({ ...mock.state.dead[0], key: "later", id: "later" });
  const news = page.getByText("1 more since this list was read");
  await news.waitFor();
  assert.equal(await page.getByRole("link", { name: "later" }).count(), 0);
  await page.keyboard.press("r");
  await page.getByRole("link", { name: "later" }).waitFor();
  await news.waitFor({ state: "detached" });
  await close(page);
  await mock.close();
});

test("a task is sent as it was typed, and faults stand at their fields", async () => {
  const mock = await startMock();
  const page = await openPage(`${mock.url}#/enqueue`);
  const submit = page.getByRole("button", { name: "Enqueue" });
  await submit.click();
  await page.locator("#main .fault", { hasText: "a task needs one" }).waitFor();
  await page.getByLabel("URL").fill("ftp://127.0.0.1/");
  await page.getByLabel("Delay").fill("soon");
  await page.getByLabel("Body", { exact: true }).fill("{");
  await submit.click();
  await page.getByText("a duration is written as").waitFor();
  await page.getByText("no JSON:").waitFor();
  assert.equal(mock.requests.filter(({ method }) => method === "POST").length, 0);
  await page.getByLabel("Delay").fill("1m30s");
  const body = `{"n": 12345678901234567890.00, "n": 1}`;
  await page.getByLabel("Body", { exact: true }).fill(body);
  await page.getByLabel("Headers").fill("X-One: 1\nX-Two: a\nX-Two: b: c");
  await page.getByLabel("Time to live").fill("1h");
  await page.getByLabel("Method").selectOption("PUT");
  await page.getByLabel("Queue", { exact: true }).selectOption("low");
  await submit.click();
  await page.locator(".fault", { hasText: "scheme is neither http nor https" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.type), "url", "the faulty field has the focus");
  await page.getByLabel("URL").fill("http://127.0.0.1:1/");
  await page.route("**/v1/tasks", (route) => route.abort(), { times: 1 });
  await submit.click();
  await page.locator(".toast", { hasText: "may or may not have happened" }).waitFor();
  await submit.click();
  await page.locator(".result", { hasText: "Stored in low as" }).waitFor();
  const { text } = mock.requests.findLast(({ method }) => method === "POST");
  assert.ok(text.endsWith(`,"body":${body}}`), text);
  assert.deepEqual({ ...JSON.parse(text), body: null }, { url: "http://127.0.0.1:1/", method: "PUT", queue: "low", delay_ms: 90_000, ttl_ms: 3_600_000,
    headers: { "X-One": ["1"], "X-Two": ["a", "b: c"] }, body: null });
  await page.locator(".result").getByRole("link").click();
  await page.getByText("waits for its moment").waitFor();
  await close(page);
  await mock.close();
});

test("a repeat after a lost answer has the same idempotency key, and another task has another", async () => {
  const mock = await startMock();
  const queues = mock.state.queues.splice(0);
  const page = await openPage(`${mock.url}#/enqueue`);
  const keys = [];
  await page.route("**/v1/tasks", (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    return keys.length === 1 ? route.abort() : route.continue();
  });
  const submit = page.getByRole("button", { name: "Enqueue" });
  await page.getByLabel("URL").fill("http://127.0.0.1:1/");
  await submit.click();
  await page.locator(".toast", { hasText: "may or may not" }).waitFor();
  // The queues become known in between, and it is the same task all the same.
  mock.state.queues.push(...queues);
  await page.getByLabel("Queue", { exact: true }).getByText("the default (low)").waitFor({ state: "attached" });
  await submit.click();
  await page.locator(".result", { hasText: "Stored in low as" }).waitFor();
  await submit.click();
  await eventually("three", () => keys.length === 3);
  assert.equal(keys[0], keys[1]);
  assert.notEqual(keys[1], keys[2]);
  assert.match(keys[2], /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  await close(page);
  await mock.close();
});

test("single keys lead everywhere, and can be turned off", async () => {
  const mock = await startMock();
  const page = await openPage(mock.url);
  const heading = (name) => page.getByRole("heading", { name, level: 1 }).waitFor({ state: "attached" });
  for (const [keys, name] of [["2", "Feed"], ["3", "Dead letters"], ["4", "Enqueue"], ["1", "Overview"], ["gf", "Feed"], ["gd", "Dead letters"], ["ge", "Enqueue"], ["go", "Overview"]]) {
    for (const key of keys) await page.keyboard.press(key);
    await heading(name);
  }
  await page.keyboard.press("/");
  await heading("Dead letters");
  await eventually("the search has the focus", () => page.evaluate(() => document.activeElement.matches("[data-search]")));
  await page.keyboard.type("2 ?g");
  assert.equal(await page.getByLabel("Search").inputValue(), "2 ?g", "keys typed into a field are text");
  await page.keyboard.press("Tab");
  await page.locator("#main").focus();
  await page.keyboard.press("?");
  await page.getByLabel("No shortcuts of single keys").check();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.keyboard.press("1");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  assert.match(await page.evaluate(() => location.hash), /^#\/dead/, "1 leads nowhere now");
  await close(page);
  await mock.close();
});
