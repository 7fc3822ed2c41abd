// A rival: what one would write by hand in Node, with amqplib and undici. Acks one by one, retries nothing.
// Reports like the other contestants: wall seconds, then CPU seconds of this process, the broker and the stub.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { LIBRARIES, BROKER, QUEUE, WINDOW, WARM_UP, TASKS, OTHERS } = process.env;
const require = createRequire(`${LIBRARIES}/`);
const amqp = require("amqplib");
const { Agent, request } = require("undici");

const [warmUp, all] = [Number(WARM_UP), Number(WARM_UP) + Number(TASKS)];
const pids = ["self", ...OTHERS.split(",")];
const dispatcher = new Agent({ connections: Number(WINDOW), pipelining: 1 });

function look() {
  const cpu = pids.map((pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  });
  return [performance.now() / 1000, ...cpu];
}

let done = 0;
let first;
const connection = await amqp.connect(BROKER);
const channel = await connection.createChannel();
await channel.prefetch(Number(WINDOW));
await channel.consume(QUEUE, async (delivery) => {
  const { url, body } = JSON.parse(delivery.content);
  const headers = { "content-type": "application/json" };
  const answer = await request(url, { method: "POST", headers, body: JSON.stringify(body), dispatcher });
  await answer.body.dump();
  if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
  channel.ack(delivery);
  done += 1;
  if (done === warmUp) first = look();
  if (done === all) {
    const last = look();
    await connection.close();
    console.log(last.map((value, at) => (value - first[at]).toFixed(3)).join(" "));
    process.exit(0);
  }
});
