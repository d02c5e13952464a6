"""Publishes the monolith's outbox."""

from pika.adapters.blocking_connection import BlockingChannel

from conference.names import Names
from conference.site import Site
from kit.amqp import Broker
from kit.web.relay import Outgoing, Relay


class SiteRelay(Relay):
    """Runs in a thread of its own; the monolith wakes it after each change."""

    def __init__(self, site: Site, names: Names, broker: Broker) -> None:
        super().__init__(broker)
        self.site, self.names = site, names

    def declare(self, channel: BlockingChannel) -> None:
        self.names.declare_accounts(channel)
        self.names.declare_presentations(channel)

    def ready(self) -> str:
        return f"Connected to the broker; {self.site.waiting()} waiting in the outbox"

    def unpublished(self) -> list[Outgoing]:
        return [
            Outgoing(
                row["number"],
                row["exchange"],
                row["routing_key"],
                row["body"].encode(),
                row["message_id"],
                # A change of an account may have no reader: attendees.py begins with a full copy.
                # A decision is for a queue that must be there.
                mandatory=not row["exchange"],
            )
            for row in self.site.unpublished()
        ]

    def mark_published(self, message: Outgoing) -> None:
        self.site.mark_published(message.key)
