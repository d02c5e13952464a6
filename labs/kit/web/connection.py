"""A connection to the broker that comes back when it is lost."""

import contextlib
import signal
import time

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.amqp import Broker
from kit.cli import say

TICK = 0.5  # seconds between two looks at whether to stop
NOT_FOUND = 404  # AMQP: an exchange or a queue was deleted


class Pause(Exception):
    """Raised by `use` to start again after some seconds; the messages we hold go back."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class Reconnecting:
    """Works over one connection after the other: the base of Consumer and Relay."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.stopping = False
        self._connection: pika.BlockingConnection | None = None

    def use(self, channel: BlockingChannel) -> None:
        """Work on a channel with confirms until done; may raise pika's errors and Pause."""
        raise NotImplementedError

    def is_done(self) -> bool:
        return self.stopping

    @property
    def connected(self) -> bool:
        """Return True while there is a connection."""
        connection = self._connection
        return bool(connection and connection.is_open)

    def run(self) -> None:
        """Work until told to stop. Raises BrokerError if the broker refuses."""
        self.broker.keep_trying(self._connect_and_use)

    def stop(self) -> None:
        """Stop after the message in hand; may be called from any thread."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """End the wait for events; may be called from any thread."""
        with contextlib.suppress(AttributeError, pika.exceptions.AMQPError):  # no connection now
            self._connection.add_callback_threadsafe(lambda: None)

    def stop_at(self, *signals: int) -> None:
        """Stop after the message in hand on one of these signals, at once on a second."""
        for number in signals:
            signal.signal(number, self._stop_politely)

    def _stop_politely(self, *_: object) -> None:
        if self.stopping or not self.connected:
            raise KeyboardInterrupt
        self.stopping = True  # an exception in the middle of pika would leave half a frame behind

    def _connect_and_use(self) -> None:
        if self.is_done():
            return
        self._connection = connection = self.broker.connect()
        try:
            while not self._use_until_pause(connection):
                pass
        except Exception as error:
            self._close()
            if getattr(error, "reply_code", None) != NOT_FOUND:
                raise
            # Try again: the next connection declares it anew.
            raise pika.exceptions.ConsumerCancelled(error.reply_text.partition(" - ")[2]) from error
        # Not after a Ctrl-C in the middle of pika: it would wait for an answer for ever.
        self._close()

    def _use_until_pause(self, connection: pika.BlockingConnection) -> bool:
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            self.use(channel)
        except Pause as pause:
            say("!", f"{pause}; trying again in {pause.seconds:g} s")
            channel.close()  # what we hold goes back to the head of its queue
            end = time.monotonic() + pause.seconds
            while not self.stopping and (left := end - time.monotonic()) > 0:
                connection.sleep(min(left, TICK))
        return self.is_done()

    def _close(self) -> None:
        with contextlib.suppress(pika.exceptions.AMQPError):
            self._connection.close()
        self._connection = None
