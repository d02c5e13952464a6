"""A relay: publishes the messages of an outbox, in order, whenever the broker is there."""

from collections.abc import Hashable
from typing import NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.amqp import Broker
from kit.cli import say
from kit.web.connection import Reconnecting

REFUSED_PAUSE = 1  # second


class Outgoing(NamedTuple):
    """A message in the outbox; `key` identifies it there, `exchange` "" is the default one."""

    key: Hashable
    exchange: str
    routing_key: str
    body: bytes
    message_id: str | None = None
    mandatory: bool = True  # there must be a queue for it


class Relay(Reconnecting):
    """Publishes with confirms until stopped; then it empties the outbox before it ends.

    A message leaves the outbox when the broker has confirmed it. If the relay dies in between, the
    message may be published twice, with the same message_id, but it is never lost.
    """

    tick = 1.0  # seconds between two looks into the outbox; wake() ends the wait

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.problem = ""  # why the broker did not take the message at the head of the outbox

    def declare(self, channel: BlockingChannel) -> None:
        """Declare what is needed; called for each new channel, and if a queue is missing."""
        raise NotImplementedError

    def unpublished(self) -> list[Outgoing]:
        """Return the oldest messages of the outbox, a handful at a time."""
        raise NotImplementedError

    def mark_published(self, message: Outgoing) -> None:
        """Remove a message from the outbox: the broker has it."""
        raise NotImplementedError

    def is_done(self) -> bool:
        """Return True if the relay was stopped and the outbox is empty."""
        return self.stopping and not self.unpublished()

    def ready(self) -> str:
        """Return the line to print before publishing, "" for none."""
        return ""

    def use(self, channel: BlockingChannel) -> None:
        self.declare(channel)
        if line := self.ready():
            say("*", line)
        while not self.is_done():
            messages = self.unpublished()
            for message in messages:
                if not self.publish(channel, message):
                    break  # the next must not overtake it
            if not messages:
                channel.connection.process_data_events(time_limit=self.tick)

    def publish(self, channel: BlockingChannel, message: Outgoing) -> bool:
        """Publish a message; return True if the broker has it."""
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=message.message_id
        )
        exchange, key, body = message.exchange, message.routing_key, message.body
        try:  # basic_publish returns when the broker has confirmed it
            channel.basic_publish(exchange, key, body, properties, mandatory=message.mandatory)
        except pika.exceptions.UnroutableError:
            problem = f"No queue takes {key!r}: was it deleted? Declaring it again"
            if problem == self.problem:  # declaring it did not help
                channel.connection.sleep(REFUSED_PAUSE)
            self._say_once(problem)
            self.declare(channel)
        except pika.exceptions.NackError:  # for example, the queue is full
            self._say_once(f"The broker refuses a message; trying again every {REFUSED_PAUSE} s")
            channel.connection.sleep(REFUSED_PAUSE)
        else:
            self.problem = ""
            self.mark_published(message)
            return True
        return False

    def _say_once(self, problem: str) -> None:
        if problem != self.problem:
            say("!", problem)
        self.problem = problem
