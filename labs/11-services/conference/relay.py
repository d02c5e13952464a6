"""Publishes what stands in the monolith's outbox, in order, whenever the broker is there.

A message leaves the outbox when the broker has confirmed it. Who dies between the two publishes it
again, with the same message_id: so a message may come twice, but never not at all.
"""

import contextlib
import sqlite3

import pika

from conference.names import Names
from conference.site import Site
from kit.amqp import Broker
from kit.cli import say
from kit.web.serving import Background

PATIENCE = 2  # seconds to publish the rest, when the monolith is stopped


class Relay(Background):
    """The thread that owns the monolith's connection."""

    def __init__(self, site: Site, names: Names, broker: Broker) -> None:
        super().__init__()
        self.site, self.names, self.broker = site, names, broker
        self._connection: pika.BlockingConnection | None = None
        self._stopping = False

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        connection = self._connection
        return bool(connection and connection.is_open)

    def wake(self) -> None:
        """Say that something new stands in the outbox; from any thread."""
        with contextlib.suppress(AttributeError, pika.exceptions.AMQPError):  # no connection now
            self._connection.add_callback_threadsafe(lambda: None)

    def stop(self) -> None:
        """Publish what is left, if the broker is there, and end."""
        self._stopping = True
        if self.connected:
            self.wake()
            self.join(PATIENCE)

    def work(self) -> None:
        """Publish, over one connection after the other, until stopped. Raises BrokerError."""
        self.broker.keep_trying(self._connect_and_publish)

    def _connect_and_publish(self) -> None:
        """Publish over one connection."""
        connection = self.broker.connect()
        try:
            self._publish_all(connection)
        finally:
            self._connection = None
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def _publish_all(self, connection: pika.BlockingConnection) -> None:
        """Publish whatever comes, until stopped."""
        channel = connection.channel()
        channel.confirm_delivery()
        self.names.declare_accounts(channel)
        self.names.declare_presentations(channel)
        self._connection = connection
        waited = self.site.waiting()
        say("*", f"Connected to the broker; {waited} waiting in the outbox")
        while True:
            stopping = self._stopping  # looked at first: what is stored by now is published
            while rows := self.site.unpublished():
                for row in rows:
                    if not self._publish(connection, channel, row):
                        break  # the next must not overtake it
            if stopping:
                return
            connection.process_data_events(time_limit=1)  # or until somebody wakes us

    def _publish(self, connection, channel, row: sqlite3.Row) -> bool:
        """Publish a message and take it out of the outbox; return whether the broker has it."""
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=row["message_id"]
        )
        # An account's change may find nobody: the attendees service begins with a full copy. A
        # decision is for a queue that must be there.
        try:
            channel.basic_publish(
                row["exchange"],
                row["routing_key"],
                row["body"].encode(),
                properties,
                mandatory=not row["exchange"],
            )
        except pika.exceptions.UnroutableError:
            say("!", f"Queue {row['routing_key']!r} was deleted; declaring it again")
            self.names.declare_presentations(channel)
        except pika.exceptions.NackError:
            say("!", "The broker refused a message; trying again in 1 s")
            connection.sleep(1)
        else:
            self.site.published(row["number"])
            return True
        return False
