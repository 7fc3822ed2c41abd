"""Publishes tasks with pika, in both forms: publish.py AMQP_URL QUEUE EXECUTOR_URL"""

import datetime
import json
import sys

import pika

amqp_url, queue, executor = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
channel = connection.channel()
channel.confirm_delivery()


def publish(body, **properties):
    properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent, **properties)
    channel.basic_publish("", queue, body, properties, mandatory=True)


# The smallest task there is: no properties at all.
channel.basic_publish("", queue, json.dumps({"url": executor + "/minimal"}), mandatory=True)

publish(
    json.dumps({"url": executor + "/envelope", "headers": {"X-Peer": "pika"}, "body": {"n": 1}, "timeout_ms": 7000}),
    message_id="pika-envelope",
    content_type="application/json",
    timestamp=int(datetime.datetime.now().timestamp()),
    headers={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "theirs": None},
)

publish(
    bytes(range(256)),
    message_id="pika-raw",
    content_type="application/octet-stream",
    headers={
        "quebert-url": executor + "/raw",
        "quebert-method": "PATCH",
        "quebert-timeout-ms": 7000,
        "quebert-max-attempts": 3,
        "quebert-ttl-ms": 3_000_000_000,  # beyond 32 bits
        "quebert-schedule-ms": [1000, 2000],
        "quebert-created-at": datetime.datetime.now(datetime.timezone.utc),  # an AMQP timestamp
        "quebert-h-x-peer": "pika",
        "quebert-h-x-bytes": b"bytes",
        "quebert-h-x-number": 17,
        "quebert-h-x-list": ["a", "b"],
        "quebert-label-team": "mail",
        "theirs": {"nested": [1, True, None]},
    },
)
connection.close()
