"""Ship log records to RabbitMQ; the program that logs never waits for it, and never fails by it.

    from rabbit_logging import RabbitHandler

    logging.getLogger("arena").addHandler(RabbitHandler())
    logging.getLogger("arena.lobby").info("Ada is here", extra={"player": 7})

A record becomes a JSON message in the durable queue of its logger's last word, here `log.lobby`.
One thread owns the connection; it connects again, and sends again what the broker did not confirm,
with the same message_id. A program that forks must make its handler after the fork. A queue of that
name with other settings ends the shipping, for all channels.
"""

import datetime
import itertools
import json
import logging
import logging.handlers
import math
import queue
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pika

from producer import OK, UNREACHABLE, BrokerError, connect, explain, say

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
LONGEST = 150  # bytes of a channel's name: with a prefix it must be a queue's, of 255 at most
WINDOW = 10_000  # records on their way, not confirmed yet
TICK = 0.05  # seconds: what has been logged meanwhile is sent together


class Message(NamedTuple):
    """A record on its way to the queue of its channel."""

    channel: str
    id: str
    body: bytes


class RabbitHandler(logging.handlers.QueueHandler):
    """Put records into a buffer, from which a thread of its own ships them.

    When the buffer is full the newest record is dropped, since the first ones tell how trouble
    began; a record of our own says how many are missing, in the place where they are. `close`,
    which logging calls at exit, ships what is left, for `flush_seconds` at most. With `fanout`
    records go to that exchange and not to queues. `broker` is as in producer.connect.
    """

    def __init__(
        self,
        *,
        fanout: str = "",
        prefix: str = "log.",
        capacity: int = 10_000,
        flush_seconds: float = 5,
        **broker,
    ) -> None:
        super().__init__(queue.Queue(capacity))
        self.flush_seconds = flush_seconds
        self.dropped: Counter[str] = Counter()  # by channel; only the logging side writes it
        self._was_full = False
        self.shipper = Shipper(self.queue, self.dropped, fanout, prefix, broker)
        self.addFilter(self._is_the_program_s)
        self.shipper.start()

    @property
    def code(self) -> int:
        """Return the exit code for a program that must not lose a record; right once closed."""
        if self.shipper.problem:
            return self.shipper.problem.code
        return UNREACHABLE if self.dropped or self.shipper.left() else OK

    def prepare(self, record: logging.LogRecord) -> Message:
        """Make a record's message now: what it speaks of may have changed when it is sent."""
        return as_message(record)

    def enqueue(self, message: Message) -> None:
        """Hand a message to the thread, or drop it."""
        if not self.shipper.stopping.is_set():
            try:
                return self.queue.put_nowait(message)
            except queue.Full:
                self._was_full = True
        self.dropped[message.channel] += 1

    def close(self) -> None:
        """Ship what is left, and say what could not be shipped."""
        if not self.shipper.stopping.is_set():
            self.shipper.stopping.set()
            self.shipper.join(self.flush_seconds)
            if left := self.shipper.left():
                within = "" if self.shipper.problem else f" within {self.flush_seconds:g} s"
                say("!", f"{left} log records not shipped{within}")
            if self.dropped:
                why = "the buffer was full" if self._was_full else "they came after the end"
                say("!", f"{self.dropped.total()} log records dropped: {why}")
        super().close()

    def _is_the_program_s(self, record: logging.LogRecord) -> bool:
        """Tell our own records from others: shipping one must not make another one to ship."""
        ours = record.thread == self.shipper.ident
        return not ours and record.name.partition(".")[0] != "pika"


