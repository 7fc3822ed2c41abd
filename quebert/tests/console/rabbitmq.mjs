// The console where the broker is RabbitMQ, which can't tell everything: what it can't is said, and the rest goes the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, close, eventually, fitsSideways, go, openPage, widen } from "./lib.mjs";
import { startExecutor, startProgram } from "./program.mjs";

test("a failing task is followed to its dead letter, replayed, and succeeds, on RabbitMQ", async () => {
  const executor = await startExecutor(() => 410);
  const program = await startProgram();
  const page = await openPage(program.url);
  await page.locator(".fact", { hasText: "rabbitmq" }).waitFor();
  await page.locator(".fact", { hasText: "live" }).waitFor();
  await page.getByText("Not ready:").waitFor({ state: "hidden" });
  await program.call("POST", "/tasks", { url: `${executor.url}/rabbit`, id: "rabbit", queue: "high" });
  await page.getByRole("link", { name: "1 dead letter of high" }).waitFor();
  const row = page.getByRole("row", { name: "high" });
  assert.ok(await row.locator(".unknown[title='this broker can’t tell']").count(), "what RabbitMQ can't tell is a question mark");
  await page.locator(".event a[title='rabbit']").first().click();
  await page.getByText("This broker can’t look for waiting tasks.").waitFor();
  await page.locator(".event", { hasText: "dead letter: permanent" }).waitFor();
  await page.getByRole("link", { name: "Look among the dead letters" }).click();
  // The view before this one has links of that name, too.
  await page.locator(".dead").getByRole("link", { name: "rabbit", exact: true }).click();
  await page.locator(".letter", { hasText: "permanent" }).waitFor();
  for (const width of [360, 1600]) {
    await widen(page, width);
    await fitsSideways(page, `a dead letter at ${width} px`);
    await accessible(page, `a dead letter at ${width} px`);
  }
  executor.answer = () => 200;
  await page.locator(".letter").getByRole("button", { name: "Replay" }).click();
  await page.locator(".toast", { hasText: "rabbit is replayed." }).waitFor();
  await eventually("it is sent again", () => executor.requests.length === 2);
  await page.locator(".letter").getByRole("link", { name: "See what becomes of it" }).click();
  await page.locator(".event", { hasText: "succeeded" }).waitFor();
  await go(page, "#/");
  await page.getByRole("button", { name: "Pause low" }).click();
  await page.locator(".toast", { hasText: "Queue low is paused (by this dispatcher, until it restarts)." }).waitFor();
  await page.getByRole("button", { name: "Resume low" }).click();
  await page.locator(".badge", { hasText: "paused" }).waitFor({ state: "hidden" });
  await close(page);
  await program.stop();
  await executor.close();
});
