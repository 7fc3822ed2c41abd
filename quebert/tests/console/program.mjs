// The real program for the console to talk to: `quebert run` with the embedded broker in a folder of its own or, where the
// environment names a BROKER, with that one; and an executor that does as a test says. It makes up no answer.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { after, afterEach } from "node:test";
import { hold, slowed } from "./jitter.mjs";
import { eventually, tell } from "./lib.mjs";

const BINARY = process.env.QUEBERT ?? new URL("../../../target/debug/quebert", import.meta.url).pathname;

/** Fails fast, so that a task is dead after two attempts. */
const CONFIG = `
[http.guard]
allow = ["127.0.0.0/8"]
[retry]
backoff_min = "20ms"
backoff_max = "50ms"
max_attempts = 2
`;

/** Starts an executor. It answers what `answer(path, request)` says, 200 by default, and keeps what it was sent. */
export async function startExecutor(answer = () => 200) {
  const executor = { requests: [], answer };
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const kept = { path: request.url, method: request.method, headers: request.headers, body: Buffer.concat(chunks).toString() };
    executor.requests.push(kept);
    await hold("an executor");
    response.writeHead(await executor.answer(kept.path, kept)).end("thank you\n");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  // A test that failed leaves it behind, and must not keep the process from ending.
  server.unref();
  executor.url = `http://127.0.0.1:${server.address().port}`;
  executor.close = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  return executor;
}

const running = new Set();
// A test that failed leaves its program.
afterEach(async () => {
  for (const program of running) {
    tell(`the program, left running, logged at last:\n${program.log.split("\n").slice(-60).join("\n")}`);
    await program.stop();
  }
});
after(async () => {
  for (const program of running) await program.stop();
});

/** Starts the program; `url` is the console's, `direct` the same without delays. */
export async function startProgram({ toml = "" } = {}) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "quebert-console-"));
  const config = path.join(folder, "quebert.toml");
  await writeFile(config, CONFIG + toml);
  const program = { url: "", direct: "", log: "" };
  let child = null;
  program.start = async () => {
    // The second time the address of the first: a page that is open must find it again.
    const listen = program.direct ? new URL(program.direct).host : "127.0.0.1:0";
    const sets = [`broker.url=${process.env.BROKER ?? `embedded:${folder}/data`}`, `api.listen=${listen}`, "admin.listen=127.0.0.1:0"];
    const args = ["run", "--config", config, "--log-format", "json", ...sets.flatMap((set) => ["--set", set])];
    child = spawn(BINARY, args, { stdio: ["ignore", "ignore", "pipe"] });
    running.add(program);
    program.direct = await address(child, program);
    program.url ||= await slowed(program.direct);
  };
  /** Ends it, in order, and leaves its folder. */
  program.halt = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, "exit");
      child.kill("SIGTERM");
      await exit;
    }
  };
  program.stop = async () => {
    running.delete(program);
    await program.halt();
    await rm(folder, { recursive: true, force: true });
  };
  /** Asks the API, as a producer would. */
  program.call = async (method, where, body, headers = {}) => {
    const response = await fetch(`${program.direct}v1${where}`, { method, headers: { "content-type": "application/json", ...headers }, body: body && JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${where}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  };
  await program.start();
  return program;
}

/** The API's address, as soon as the program is ready for tasks. */
async function address(child, program) {
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`the program ended with ${code}:\n${program.log}`);
  });
  const listens = { "API listens": null, "admin server listens": null };
  const found = new Promise((done) => {
    readline.createInterface({ input: child.stderr }).on("line", (line) => {
      program.log += `${line}\n`;
      const { message, address: at } = JSON.parse(line);
      if (message in listens) listens[message] = at;
      if (Object.values(listens).every(Boolean)) done(listens);
    });
  });
  ended.catch(() => {});
  const { "API listens": api, "admin server listens": admin } = await Promise.race([found, ended]);
  await eventually("the program is ready", async () => (await fetch(`http://${admin}/readyz`)).ok);
  return `http://${api}/`;
}
