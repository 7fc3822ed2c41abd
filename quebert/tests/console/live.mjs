// The console with the real program: what is clicked happens, and is seen to have happened.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, close, eventually, fitsSideways, go, openPage, tabAround, widen } from "./lib.mjs";
import { startExecutor, startProgram } from "./program.mjs";

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const live = (page) => page.locator(".fact", { hasText: "live" }).waitFor();

/** Presses Tab until what has the focus is `wanted`. */
async function tabTo(page, wanted) {
  for (let i = 0; i < 200; i += 1) {
    const name = await page.evaluate(() => {
      const at = document.activeElement;
      return at.ariaLabel ?? at.labels?.[0]?.textContent ?? at.textContent;
    });
    if (name.trim() === wanted) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`Tab never came to ${wanted}`);
}

test("a failing task is followed to its dead letter, replayed, and succeeds", async () => {
  const executor = await startExecutor(() => 503);
  const program = await startProgram();
  const page = await openPage(program.url);
  await live(page);
  await page.getByRole("link", { name: "Enqueue" }).click();
  await page.getByLabel("URL").fill(`${executor.url}/orders/7`);
  await page.getByLabel("Queue", { exact: true }).selectOption("high");
  await page.getByLabel("Id").fill("order-7");
  await page.getByLabel("Body", { exact: true }).fill(`{"order": 7, "total": 12345678901234567890}`);
  await page.getByLabel("Headers").fill("X-Shop: seven");
  await page.getByRole("button", { name: "Enqueue" }).click();
  await page.locator(".result").getByRole("link", { name: "order-7" }).click();

  await page.getByRole("heading", { name: "Task order-7" }).waitFor();
  await page.locator(".event", { hasText: "attempt 2: 503" }).waitFor();
  await page.locator(".event", { hasText: "dead letter: max_attempts" }).waitFor();
  await page.getByRole("link", { name: "Show its dead letter" }).click();

  const letter = page.locator(".letter");
  await letter.getByRole("heading", { name: "Dead letter order-7" }).waitFor();
  await letter.getByText("max_attempts").first().waitFor();
  assert.equal(await letter.locator(".history li").count(), 2, "the history has both attempts");
  await letter.locator(".history", { hasText: "503" }).waitFor();
  await letter.locator("pre", { hasText: "12345678901234567890" }).waitFor();
  await letter.getByText("quebert.high", { exact: true }).first().waitFor();

  executor.answer = () => 200;
  await letter.getByRole("button", { name: "Replay" }).click();
  await page.locator(".toast", { hasText: "order-7 is replayed." }).waitFor();
  await letter.getByRole("link", { name: "See what becomes of it" }).click();
  await page.locator(".event", { hasText: "succeeded" }).waitFor();
  await page.getByText("It waits nowhere: it has completed").waitFor();
  const sent = executor.requests.at(-1);
  assert.deepEqual([executor.requests.length, sent.body, sent.headers["x-shop"]], [3, `{"order": 7, "total": 12345678901234567890}`, "seven"]);
  await page.getByRole("link", { name: "Dead letters" }).click();
  await page.getByText("No dead letters.").waitFor();
  await close(page);
  await program.stop();
  await executor.close();
});

test("the same with the keyboard alone, on a small screen", async () => {
  const executor = await startExecutor(() => 410);
  const program = await startProgram();
  const page = await openPage(program.url, { width: 360, height: 740, scheme: "dark" });
  await live(page);
  await page.keyboard.press("4");
  await page.getByLabel("URL").waitFor();
  await tabTo(page, "URL");
  await page.keyboard.type(`${executor.url}/keys`);
  await tabTo(page, "Id");
  await page.keyboard.type("by-keys");
  await page.keyboard.press("Enter");
  await page.locator(".result", { hasText: "Stored in low as" }).waitFor();
  await eventually("it is dead", async () => (await program.call("GET", "/dead")).letters.length === 1);
  await tabTo(page, "by-keys");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Show its dead letter" }).waitFor();
  await tabTo(page, "Show its dead letter");
  await page.keyboard.press("Enter");
  await page.locator(".letter", { hasText: "permanent" }).waitFor();
  await fitsSideways(page, "a dead letter");
  await accessible(page, "a dead letter");
  executor.answer = () => 200;
  await tabTo(page, "Replay");
  await page.keyboard.press("Enter");
  await page.locator(".letter", { hasText: "by-keys is replayed." }).waitFor();
  await eventually("it is sent again", () => executor.requests.length === 2);
  await page.keyboard.press("Escape");
  await page.getByText("No dead letters.").waitFor();
  await page.keyboard.press("1");
  await page.getByRole("button", { name: "Pause high" }).waitFor();
  await tabTo(page, "Pause high");
  await page.keyboard.press("Space");
  await page.locator(".badge", { hasText: "paused" }).waitFor();
  await close(page);
  await program.stop();
  await executor.close();
});

