// Publishes tasks with amqplib, in both forms: node publish.js AMQP_URL QUEUE EXECUTOR_URL
"use strict";
const amqp = require("amqplib");

async function main([amqpUrl, queue, executor]) {
  const connection = await amqp.connect(amqpUrl);
  const channel = await connection.createConfirmChannel();
  const publish = (body, options) =>
    channel.publish("", queue, Buffer.from(body), { persistent: true, mandatory: true, ...options });

  publish(JSON.stringify({ url: `${executor}/minimal` }));

  publish(
    JSON.stringify({
      url: `${executor}/envelope`,
      headers: { "X-Peer": "amqplib" },
      body: { n: 1 },
      timeout_ms: 7000,
    }),
    {
      messageId: "amqplib-envelope",
      contentType: "application/json",
      timestamp: Math.floor(Date.now() / 1000),
      headers: { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", theirs: null },
    },
  );

  publish(Uint8Array.from({ length: 256 }, (_, n) => n), {
    messageId: "amqplib-raw",
    contentType: "application/octet-stream",
    headers: {
      "quebert-url": `${executor}/raw`,
      "quebert-method": "PATCH",
      // The smallest integer type that holds a number is chosen: here 8, 16, 32 and 64 bits.
      "quebert-max-attempts": 3,
      "quebert-timeout-ms": 7000,
      "quebert-backoff-max-ms": 100_000,
      "quebert-ttl-ms": 3_000_000_000,
      "quebert-backoff-min-ms": { "!": "double", value: 1500 },
      "quebert-schedule-ms": [1500, 2000],
      "quebert-created-at": { "!": "timestamp", value: Math.floor(Date.now() / 1000) },
      "quebert-h-x-peer": "amqplib",
      "quebert-h-x-bytes": Buffer.from("bytes"),
      "quebert-h-x-number": 17,
      "quebert-h-x-list": ["a", "b"],
      "quebert-label-team": "mail",
      theirs: { nested: [1, true, null, 2.5] },
    },
  });

  await channel.waitForConfirms();
  await connection.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
