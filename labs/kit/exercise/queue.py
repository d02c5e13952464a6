"""A queue on some broker, and a connection to look at it with: plain pika and nothing else."""

import pika


class Corner:
    """One queue, declared, filled, counted and emptied from outside the program under test."""

    def __init__(self, url: str, queue: str = "q") -> None:
        self.url, self.queue = url, queue
        self.connection = self.connect()

    def connect(self) -> pika.BlockingConnection:
        """Return another connection to the same broker."""
        return pika.BlockingConnection(pika.URLParameters(self.url))

    def reconnect(self) -> None:
        """Replace the connection that looks, after the broker was away."""
        self.connection = self.connect()

    def declare(self, queue: str | None = None, **arguments) -> None:
        """Declare the queue, or another one."""
        self.connection.channel().queue_declare(queue or self.queue, **arguments)

    def publish(self, *bodies: str | bytes, queue: str | None = None, persistent=False) -> None:
        """Publish with confirms; raises UnroutableError without a queue."""
        channel = self.connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(delivery_mode=2 if persistent else 1)
        for body in bodies:
            channel.basic_publish("", queue or self.queue, body, properties, mandatory=True)
        channel.close()

    def ready(self, queue: str | None = None) -> int:
        """Return the number of messages that wait; raises ChannelClosedByBroker without a queue."""
        channel = self.connection.channel()
        count = channel.queue_declare(queue or self.queue, passive=True).method.message_count
        channel.close()
        return count

    def take_all(self, queue: str | None = None) -> list[tuple]:
        """Take all waiting messages off the queue; return pika's (method, properties, body)."""
        channel, messages = self.connection.channel(), []
        while (message := channel.basic_get(queue or self.queue, auto_ack=True))[0]:
            messages.append(message)
        channel.close()
        return messages

    def take(self, queue: str | None = None) -> list[bytes]:
        """Take all waiting messages off the queue; return their bodies."""
        return [body for _, _, body in self.take_all(queue)]