test("a paused queue holds its tasks until it is resumed; a purge names what it takes", async () => {
  const executor = await startExecutor();
  const program = await startProgram();
  const page = await openPage(program.url);
  await live(page);
  await page.getByRole("button", { name: "Pause low" }).click();
  const row = page.getByRole("row", { name: "low" });
  await row.getByText("paused").waitFor();
  for (const id of ["one", "two"]) await program.call("POST", "/tasks", { url: `${executor.url}/${id}`, queue: "low", id });
  await row.getByRole("cell").nth(0).getByText("2", { exact: true }).waitFor();
  assert.equal(executor.requests.length, 0);
  await page.getByRole("button", { name: "Resume low" }).click();
  await eventually("both are sent", () => executor.requests.length === 2);
  await row.getByText("paused").waitFor({ state: "hidden" });

  await page.getByRole("button", { name: "Pause low" }).click();
  await row.getByText("paused").waitFor();
  for (const id of ["three", "four", "five"]) await program.call("POST", "/tasks", { url: `${executor.url}/${id}`, queue: "low", id });
  await page.getByRole("button", { name: "Purge low…" }).click();
  const dialog = page.getByRole("dialog", { name: "Purge the queue low?" });
  await dialog.getByText("what is ready in the queue low, 3 tasks now, for good").waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await row.getByRole("cell").nth(0).getByText("3", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Purge low…" }).click();
  await dialog.getByRole("button", { name: "Purge 3 tasks" }).click();
  await page.locator(".toast", { hasText: "3 tasks removed from the queue low." }).waitFor();
  await row.getByRole("cell").nth(0).getByText("0", { exact: true }).waitFor();
  assert.equal(executor.requests.length, 2);
  await close(page);
  await program.stop();
  await executor.close();
});

test("a delayed task is run now, another is cancelled", async () => {
  const executor = await startExecutor();
  const program = await startProgram();
  for (const id of ["later", "never"]) await program.call("POST", "/tasks", { url: `${executor.url}/${id}`, id, delay_ms: 3_600_000 });
  const page = await openPage(`${program.url}#/task/later`);
  await live(page);
  await page.getByText("waits for its moment").waitFor();
  await page.getByRole("button", { name: "Run now" }).click();
  await eventually("it is sent", () => executor.requests.some(({ path }) => path === "/later"));
  await page.getByText("It waits nowhere").waitFor();
  await go(page, "#/task/never");
  await page.getByText("waits for its moment").waitFor();
  await page.getByRole("button", { name: "Cancel…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the task" }).click();
  await page.getByText("It waits nowhere").waitFor();
  assert.equal(executor.requests.length, 1);
  await close(page);
  await program.stop();
  await executor.close();
});

test("dead letters are replayed by filter after a dry run, and what is left is deleted", async () => {
  const executor = await startExecutor(() => 410);
  const program = await startProgram();
  const page = await openPage(program.url);
  await live(page);
  const ids = Array.from({ length: 60 }, (_, i) => `t-${String(i).padStart(2, "0")}`);
  await program.call("POST", "/tasks/batch", ids.map((id, i) => ({ url: `${executor.url}/${i % 3 ? "a" : "b"}/${id}`, id, queue: i % 2 ? "low" : "high" })));
  for (const queue of ["high", "low"]) await page.getByRole("link", { name: `30 dead letters of ${queue}` }).waitFor();
  await page.getByRole("link", { name: "30 dead letters of low" }).click();
  const rows = page.locator(".dead tbody tr");
  await eventually("30 rows", async () => (await rows.count()) === 30);
  await page.getByLabel("Queue").selectOption("");
  await eventually("a page of 50", async () => (await rows.count()) === 50);
  await page.getByRole("button", { name: "Next" }).click();
  await eventually("the other 10", async () => (await rows.count()) === 10);
  await page.getByLabel("URL begins with").fill(`${executor.url}/b/`);
  await page.keyboard.press("Enter");
  await eventually("20 fit", async () => (await rows.count()) === 20);
  executor.answer = () => 200;
  await page.getByRole("button", { name: "Replay all that fit…" }).click();
  const dialog = page.getByRole("dialog", { name: "Replay dead letters?" });
  await dialog.getByText("This would replay 20 dead letters of 60 looked at.").waitFor();
  await dialog.getByLabel("At most a second").fill("200");
  await dialog.getByRole("button", { name: "Replay 20 dead letters" }).click();
  await page.locator(".toast", { hasText: "20 of 20 dead letters replayed." }).waitFor();
  await page.getByText("No dead letter fits.").waitFor();
  await eventually("they are sent again", () => executor.requests.length === 80);

  await page.getByLabel("URL begins with").fill("");
  await page.getByLabel("Search").fill("t-0");
  await page.keyboard.press("Enter");
  await eventually("6 are left of t-0x", async () => (await rows.count()) === 6);
  await rows.first().getByRole("checkbox").check();
  await page.getByRole("button", { name: "Delete 1 chosen…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete 1 dead letter" }).click();
  await page.locator(".toast", { hasText: "1 dead letter deleted." }).waitFor();
  await page.getByRole("button", { name: "Delete all that fit…" }).click();
  await page.getByRole("dialog").getByText("This would delete 5 dead letters").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Delete 5 dead letters" }).click();
  await page.locator(".toast", { hasText: "5 of 5 dead letters deleted." }).waitFor();
  assert.equal((await program.call("GET", "/dead?limit=100")).letters.length, 34);
  await close(page);
  await program.stop();
  await executor.close();
});

test("tokens: what each may do, and what each is told", async () => {
  const executor = await startExecutor();
  const tokens = { look: ["read"], all: ["read", "operate", "enqueue"] };
  const toml = Object.entries(tokens).map(([name, roles]) => `[api.tokens.${name}]\nroles = ${JSON.stringify(roles)}\ntoken = "${name}-0123456789abcdef"\n`).join("");
  const program = await startProgram({ toml });
  const page = await openPage(program.url);
  const prompt = page.getByRole("dialog", { name: "Token" });
  await prompt.waitFor();
  await page.keyboard.type("nobody-0123456789abcdef");
  await page.keyboard.press("Enter");
  await prompt.getByText("The API does not know this token.").waitFor();
  await page.keyboard.type("look-0123456789abcdef");
  await page.keyboard.press("Enter");
  await live(page);
  await page.getByRole("row", { name: "high" }).waitFor();
  assert.match(await page.getByRole("button", { name: "Pause high" }).getAttribute("title"), /role “operate”; yours has read$/);
  await page.getByRole("button", { name: "Pause high" }).click({ force: true });
  await page.locator(".toast", { hasText: "Not allowed" }).waitFor();
  assert.equal((await program.call("GET", "/queues/high", undefined, { authorization: "Bearer look-0123456789abcdef" })).paused, false);
  await page.getByRole("button", { name: "Forget token" }).click();
  await page.getByRole("button", { name: "Token…" }).click();
  await page.keyboard.type("all-0123456789abcdef");
  await page.keyboard.press("Enter");
  await live(page);
  await page.getByRole("link", { name: "Enqueue" }).click();
  await page.getByLabel("URL").fill(executor.url);
  await page.keyboard.press("Enter");
  await page.locator(".result", { hasText: "Stored" }).waitFor();
  await eventually("it is sent", () => executor.requests.length === 1);
  await close(page);
  await program.stop();
  await executor.close();
});

test("content of real tasks can't inject markup", async () => {
  const executor = await startExecutor(() => 410);
  const program = await startProgram();
  const page = await openPage(`${program.url}#/feed`, { width: 360 });
  await live(page);
  const bad = `<img src=x onerror="window.__ran=1"><script>window.__ran=2</script>`;
  const id = `"><svg/onload=window.__ran=3><img/src=x/onerror=window.__ran=4>`;
  const url = `${executor.url}/%3Cimg/src=x?a='><script>window.__ran=5</script>`.replaceAll(">", "%3E").replaceAll("<", "%3C");
  await program.call("POST", "/tasks", { url, id, headers: { "X-Bad": bad }, body: { [bad]: bad }, labels: { [bad.slice(0, 60)]: bad } });
  await program.call("POST", "/tasks", { url, id: `javascript:window.__ran=6//`, body_text: bad });
  await eventually("both are dead", async () => (await program.call("GET", "/dead")).letters.length === 2);
  await page.locator(".event .task", { hasText: id }).first().waitFor();
  await fitsSideways(page, "feed");
  await go(page, "#/dead");
  await page.locator(".dead").getByRole("link", { name: id }).click();
  await page.locator(".letter pre", { hasText: "onerror=" }).waitFor();
  await page.locator(".letter h2", { hasText: id }).waitFor();
  await fitsSideways(page, "a dead letter");
  await page.locator(".letter").getByRole("button", { name: "Replay" }).click();
  await page.locator(".letter", { hasText: "is replayed." }).getByRole("link", { name: "See what becomes of it" }).click();
  await page.locator("h1", { hasText: id }).waitFor();
  await page.getByRole("link", { name: "Show its dead letter" }).waitFor();
  await go(page, `#/dead/${encodeURIComponent("javascript:window.__ran=6//")}`);
  await page.locator(".letter pre", { hasText: "<script>window.__ran=2</script>" }).waitFor();
  await go(page, "#/");
  await page.locator(".destinations", { hasText: executor.url }).waitFor();
  assert.equal(await page.locator("main img, main script, main svg:not(.spark)").count(), 0);
  await close(page);
  await program.stop();
  await executor.close();
});

test("a program that restarts is found again, with what it had", async () => {
  const executor = await startExecutor();
  const program = await startProgram();
  const page = await openPage(program.url);
  await live(page);
  await page.getByRole("button", { name: "Pause low" }).click();
  await page.locator(".badge", { hasText: "paused" }).waitFor();
  await program.halt();
  await page.getByText("What is shown is stale since").waitFor();
  await program.start();
  await page.getByText("What is shown is stale since").waitFor({ state: "hidden" });
  await live(page);
  await page.locator(".badge", { hasText: "paused" }).waitFor();
  await program.call("POST", "/tasks", { url: executor.url, id: "after-all", queue: "high" });
  await page.locator(".event a[title='after-all']").first().waitFor();
  await close(page);
  await program.stop();
  await executor.close();
});

test("every view of the real program is in order", async () => {
  const executor = await startExecutor((path) => (path.startsWith("/gone") ? 410 : 200));
  const program = await startProgram();
  const response = await fetch(program.url);
  assert.equal(response.headers.get("content-security-policy"), POLICY);
  for (const scheme of ["light", "dark"]) {
    const page = await openPage(program.url, { scheme });
    await live(page);
    await program.call("POST", "/tasks", { url: `${executor.url}/gone`, id: `gone-${scheme}`, body: { scheme } });
    // The last that is told of it.
    const buried = `.event:has(a[title='gone-${scheme}']):has-text("dead letter: permanent")`;
    await page.locator(buried).waitFor();
    await page.locator(".destinations tbody tr").waitFor();
    const views = [
      ["#/", ".queues tbody tr"], ["#/feed", buried], ["#/dead", `.dead a[title='gone-${scheme}']`], [`#/dead/gone-${scheme}`, ".letter pre"], ["#/enqueue", ".enqueue"],
      [`#/task/gone-${scheme}`, buried, "text=Show its dead letter"],
    ];
    for (const [hash, ...parts] of views) {
      await go(page, hash);
      for (const part of parts) await page.locator(part).first().waitFor();
      for (const width of [360, 1600]) {
        await widen(page, width);
        await fitsSideways(page, `${hash} at ${width} px`);
        await accessible(page, `${hash} at ${width} px, ${scheme}`);
      }
    }
    await tabAround(page);
    await close(page);
  }
  await program.stop();
  await executor.close();
});
