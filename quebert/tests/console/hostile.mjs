// Content of tasks, executors' words and the API's errors, all of them made to run if they become markup anywhere. Nothing
// may run, and the policy may not even be asked: each text stands on the page as text.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, close, eventually, fitsSideways, go, openPage } from "./lib.mjs";
import { HOSTILE, hostile, startMock } from "./mock.mjs";

async function hostileMock() {
  const mock = await startMock({ state: hostile() });
  for (const text of HOSTILE) {
    for (const kind of ["attempt_ended", "buried", "broker_disconnected", text]) {
      mock.emit({ kind, task: text, queue: text, destination: text, detail: text, result: text, attempt: text, status: text, at: text, count: text });
    }
  }
  return mock;
}

/** Only what the page's own frame has of such elements, and no address that could run. */
async function harmless(page, where) {
  const found = await page.evaluate(() => {
    const odd = [...document.querySelectorAll("img, iframe, object, embed, base, meta[http-equiv], [autofocus]:not(dialog *), main script, main style, main link")];
    const scripts = [...document.scripts].filter((one) => new URL(one.src).pathname !== "/console.js");
    const links = [...document.querySelectorAll("[href], [src], [action], [formaction], [xlink\\:href]")].filter((one) => /^\s*javascript:/i.test(one.getAttribute("href") ?? one.getAttribute("src") ?? ""));
    const listeners = [...document.querySelectorAll("*")].filter((one) => one.getAttributeNames().some((name) => name.startsWith("on")));
    return [...odd, ...scripts, ...links, ...listeners].map((one) => one.outerHTML.slice(0, 120));
  });
  assert.deepEqual(found, [], where);
}

async function showsAll(page, selector, where) {
  for (const text of HOSTILE) {
    await eventually(`${where} shows ${text}`, () => page.evaluate(([at, wanted]) => [...document.querySelectorAll(at)].some((one) => one.textContent.includes(wanted)), [selector, text]));
  }
}

test("hostile content is shown as text in every view", async () => {
  const mock = await hostileMock();
  const page = await openPage(mock.url, { width: 360 });
  await showsAll(page, ".notice", "the notice of obstacles");
  await showsAll(page, ".destinations th", "destinations");
  await showsAll(page, ".failure", "last failures");
  await showsAll(page, ".outcome", "outcomes");
  await showsAll(page, ".event .what", "the latest attempts");
  await harmless(page, "overview");
  await fitsSideways(page, "overview");
  await go(page, "#/feed");
  for (const part of [".event .task", ".event .where", ".event .detail", ".event .what"]) await showsAll(page, part, part);
  await harmless(page, "feed");
  await fitsSideways(page, "feed");
  await go(page, "#/dead");
  for (const part of [".dead .task", ".dead .reason", ".dead .url"]) await showsAll(page, part, part);
  await harmless(page, "dead letters");
  await fitsSideways(page, "dead letters");
  await accessible(page, "dead letters");
  await close(page);
  await mock.close();
});

test("hostile content is shown as text where a dead letter and a task are looked at", async () => {
  const mock = await hostileMock();
  const page = await openPage(`${mock.url}#/dead`);
  for (const text of HOSTILE) {
    await page.locator(".dead a.id").getByText(text, { exact: true }).click();
    await page.locator(".letter pre", { hasText: "window.__ran=" }).waitFor();
    await page.locator(".letter dd", { hasText: text }).first().waitFor();
    await page.locator(".letter .history", { hasText: text }).waitFor();
    await harmless(page, `the dead letter ${text}`);
    await fitsSideways(page, `the dead letter ${text}`);
  }
  for (const text of HOSTILE) {
    await go(page, `#/task/${encodeURIComponent(text)}`);
    await page.locator(".facts-list dd").filter({ hasText: text }).first().waitFor();
    await page.locator(".event .task").filter({ hasText: text }).first().waitFor();
    await harmless(page, `the task ${text}`);
    assert.ok((await page.title()).includes(text));
  }
  await close(page);
  await mock.close();
});

test("hostile content is shown as text in dialogs, results and addresses", async () => {
  const mock = await hostileMock();
  const page = await openPage(mock.url);
  for (const text of HOSTILE) {
    await go(page, `#/dead?${new URLSearchParams({ search: text, reason: text, queue: "high" })}`);
    await page.getByRole("button", { name: "Replay all that fit…" }).click();
    await page.locator("dialog", { hasText: text }).getByText("This would replay 1 dead letter").waitFor();
    await harmless(page, "dialog");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await go(page, `#/dead/${encodeURIComponent(text)}`);
    await page.locator(".letter").getByRole("button", { name: "Delete…" }).click();
    await page.locator("dialog", { hasText: text }).getByRole("button", { name: "Delete it" }).click();
    await page.locator(".toast", { hasText: text }).first().waitFor();
    await harmless(page, "toast");
  }
  const addresses = [
    [`#/${HOSTILE[0]}`, ".queues tbody tr"], [`#/task/${HOSTILE[1]}`, ".facts-list dd"], [`#/dead/%E0%A4%A`, "text=No dead letters."],
    [`#/dead/${HOSTILE[3]}?queue=${HOSTILE[0]}`, "text=It is not there any more"], ["#javascript:window.__ran=8", ".queues tbody tr"],
  ];
  for (const [address, ready] of addresses) {
    await page.goto("about:blank");
    await page.goto(mock.url + address);
    await page.locator(ready).first().waitFor();
    await page.locator(".fact", { hasText: "live" }).waitFor();
    await harmless(page, address);
  }
  await close(page);
  await mock.close();
});

test("the API's errors are shown as text", async () => {
  const mock = await hostileMock();
  const page = await openPage(`${mock.url}#/enqueue`);
  const text = HOSTILE[0];
  const problem = { type: "x", title: text, status: 422, code: text, detail: text, errors: [{ field: "url", detail: text }, { field: text, detail: text }, { field: "__proto__", detail: text }, { field: "constructor.x", detail: text }] };
  await page.route("**/v1/tasks", (route) => route.fulfill({ status: 422, contentType: "application/problem+json", body: JSON.stringify(problem) }));
  await page.getByLabel("URL").fill("http://127.0.0.1:1/");
  await page.getByRole("button", { name: "Enqueue" }).click();
  await page.locator(".fault", { hasText: text }).waitFor();
  await page.locator(".result", { hasText: text }).waitFor();
  await harmless(page, "a problem");
  await page.unroute("**/v1/tasks");
  await page.route("**/v1/tasks", (route) => route.fulfill({ status: 201, contentType: "application/json", body: JSON.stringify({ id: text, queue: text }) }));
  await page.getByRole("button", { name: "Enqueue" }).click();
  await page.locator(".result a", { hasText: text }).waitFor();
  await harmless(page, "a result");
  await close(page);
  await mock.close();
});

test("the check would see something run", async () => {
  const mock = await startMock();
  const page = await openPage(mock.url);
  await page.locator(".queues tbody tr").first().waitFor();
  await page.evaluate((text) => (document.querySelector("main").innerHTML = text), HOSTILE[0]);
  await eventually("a report of the policy", () => page.faults.some((fault) => fault.startsWith("policy: script-src")));
  await assert.rejects(close(page), /policy: script-src/);
  await mock.close();
});