class Shipper(threading.Thread):
    """The thread that owns the connection: takes messages out of the buffer until told to stop."""

    def __init__(
        self, buffer: queue.Queue, dropped: Counter[str], fanout: str, prefix: str, broker: dict
    ) -> None:
        super().__init__(name="rabbit-logging", daemon=True)
        self.stopping = threading.Event()
        self.problem: BrokerError | None = None  # why it gave up for good
        self.shipped = 0  # what the broker has confirmed
        self._buffer, self._dropped, self._said = buffer, dropped, Counter()
        self._fanout, self._prefix = fanout, prefix
        self._broker = broker | {"retry_for": math.inf}
        self._again: deque[Message] = deque()  # to be sent once more
        self._unconfirmed: dict[int, Message] = {}  # by delivery tag

    def left(self) -> int:
        """Return how many messages the broker has not confirmed yet."""
        return self._buffer.qsize() + len(self._again) + len(self._unconfirmed)

    def run(self) -> None:
        """Ship, over as many connections as it takes."""
        lost = None
        while not self._is_done():
            try:
                connection = connect(lost=lost, **self._broker)
                self._open(connection)
                while not self._is_done():
                    self._tick(connection)
                connection.close()
            except pika.exceptions.AMQPError as error:
                self._again.extendleft(reversed(self._unconfirmed.values()))
                self._unconfirmed.clear()
                full = isinstance(error, pika.exceptions.ConnectionBlockedTimeout)
                if explain(error).code != UNREACHABLE and not full:
                    return self._give_up(explain(error))
                lost = error
            except Exception as error:  # what connect() raises, or a mistake of ours
                return self._give_up(error if isinstance(error, BrokerError) else explain(error))

    def _give_up(self, problem: BrokerError) -> None:
        self.problem = problem
        say("!", f"No log records are shipped any more: {problem}")

    def _is_done(self) -> bool:
        all_said = self._said.total() == self._dropped.total()
        return self.stopping.is_set() and not self.left() and all_said

    def _open(self, connection: pika.BlockingConnection) -> None:
        # As in producer.py: a BlockingChannel would wait for each confirm. The asynchronous channel
        # inside it goes on sending meanwhile.
        self._channel = connection.channel()._impl
        self._channel.confirm_delivery(self._on_ack)
        self._channel.add_on_return_callback(self._on_return)
        self._channel.add_on_close_callback(self._on_close)
        self._tag, self._declared, self._returned = 0, set(), set()
        self._closed: Exception | None = None
        if self._fanout:
            self._channel.exchange_declare(self._fanout, "fanout", durable=True)

    def _tick(self, connection: pika.BlockingConnection) -> None:
        """Send what there is to send, and take in the broker's answers."""
        for message in itertools.islice(self._waiting(), WINDOW - len(self._unconfirmed)):
            self._publish(message)
        connection.process_data_events(time_limit=TICK)
        if self._closed:
            raise self._closed

    def _waiting(self) -> Iterator[Message]:
        """Yield the messages to send now, and behind them how many were dropped after them."""
        while self._again:
            yield self._again.popleft()
        try:
            while True:
                yield self._buffer.get_nowait()
        except queue.Empty:
            pass
        for channel, total in self._dropped.copy().items():
            if count := total - self._said[channel]:
                self._said[channel] = total
                yield note_of_dropped(channel, count)

    def _publish(self, message: Message) -> None:
        target = self._prefix + message.channel
        self._tag += 1
        self._unconfirmed[self._tag] = message  # before anything that may raise
        if not self._fanout and target not in self._declared:
            self._channel.queue_declare(target, durable=True)
            self._declared.add(target)
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=message.id
        )
        self._channel.basic_publish(
            self._fanout, target, message.body, properties, mandatory=not self._fanout
        )

    def _on_ack(self, frame: pika.frame.Method) -> None:
        last, refused = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Nack)
        tags = [last]
        if frame.method.multiple:
            tags = list(itertools.takewhile(lambda tag: tag <= last, self._unconfirmed))
        for tag in tags:
            message = self._unconfirmed.pop(tag)
            if refused or message.id in self._returned:
                self._returned.discard(message.id)
                self._again.append(message)
            else:
                self.shipped += 1

    def _on_return(self, channel, method, properties, body: bytes) -> None:
        """Remember a message that came back: its queue was deleted, and will be made anew."""
        self._returned.add(properties.message_id)
        self._declared.discard(method.routing_key)

    def _on_close(self, channel, why: Exception) -> None:
        self._closed = why


# ---- records as messages

_encode = json.JSONEncoder(default=lambda value: show(value), allow_nan=False).encode


def as_message(record: logging.LogRecord) -> Message:
    """Make the message of a record, whatever is in it."""
    whole = {
        "time": datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc).isoformat(),
        "logger": record.name,
        "level": record.levelname,
        "message": attempt(record.getMessage, f"cannot be formatted: {show(record.msg)}"),
        "fields": {key: value for key, value in vars(record).items() if key not in STANDARD},
    }
    if record.exc_info and record.exc_info[0]:
        format_exception = logging.Formatter().formatException
        whole["exception"] = attempt(lambda: format_exception(record.exc_info), "cannot be shown")
    if record.stack_info:
        whole["stack"] = record.stack_info
    try:
        text = _encode(whole)
    except Exception:  # a key that is no text, a list in itself, an endless number
        whole["fields"] = {str(key): show(value) for key, value in whole["fields"].items()}
        text = json.dumps(whole)
    channel = record.name.rpartition(".")[2].encode(errors="replace")[:LONGEST]
    channel = channel.decode(errors="ignore")
    return Message(channel, str(uuid.uuid4()), text.encode())


def note_of_dropped(channel: str, count: int) -> Message:
    """Make the message that stands where others are missing."""
    record = logging.makeLogRecord(
        {
            "name": f"rabbit_logging.{channel}",
            "levelname": "WARNING",
            "msg": f"{count} records dropped here",
            "event": "dropped",
            "count": count,
        }
    )
    return as_message(record)


def show(value: object) -> str:
    """Return what JSON has no form for as Python shows it."""
    return attempt(lambda: repr(value), f"<{type(value).__name__}>")


def attempt(make: Callable[[], str], otherwise: str) -> str:
    """Return what a function of somebody else makes, or something else where it fails."""
    try:
        return make()
    except Exception as error:
        return f"{otherwise} ({type(error).__name__})"
