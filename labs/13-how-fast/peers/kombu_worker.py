"""A worker with Kombu's consumer mixin."""

import kombu
import task
from kombu.mixins import ConsumerMixin


class Worker(ConsumerMixin):
    def __init__(self, connection):
        self.connection = connection  # the mixin reads it

    def get_consumers(self, consumer, channel):
        queue = kombu.Queue(task.QUEUE, routing_key=task.QUEUE, no_declare=True)
        return [consumer([queue], callbacks=[self.on_task], prefetch_count=task.PREFETCH)]

    def on_task(self, body, message):
        task.work(body if isinstance(body, str) else bytes(body).decode())
        message.ack()


with kombu.Connection(task.URL) as connection:
    Worker(connection).run()
