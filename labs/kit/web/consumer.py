"""A consumer that comes back after a lost connection, a deleted queue or a pause."""

import time
from collections import deque
from functools import partial
from typing import NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.amqp import Broker
from kit.cli import say
from kit.web.connection import TICK, Reconnecting

CALM = 5  # seconds: a connection that lives longer is healthy, as in kit.amqp


class Message(NamedTuple):
    """A delivery we hold; acknowledge it only on the channel it came from."""

    queue: str
    body: bytes
    properties: pika.BasicProperties
    tag: int
    channel: BlockingChannel

    def acknowledge(self) -> None:
        self.channel.basic_ack(self.tag)


class Consumer(Reconnecting):
    """Handles the messages of some queues, one after the other, until stopped.

    A subclass says what to declare and how to handle a message.
    """

    prefetch = 1
    exclusive = False  # True: no other consumer may read its queues
    tick = TICK  # seconds between two calls of `look`, at most
    ready = "Waiting for messages on {}"  # said when it consumes; {} are the queues

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.inbox: deque[Message] = deque()
        self.busy = False  # with a message
        self.one_at_a_time = False

    def declare(self, channel: BlockingChannel) -> list[str]:
        """Declare exchanges and queues, and return the queues to read; called for each channel."""
        raise NotImplementedError

    def handle(self, message: Message) -> None:
        """Process a message, then acknowledge it. Raises Pause."""
        raise NotImplementedError

    def look(self, channel: BlockingChannel) -> None:
        """Do periodic work; called at least every `tick` seconds."""

    def use(self, channel: BlockingChannel) -> None:
        self.inbox.clear()
        self.busy = False
        queues = self.declare(channel)
        # The last connection died young, perhaps because of one message: prefetch one at a time,
        # so that a bad message does not send others back with it.
        self.one_at_a_time = self.prefetch > 1 and self.broker.short_lived > 0
        calm = time.monotonic() + CALM
        self._subscribe(channel, queues)
        say("*", self.ready.format(" and ".join(map(repr, queues))))
        while True:
            self.look(channel)
            if self.is_done():
                return
            channel.connection.process_data_events(time_limit=self.tick)
            for queue in queues:
                if queue not in channel.consumer_tags:
                    why = f"queue {queue!r} was deleted, or the delivery timeout passed"
                    raise pika.exceptions.ConsumerCancelled(why)
            while self.inbox and not self.is_done():
                self.busy = True
                self.handle(self.inbox.popleft())
                self.busy = False
            if self.one_at_a_time and time.monotonic() > calm:
                self.one_at_a_time = False
                channel.stop_consuming()
                self._subscribe(channel, queues)

    def _subscribe(self, channel: BlockingChannel, queues: list[str]) -> None:
        channel.basic_qos(prefetch_count=1 if self.one_at_a_time else self.prefetch)
        for queue in queues:
            receive = partial(self._receive, queue)
            channel.basic_consume(queue, receive, exclusive=self.exclusive, consumer_tag=queue)

    def _receive(self, queue: str, channel, method, properties, body: bytes) -> None:
        self.inbox.append(Message(queue, body, properties, method.delivery_tag, channel))
