"""Kombu's consumer mixin."""

import kombu
import task
from kombu.mixins import ConsumerMixin


class Worker(ConsumerMixin):
    """Work on one message after the other."""

    def __init__(self, connection):
        """Keep the connection where the mixin looks for it."""
        self.connection = connection

    def get_consumers(self, consumer, channel):
        """Subscribe to the queue."""
        queue = kombu.Queue(task.QUEUE, routing_key=task.QUEUE, no_declare=True)
        return [consumer([queue], callbacks=[self.on_task], prefetch_count=task.PREFETCH)]

    def on_task(self, body, message):
        """Work on one message, then acknowledge it."""
        task.work(body if isinstance(body, str) else bytes(body).decode())
        message.ack()


with kombu.Connection(task.URL) as connection:
    Worker(connection).run()
