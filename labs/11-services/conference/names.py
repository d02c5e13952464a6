"""The names of the site's exchange and queues, and their declarations.

Every service declares what it needs in the same way, so any of them may start first.
"""

import contextlib

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.web.connection import NOT_FOUND


class Names:
    """The names; another prefix makes room for a second site on the same vhost."""

    def __init__(self, prefix: str = "") -> None:
        self.accounts = f"{prefix}accounts"  # fanout exchange: every change of an account
        self.copy = f"{prefix}attendees.accounts"  # the attendees service's queue behind it
        self.approved = f"{prefix}presentations.approved"
        self.rejected = f"{prefix}presentations.rejected"
        self.failed = f"{prefix}presentations.failed"  # decisions whose e-mail was refused for good

    @property
    def queues(self) -> tuple[str, ...]:
        return (self.copy, self.approved, self.rejected, self.failed)

    def declare_accounts(self, channel: BlockingChannel) -> None:
        channel.exchange_declare(self.accounts, "fanout", durable=True)

    def has_copy(self, connection: pika.BlockingConnection) -> bool:
        """Return True if the attendees service's queue exists."""
        channel = connection.channel()
        try:
            channel.queue_declare(self.copy, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                connection.process_data_events()  # pika 1.5 raises it once more
            if error.reply_code != NOT_FOUND:
                raise
            return False
        channel.close()
        return True

    def declare_copy(self, channel: BlockingChannel) -> None:
        """Declare the attendees service's queue, bound to the exchange."""
        self.declare_accounts(channel)
        channel.queue_declare(self.copy, durable=True)
        channel.queue_bind(self.copy, self.accounts)

    def declare_presentations(self, channel: BlockingChannel) -> None:
        for queue in (self.approved, self.rejected, self.failed):
            channel.queue_declare(queue, durable=True)

    def delete(self, channel: BlockingChannel) -> None:
        """Delete the queues, with their messages, and the exchange."""
        for queue in self.queues:
            channel.queue_delete(queue)
        channel.exchange_delete(self.accounts)
