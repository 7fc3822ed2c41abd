// Every view at every width and in both colour schemes: nothing sticks out, and what can be checked of accessibility holds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, close, eventually, fitsSideways, go, openPage, tabAround, widen } from "./lib.mjs";
import { startMock } from "./mock.mjs";

const WIDTHS = [360, 480, 768, 1000, 1061, 1100, 1300, 1600];

const taskOf = (n) => `0193a5e2-7c1b-7e10-9a55-${String(n).padStart(12, "0")}`;

/** The number of the last event. It has a task. */
const LAST = 40;

function busy(mock) {
  const kinds = [["attempt_ended", "2xx", 200], ["attempt_ended", "5xx", 503], ["retry_scheduled", "5xx"], ["buried", "max_attempts"], ["broker_blocked", "blocked"]];
  for (let n = 0; n <= LAST; n += 1) {
    const [kind, result, status] = kinds[n % kinds.length];
    const task = kind.startsWith("broker") ? undefined : taskOf(n);
    mock.emit({ kind, result, status, task, queue: "high", attempt: 1, destination: "https://billing.internal.example.com:8443", duration_ms: n * 37.2, detail: status === 503 ? "status 503" : undefined });
  }
  mock.state.status.ready = false;
  mock.state.status.obstacles = ["the queue quebert.low is not open"];
  mock.state.status.blocked = true;
  mock.state.tasks.set("t-1", { ...mock.state.dead[0], id: "t-1", state: "delayed", due_at: new Date(Date.now() + 60_000).toISOString(), enqueued_at: new Date().toISOString(), copies: 2 });
}

// Each view with what it has when it is whole. Events come by a stream of their own, in pieces, the newest last: when it is
// there, all are.
const VIEWS = {
  overview: ["#/", ".queues tbody tr", ".destinations tbody tr", `.event a[href$="${taskOf(LAST)}"]`],
  feed: ["#/feed", `.event a[href$="${taskOf(LAST)}"]`],
  "dead letters": ["#/dead", ".dead tbody tr"],
  "a dead letter": ["#/dead/KEY", ".dead tbody tr", ".letter pre"],
  "no dead letter": ["#/dead?search=nothing-like-that", "text=No dead letter fits."],
  enqueue: ["#/enqueue", ".enqueue"],
  task: ["#/task/t-1", ".history"],
  "no such task": ["#/task/nobody", "text=It waits nowhere"],
};

async function whole(page, parts) {
  // The banners, and what lists get from the queues.
  for (const part of [".notice.bad", ...parts]) await page.locator(part).first().waitFor({ state: "attached" });
}

for (const scheme of ["light", "dark"]) {
  test(`every view fits every width and can be read, ${scheme}`, async () => {
    const mock = await startMock();
    busy(mock);
    const page = await openPage(mock.url, { scheme, reducedMotion: "reduce" });
    for (const [name, [hash, ...parts]] of Object.entries(VIEWS)) {
      await go(page, hash.replace("KEY", mock.state.dead[1].key));
      await whole(page, parts);
      for (const width of WIDTHS) {
        await widen(page, width);
        await fitsSideways(page, `${name} at ${width} px`);
        if ([360, 768, 1600].includes(width)) await accessible(page, `${name} at ${width} px, ${scheme}`);
      }
    }
    await close(page);
    await mock.close();
  });
}

test("dialogs fit and can be read", async () => {
  const mock = await startMock();
  for (const scheme of ["light", "dark"]) {
    const page = await openPage(mock.url, { width: 360, height: 740, scheme });
    await page.getByRole("button", { name: "Purge medium…" }).click();
    await page.getByRole("dialog", { name: "Purge the queue medium?" }).waitFor();
    await accessible(page, "purge");
    await fitsSideways(page, "purge");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await go(page, "#/dead");
    await page.getByRole("button", { name: "Replay all that fit…" }).click();
    await page.getByText("This would replay 123 dead letters").waitFor();
    await accessible(page, "replay");
    await fitsSideways(page, "replay");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await accessible(page, "help");
    await fitsSideways(page, "help");
    await close(page);
  }
  await mock.close();
});

test("everything is reached with Tab, and the focus is seen", async () => {
  const mock = await startMock();
  busy(mock);
  mock.state.dead.length = 5;
  const page = await openPage(mock.url);
  for (const [name, [hash, ...parts]] of Object.entries(VIEWS)) {
    await page.goto("about:blank");
    await page.goto(mock.url + hash.replace("KEY", mock.state.dead[1].key));
    await whole(page, parts);
    const order = await tabAround(page);
    assert.match(order[0], /Skip to the content/, name);
    assert.match(order[1], /Overview/, name);
  }
  await close(page);
  await mock.close();
});

test("the theme is the system's until somebody chooses, and the choice stays", async () => {
  const mock = await startMock();
  const page = await openPage(mock.url, { scheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.emulateMedia({ colorScheme: "light" });
  const light = await eventually("a light ground", async () => ((await ground()) !== dark ? ground() : null));
  await page.getByRole("button", { name: "Theme: auto" }).click();
  await page.getByRole("button", { name: "Theme: light" }).click();
  await page.getByRole("button", { name: "Theme: dark" }).waitFor();
  assert.equal(await ground(), dark);
  await page.reload();
  await page.getByRole("button", { name: "Theme: dark" }).waitFor();
  assert.equal(await ground(), dark);
  await page.keyboard.press("t");
  await page.getByRole("button", { name: "Theme: auto" }).waitFor();
  assert.equal(await ground(), light);
  await close(page);
  await mock.close();
});

test("nothing moves for whom motion is too much", async () => {
  const mock = await startMock();
  const page = await openPage(mock.url, { reducedMotion: "reduce" });
  await page.locator(".bar i").first().waitFor({ state: "attached" });
  const moving = () => page.evaluate(() => [...document.querySelectorAll("*")].some((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0 || getComputedStyle(one).animationName !== "none"));
  assert.equal(await moving(), false);
  await page.emulateMedia({ reducedMotion: "no-preference" });
  await eventually("the check sees motion where there is some", moving);
  await close(page);
  await mock.close();
});
