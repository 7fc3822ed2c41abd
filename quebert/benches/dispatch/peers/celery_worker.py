"""A rival: a Celery worker with two processes, late acks, and a task that posts with a session of requests."""

import multiprocessing
import os
import signal
import threading
import time

import requests
from celery import Celery
from celery.signals import task_postrun
from kombu import Queue

from look import ALL, BROKER, QUEUE, WARM_UP, WINDOW, look, tell

PROCESSES = 2

app = Celery(broker=BROKER)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_queues=[Queue(QUEUE, no_declare=True)],
    worker_prefetch_multiplier=WINDOW // PROCESSES,
    broker_connection_retry_on_startup=True,
    worker_redirect_stdouts=False,
)
session = requests.Session()
done = multiprocessing.Value("q", 0)


@app.task(name="deliver")
def deliver(task):
    session.post(task["url"], json=task["body"]).raise_for_status()


@task_postrun.connect
def count(state=None, **_):
    if state == "SUCCESS":
        with done.get_lock():
            done.value += 1


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


def watch():
    first = None
    while done.value < ALL:
        if first is None and done.value >= WARM_UP:
            first = look(["self", *children()])
        time.sleep(0.01)
    tell(first, look(["self", *children()]))
    for child in children():
        os.kill(int(child), signal.SIGKILL)
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()
arguments = [f"--concurrency={PROCESSES}", f"--queues={QUEUE}", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
app.worker_main(["worker", "--pool=prefork", *arguments])
