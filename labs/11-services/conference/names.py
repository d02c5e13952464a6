"""What the exchange and the queues of the site are called, and how they are declared.

Every service declares what it needs, the same way: whoever comes first makes it.
"""

from pika.adapters.blocking_connection import BlockingChannel


class Names:
    """The names; with a prefix, a second site has room on the same vhost."""

    def __init__(self, prefix: str = "") -> None:
        self.accounts = f"{prefix}accounts"  # fanout exchange: every change of an account
        self.copy = f"{prefix}attendees.accounts"  # the attendees service's queue behind it
        self.approved = f"{prefix}presentations.approved"
        self.rejected = f"{prefix}presentations.rejected"
        self.failed = f"{prefix}presentations.failed"  # e-mails that no mail server takes

    @property
    def queues(self) -> tuple[str, ...]:
        """Return the names of all queues."""
        return (self.copy, self.approved, self.rejected, self.failed)

    def declare_accounts(self, channel: BlockingChannel) -> None:
        """Declare the exchange for accounts."""
        channel.exchange_declare(self.accounts, "fanout", durable=True)

    def declare_copy(self, channel: BlockingChannel) -> None:
        """Declare the attendees service's queue, bound to the exchange."""
        self.declare_accounts(channel)
        channel.queue_declare(self.copy, durable=True)
        channel.queue_bind(self.copy, self.accounts)

    def declare_presentations(self, channel: BlockingChannel) -> None:
        """Declare the queues of the workflow."""
        for queue in (self.approved, self.rejected, self.failed):
            channel.queue_declare(queue, durable=True)

    def delete(self, channel: BlockingChannel) -> None:
        """Delete all of it, messages and all."""
        for queue in self.queues:
            channel.queue_delete(queue)
        channel.exchange_delete(self.accounts)
