"""A rival: what one would write by hand in Python, with aio-pika and aiohttp. Acks one by one, retries nothing."""

import asyncio
import json

import aio_pika
import aiohttp

from look import ALL, BROKER, QUEUE, WARM_UP, WINDOW, look, tell


async def main():
    end = asyncio.Event()
    done, first = 0, None
    connection = await aio_pika.connect(BROKER)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=WINDOW)
    queue = await channel.get_queue(QUEUE, ensure=False)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WINDOW)) as session:

        async def handle(message):
            nonlocal done, first
            task = json.loads(message.body)
            async with session.post(task["url"], json=task["body"]) as answer:
                await answer.read()
                answer.raise_for_status()
            await message.ack()
            done += 1
            if done == WARM_UP:
                first = look(["self"])
            if done == ALL:
                tell(first, look(["self"]))
                end.set()

        await queue.consume(handle)
        await end.wait()
    await connection.close()


asyncio.run(main())
