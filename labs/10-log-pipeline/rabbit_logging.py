"""Ship log records to RabbitMQ without delaying or breaking the program that logs.

    from rabbit_logging import RabbitHandler

    logging.getLogger("arena").addHandler(RabbitHandler())
    logging.getLogger("arena.lobby").info("Ada is here", extra={"player": 7})

A record becomes a JSON message in the durable queue of its logger's last word, here `log.lobby`.
One thread owns the connection; it connects again, and sends again what the broker did not confirm,
with the same message_id. A program that forks must make its handler after the fork. If a queue
of that name has other settings, the shipping ends, for all channels.
"""

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

from kit.amqp import Broker, BrokerError
from kit.cli import OK, UNEXPECTED, UNREACHABLE, say
from kit.web.relay import Outgoing, Relay

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
LONGEST = 150  # bytes of a channel's name: a queue's name, with the prefix, has 255 at most
BATCH = 100  # messages that are taken from the buffer at a time


class Message(NamedTuple):
    """A record on its way to the queue of its channel."""

    channel: str
    id: str
    body: bytes


class RabbitHandler(logging.Handler):
    """Put records into a buffer, from which a thread of its own ships them.

    When the buffer is full the newest record is dropped, as the first ones tell how trouble began;
    in its place a record of our own says how many are missing. `close`, which logging calls at
    exit, ships the rest, for `flush_seconds` at most. With `fanout` records go to that exchange and
    not to queues. `where` are the arguments of Broker.
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
        self.addFilter(self._is_from_the_program)
        self._thread = threading.Thread(target=self.shipper.run, daemon=True)
        self._thread.start()

    @property
    def code(self) -> int:
        """Return the exit code for a program that must not lose a record; call it after `close`."""
        if self.shipper.problem:
            return self.shipper.problem.code
        return UNREACHABLE if self.dropped or self.shipper.buffer else OK

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the thread, or drop it; logging calls this from one thread at a time."""
        try:
            message = as_message(record)  # now: its arguments may change before it is sent
        except Exception:
            return self.handleError(record)
        is_full = len(self.shipper.buffer) >= self.capacity
        if is_full or self.shipper.stopping:
            self.dropped[message.channel] += 1
            self._was_full |= is_full
        else:
            self.shipper.buffer.append(message)

    def close(self) -> None:
        """Ship the rest, and report how many records could not be shipped."""
        if not self.shipper.stopping:
            self.shipper.stop()
            self._thread.join(self.flush_seconds)
            if remaining := len(self.shipper.buffer):
                within = "" if self.shipper.problem else f" within {self.flush_seconds:g} s"
                say("!", f"{remaining} log records not shipped{within}")
            if self.dropped:
                why = "the buffer was full" if self._was_full else "they came after the end"
                say("!", f"{self.dropped.total()} log records dropped: {why}")
        super().close()

    def _is_from_the_program(self, record: logging.LogRecord) -> bool:
        """Leave out our own records: shipping one must not create another one to ship."""
        ours = record.thread == self._thread.ident
        return not ours and record.name.partition(".")[0] != "pika"


class Shipper(Relay):
    """Ships what is in the buffer, in a thread of its own, until told to stop.

    A message leaves the buffer when the broker has confirmed it, and not earlier.
    """

    tick = 0.05  # seconds between two looks into an empty buffer

    def __init__(self, broker: Broker, fanout: str, prefix: str, dropped: Counter[str]) -> None:
        super().__init__(broker)
        self.buffer: deque[Message] = deque()  # the handler appends, we take from the left
        self.problem: BrokerError | None = None  # why shipping ended for good
        self.shipped = 0  # what the broker has confirmed
        self._fanout, self._prefix = fanout, prefix
        self.broker.retry_for = math.inf
        self._dropped, self._noted = dropped, Counter()
        self._declared: set[str] = set()

    def run(self) -> None:
        """Ship until told to stop, or report why that is impossible."""
        try:
            super().run()
        except Exception as error:
            self.problem = BrokerError(f"{type(error).__name__}: {error}", "", UNEXPECTED)
            if isinstance(error, BrokerError):
                self.problem = error
            say("!", f"No log records are shipped any more: {self.problem}")

    def declare(self, channel) -> None:
        """Declare the exchange; the queues are declared with the first message for each."""
        self._declared.clear()
        if self._fanout:
            channel.exchange_declare(self._fanout, "fanout", durable=True)

    def publish(self, channel, message: Outgoing) -> bool:
        queue = message.routing_key
        if not self._fanout and queue not in self._declared:
            channel.queue_declare(queue, durable=True)
            self._declared.add(queue)
        return super().publish(channel, message)

    def unpublished(self) -> list[Outgoing]:
        if not self.buffer:
            self._note_dropped()
        oldest = [self.buffer[place] for place in range(min(BATCH, len(self.buffer)))]
        return [
            Outgoing(None, self._fanout, self._prefix + channel, body, id, not self._fanout)
            for channel, id, body in oldest
        ]

    def mark_published(self, message: Outgoing) -> None:
        self.buffer.popleft()
        self.shipped += 1

    def _note_dropped(self) -> None:
        """Append a message that stands for those that are missing."""
        for channel, total in self._dropped.copy().items():
            if count := total - self._noted[channel]:
                self._noted[channel] = total
                self.buffer.append(note_of_dropped(channel, count))


# ---- records as messages

_encode = json.JSONEncoder(default=lambda value: show(value), allow_nan=False).encode


def as_message(record: logging.LogRecord) -> Message:
    """Return the message of a record, whatever it contains."""
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
    except Exception:  # a key that is not a string, a list that contains itself, an infinite number
        whole["fields"] = {str(key): show(value) for key, value in whole["fields"].items()}
        text = json.dumps(whole)
    # RabbitMQ removes line ends from a queue's name, and pika would wait for the original one.
    channel = re.sub(r"[\0-\x1f\x7f]", "?", record.name.rpartition(".")[2])
    channel = channel.encode(errors="replace")[:LONGEST].decode(errors="ignore")
    return Message(channel, str(uuid.uuid4()), text.encode())


def note_of_dropped(channel: str, count: int) -> Message:
    """Return the message that stands for dropped ones."""
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
    """Return the repr of a value that JSON cannot represent."""
    return attempt(lambda: repr(value), f"<{type(value).__name__}>")


def attempt(make: Callable[[], str], otherwise: str) -> str:
    """Return the result of a function that may fail, or `otherwise` and the type of its error."""
    try:
        return make()
    except Exception as error:
        return f"{otherwise} ({type(error).__name__})"
