"""Send with aio-pika, which confirms by default: COUNT [together] (1,000 at a time)."""

import asyncio
import sys

import aio_pika
import task


async def main() -> None:
    count, together = int(sys.argv[1]), "together" in sys.argv
    connection = await aio_pika.connect_robust(task.URL)
    async with connection:
        exchange = (await connection.channel()).default_exchange

        def send():
            message = aio_pika.Message(
                task.BODY.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            return exchange.publish(message, routing_key=task.QUEUE)

        while count:
            size = min(1000 if together else 1, count)
            await asyncio.gather(*(send() for _ in range(size)))
            count -= size


asyncio.run(main())
