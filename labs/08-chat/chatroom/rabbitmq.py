"""A room on RabbitMQ: a fanout exchange, and a stream that remembers what went through it.

chat.lobby       fanout: a copy of each message to every queue that is bound
chat.lobby.log   the stream: keeps what was said; everybody reads it, from wherever they like
chat.lobby.here  direct: "I am still here"; it is not kept, so each listener has a queue of its own
                 for it, which is deleted when the listener leaves
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import pika

from chatroom.message import HERE, Message, from_bytes
from chatroom.transport import Transport
from kit.amqp import Broker, BrokerError, explain
from kit.cli import UNEXPECTED, UNREACHABLE, first_broker

# A stream that is too long drops its oldest segment. We read all of it whenever we join or come
# back: a stream that was deleted and made again counts from 0, so we cannot resume at a place in
# the old one. Room recognises duplicates by their ids.
STREAM = {
    "x-queue-type": "stream",
    "x-max-length-bytes": 1_000_000,
    "x-stream-max-segment-size-bytes": 200_000,
}
PATIENCE = 10  # seconds for a room to be created
PREFETCH = 100  # a stream requires one; acknowledging only asks for more and removes nothing


class RabbitMQTransport(Transport):
    """Carries a room's messages through a broker."""

    def __init__(self, room: str, broker: Broker) -> None:
        self.exchange, self.stream, self.here = (
            f"chat.{room}{part}" for part in ("", ".log", ".here")
        )
        self.broker = broker
        self.login = first_broker(broker).credentials.username
        self._connection: pika.BlockingConnection | None = None
        self._one_at_a_time = False

    def open(self) -> None:
        """Connect; declare the exchange, and the stream behind it."""
        self._keep_trying(self._open)

    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Connect; read the stream from its beginning."""
        self._on_message = on_message
        self._keep_trying(self._subscribe)

    def publish(self, message: Message) -> None:
        """Publish a message and wait for its confirm; the broker checks the login in it."""
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            message_id=message.id,
            user_id=self.login,
        )
        kept = message.kind != HERE
        exchange, key = (self.exchange, "") if kept else (self.here, HERE)
        with self._explained():
            self._channel.basic_publish(
                exchange, key, message.to_bytes(), properties, mandatory=kept
            )

    def wait(self, seconds: float) -> None:
        """Receive messages, and answer heartbeats."""
        with self._explained():
            self._connection.process_data_events(time_limit=seconds)
            if len(self._channel.consumer_tags) < 2:
                raise pika.exceptions.ConsumerCancelled(f"queue {self.stream!r} was deleted")

    def wake(self) -> None:
        """End a wait; other threads may do nothing else with this connection."""
        with contextlib.suppress(AttributeError, pika.exceptions.AMQPError):  # no connection
            self._connection.add_callback_threadsafe(lambda: None)

    def hang_up(self) -> None:
        with contextlib.suppress(AttributeError, pika.exceptions.AMQPError, OSError):
            self._connection.close()

    def _keep_trying(self, use: Callable[[], None]) -> None:
        """Call use() again if it fails once connected: others may be creating the room just now."""
        end = time.monotonic() + PATIENCE
        while True:
            connections = self.broker.connections
            try:
                return use()
            except BrokerError as error:
                may_pass = error.code == UNREACHABLE or "does not have a replica" in str(error)
                is_connected = self.broker.connections > connections
                if not (may_pass and is_connected) or time.monotonic() > end:
                    raise
            self.hang_up()
            time.sleep(0.1)

    def _open(self) -> None:
        with self._explained():
            self._connection = self.broker.connect()
            self._channel = self._connection.channel()
            # auto_delete: an exchange is deleted with the last queue that was bound to it. That is
            # the stream for both. If it were a listener's queue, the exchange would come and go,
            # and RabbitMQ 4.3 breaks when it goes just as another client binds a queue.
            self._channel.exchange_declare(self.exchange, "fanout", durable=True, auto_delete=True)
            self._channel.exchange_declare(self.here, "direct", durable=True, auto_delete=True)
            self._channel.queue_declare(self.stream, durable=True, arguments=STREAM)
            self._channel.queue_bind(self.stream, self.exchange)
            self._channel.queue_bind(self.stream, self.here, "nothing has this routing key")
            self._channel.confirm_delivery()

    def _subscribe(self) -> None:
        self._open()
        with self._explained():
            channel = self._channel
            mine = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(mine, self.here, HERE)
            # After a message that pika could not decode, take one at a time to get those before.
            channel.basic_qos(prefetch_count=1 if self._one_at_a_time else PREFETCH)
            self._one_at_a_time = False
            channel.basic_consume(mine, self._on_here, auto_ack=True)
            channel.basic_consume(
                self.stream, self._on_said, arguments={"x-stream-offset": "first"}
            )

    def _on_said(self, channel, method, properties: pika.BasicProperties, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        offset = (properties.headers or {}).get("x-stream-offset")
        place = f"{offset} {hash(body)}"
        self._on_message(from_bytes(body, properties.user_id, place))

    def _on_here(self, channel, method, properties: pika.BasicProperties, body: bytes) -> None:
        message = from_bytes(body, properties.user_id)
        if message.kind == HERE:  # nothing else belongs there
            self._on_message(message)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn pika's errors into BrokerError, which explains them."""
        try:
            yield
        except (pika.exceptions.AMQPError, OSError) as error:
            problem = explain(error, self.broker.where)
            if problem.code == UNEXPECTED:
                self._one_at_a_time = True
                problem.hint = f"labs/queues.py --delete {self.stream}: the room begins anew"
            raise problem from error
