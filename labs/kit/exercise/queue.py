"""A client of one queue: plain pika and nothing else."""

import contextlib

import pika


class QueueClient:
    """Declare, fill, count and empty a queue from outside the program under test."""

    def __init__(self, url: str, queue: str = "q") -> None:
        self.url, self.queue = url, queue
        self.connection = self.connect()

    def connect(self) -> pika.BlockingConnection:
        """Return another connection to the same broker."""
        return pika.BlockingConnection(pika.URLParameters(self.url))

    def reconnect(self) -> None:
        """Close the connection, which deletes its exclusive queues, and make another one."""
        with contextlib.suppress(pika.exceptions.AMQPError):  # it is lost
            self.connection.close()
        self.connection = self.connect()

    def declare(self, queue: str | None = None, **arguments) -> None:
        self.connection.channel().queue_declare(queue or self.queue, **arguments)

    def publish(self, *bodies: str | bytes, queue: str | None = None, persistent=False) -> None:
        """Publish with confirms. Raises UnroutableError if there is no queue."""
        channel = self.connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(delivery_mode=2 if persistent else 1)
        for body in bodies:
            channel.basic_publish("", queue or self.queue, body, properties, mandatory=True)
        channel.close()

    def ready(self, queue: str | None = None) -> int:
        """Return the number of waiting messages. Raises ChannelClosedByBroker without a queue."""
        channel = self.connection.channel()
        count = channel.queue_declare(queue or self.queue, passive=True).method.message_count
        channel.close()
        return count

    def take_all(self, queue: str | None = None) -> list[tuple]:
        """Take all waiting messages; return pika's (method, properties, body) of each."""
        channel, messages = self.connection.channel(), []
        while (message := channel.basic_get(queue or self.queue, auto_ack=True))[0]:
            messages.append(message)
        channel.close()
        return messages

    def take(self, queue: str | None = None) -> list[bytes]:
        """Take all waiting messages; return their bodies."""
        return [body for _, _, body in self.take_all(queue)]
