"""Takes messages from queues, one after the other, over as many connections as it takes.

A message is acknowledged when it has been handled. `TryLater` puts it back where it was and lets
some time pass: meanwhile nothing is held, so that no delivery timeout can pass, and `ready` tells
how much waits.
"""

import collections
import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.amqp import Broker
from kit.cli import say

TICK = 0.5  # seconds after which we look whether to stop


class Message(NamedTuple):
    """A message in our hands."""

    queue: str
    tag: int
    body: bytes
    channel: BlockingChannel


class TryLater(Exception):
    """Raised by a handler when it cannot handle a message now; `seconds` is when it may."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class Consumer:
    """Calls `handle` with each message of the queues, once `prepare` has declared them.

    `prepare` is given the connection, and called again whenever we have paused.
    """

    def __init__(
        self,
        broker: Broker,
        queues: list[str],
        prepare: Callable[[pika.BlockingConnection], None],
        handle: Callable[[Message], None],
        prefetch: int = 1,
    ) -> None:
        self.broker, self.queues, self.prefetch = broker, queues, prefetch
        self.prepare, self.handle = prepare, handle
        self.stopping = False  # set it, from anywhere: it stops after the message in hand
        self._connection: pika.BlockingConnection | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        connection = self._connection
        return bool(connection and connection.is_open)

    def run(self) -> None:
        """Consume until stopped. Raises BrokerError if the broker refuses."""
        self.broker.keep_trying(self._connect_and_consume)

    def _connect_and_consume(self) -> None:
        """Consume over one connection."""
        if self.stopping:
            return
        self._connection = connection = self.broker.connect()
        try:
            while not self.stopping:
                self.prepare(connection)
                self._consume(connection)
        finally:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def _consume(self, connection: pika.BlockingConnection) -> None:
        """Handle messages until stopped, or until one has to wait."""
        channel = connection.channel()
        channel.confirm_delivery()
        # If the last connection died young, perhaps of the next message, nothing else goes with it.
        channel.basic_qos(prefetch_count=1 if self.broker.short_lived else self.prefetch)
        inbox: collections.deque[Message] = collections.deque()
        for queue in self.queues:

            def on_message(_, method, properties, body: bytes, queue=queue) -> None:
                inbox.append(Message(queue, method.delivery_tag, body, channel))

            channel.basic_consume(queue, on_message, consumer_tag=queue)
        say("*", f"Waiting for messages on {' and '.join(map(repr, self.queues))}")
        while not self.stopping:
            connection.process_data_events(time_limit=TICK)
            for queue in self.queues:
                if queue not in channel.consumer_tags:
                    why = f"queue {queue!r} was deleted, or the delivery timeout passed"
                    raise pika.exceptions.ConsumerCancelled(why)
            try:
                while inbox and not self.stopping:
                    message = inbox.popleft()
                    self.handle(message)
                    channel.basic_ack(message.tag)
            except TryLater as problem:
                say("!", f"{problem}; trying again in {problem.seconds:g} s")
                channel.close()  # what we hold goes back to the head of its queue
                return self._sleep(connection, problem.seconds)

    def _sleep(self, connection: pika.BlockingConnection, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.stopping and (left := end - time.monotonic()) > 0:
            connection.sleep(min(left, TICK))
