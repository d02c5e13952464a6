"""Ship log records to RabbitMQ; the program that logs never waits for it, and never fails by it.

    from rabbit_logging import RabbitHandler

    logging.getLogger("arena").addHandler(RabbitHandler())
    logging.getLogger("arena.lobby").info("Ada is here", extra={"player": 7})

A record becomes a JSON message in the durable queue of its logger's last word, here `log.lobby`.
One thread owns the connection; it connects again, and sends again what the broker did not confirm,
with the same message_id. A program that forks must make its handler after the fork. A queue of that
name with other settings ends the shipping, for all channels.
"""

import contextlib
import copy
import datetime
import json
import logging
import math
import re
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

import pika

from kit.amqp import Broker, BrokerError
from kit.cli import OK, UNEXPECTED, UNREACHABLE, say

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
LONGEST = 150  # bytes of a channel's name: with a prefix it must be a queue's, of 255 at most
TICK = 0.05  # seconds between two looks into an empty buffer


class Message(NamedTuple):
    """A record on its way to the queue of its channel."""

    channel: str
    id: str
    body: bytes


class RabbitHandler(logging.Handler):
    """Put records into a buffer, from which a thread of its own ships them.

    When the buffer is full the newest record is dropped, since the first ones tell how trouble
    began; a record of our own says how many are missing, in the place where they are. `close`,
    which logging calls at exit, ships what is left, for `flush_seconds` at most. With `fanout`
    records go to that exchange and not to queues. `where` is what Broker takes.
    """

    def __init__(
        self,
        *,
        fanout: str = "",
        prefix: str = "log.",
        capacity: int = 10_000,
        flush_seconds: float = 10,
        broker: Broker | None = None,
        **where,
    ) -> None:
        super().__init__()
        self.capacity, self.flush_seconds = capacity, flush_seconds
        self.dropped: Counter[str] = Counter()  # by channel; only the logging side writes it
        self._was_full = False
        broker = copy.copy(broker) if broker else Broker(**where)
        self.shipper = Shipper(broker, fanout, prefix, self.dropped)
        self.addFilter(self._is_the_program_s)
        self.shipper.start()

    @property
    def code(self) -> int:
        """Return the exit code for a program that must not lose a record; right once closed."""
        if self.shipper.problem:
            return self.shipper.problem.code
        return UNREACHABLE if self.dropped or self.shipper.buffer else OK

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the thread, or drop it; logging lets in one thread at a time."""
        try:
            message = as_message(record)  # now: what it speaks of may change until it is sent
        except Exception:
            return self.handleError(record)
        is_full = len(self.shipper.buffer) >= self.capacity
        if is_full or self.shipper.stopping.is_set():
            self.dropped[message.channel] += 1
            self._was_full |= is_full
        else:
            self.shipper.buffer.append(message)

    def close(self) -> None:
        """Ship what is left, and say what could not be shipped."""
        if not self.shipper.stopping.is_set():
            self.shipper.stopping.set()
            self.shipper.join(self.flush_seconds)
            if left := len(self.shipper.buffer):
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
    """The thread that owns the connection: ships what is in the buffer until told to stop.

    A message leaves the buffer when the broker has confirmed it, and not earlier.
    """

    def __init__(self, broker: Broker, fanout: str, prefix: str, dropped: Counter[str]) -> None:
        super().__init__(name="rabbit-logging", daemon=True)
        self.buffer: deque[Message] = deque()  # the handler appends, we take from the left
        self.stopping = threading.Event()
        self.problem: BrokerError | None = None  # why it gave up for good
        self.shipped = 0  # what the broker has confirmed
        self._broker, self._fanout, self._prefix = broker, fanout, prefix
        self._broker.retry_for = math.inf
        self._dropped, self._noted = dropped, Counter()

    def run(self) -> None:
        """Ship, over as many connections as it takes."""
        try:
            self._broker.keep_trying(self._ship)
        except BrokerError as error:
            self._give_up(error)
        except Exception as error:  # a mistake of ours
            self._give_up(BrokerError(f"{type(error).__name__}: {error}", "", UNEXPECTED))

    def _give_up(self, problem: BrokerError) -> None:
        self.problem = problem
        say("!", f"No log records are shipped any more: {problem}")

    def _ship(self) -> None:
        """Ship over a new connection until all is done; raises pika's errors."""
        if self._is_done():
            return
        connection = self._broker.connect()
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            self._declared: set[str] = set()
            if self._fanout:
                channel.exchange_declare(self._fanout, "fanout", durable=True)
            while not self._is_done():
                if not self.buffer:
                    self._note_what_was_dropped()
                if not self.buffer or not self._publish(channel, self.buffer[0]):
                    connection.process_data_events(time_limit=TICK)  # heartbeats, too
        finally:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def _is_done(self) -> bool:
        noted = self._noted.total() == self._dropped.total()
        return self.stopping.is_set() and not self.buffer and noted

    def _publish(self, channel, message: Message) -> bool:
        """Publish the first message of the buffer; return whether the broker has it."""
        target = self._prefix + message.channel
        if not self._fanout and target not in self._declared:
            channel.queue_declare(target, durable=True)
            self._declared.add(target)
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=message.id
        )
        try:  # basic_publish returns when the broker has confirmed it
            channel.basic_publish(
                self._fanout, target, message.body, properties, mandatory=not self._fanout
            )
        except pika.exceptions.UnroutableError:  # its queue was deleted, and is made anew
            self._declared.discard(target)
            return False
        except pika.exceptions.NackError:  # the queue is full, perhaps
            return False
        self.buffer.popleft()
        self.shipped += 1
        return True

    def _note_what_was_dropped(self) -> None:
        """Put a message where others are missing."""
        for channel, total in self._dropped.copy().items():
            if count := total - self._noted[channel]:
                self._noted[channel] = total
                self.buffer.append(note_of_dropped(channel, count))


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
    # RabbitMQ takes line ends out of a queue's name, and pika would wait for the old one.
    channel = re.sub(r"[\0-\x1f\x7f]", "?", record.name.rpartition(".")[2])
    channel = channel.encode(errors="replace")[:LONGEST].decode(errors="ignore")
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
