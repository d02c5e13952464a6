"""A worker with aio-pika, like that of its tutorial."""

import asyncio

import aio_pika
import task


async def main() -> None:
    connection = await aio_pika.connect_robust(task.URL)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=task.PREFETCH)
        queue = await channel.declare_queue(task.QUEUE, durable=True)
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    if seconds := task.begin(message.body.decode()):
                        await asyncio.sleep(seconds)
                    task.end()


asyncio.run(main())
