"""What goes on in a vhost's queues: counts from the broker itself, the rest from its page.

Pulse feels them again and again in a thread of its own, through restarts of the broker.
"""

import collections
import contextlib
import copy
import itertools
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pika

from kit.amqp import Broker, BrokerError, reason
from kit.cli import REFUSED, UNREACHABLE
from kit.management.api import Page
from kit.management.counts import let_go
from kit.management.statistics import Consumer, Reader, Statistics

MISSING, NOT_OURS = "there is no such queue", "another connection's own"
MOST_COUNTED = 100  # queues counted one by one; of more, the page's figures must do
ASK_AGAIN = 3  # seconds: a refused count is an error in the broker's log, so not at each tick
SILENT = "the management page has not answered yet"
GRACE, FIRST_GRACE = 0.2, 1  # seconds that a tick waits for the page
MINUTE = 60


@dataclass(frozen=True)
class Queue:
    """A queue's figures, None where one is not known; `note` says why there are none."""

    name: str
    ready: int | None = None
    unacknowledged: int | None = None
    consumers: int | None = None
    rate_in: float | None = None
    rate_out: float | None = None
    note: str = ""
    history: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Look:
    """Everything at one moment; `trouble` is why the page, `away` why the broker is silent."""

    queues: tuple[Queue, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    trouble: str = ""
    away: str = ""
    since: float = field(default_factory=time.monotonic)  # of these figures, or without any yet


class Counter:
    """Counts queues by passive declares, which are always exact, on one channel."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self.connection = connection
        self.channel = None
        self.refused: dict[str, tuple[float, str]] = {}

    def look(self, names: Sequence[str], told: Statistics) -> list[Queue]:
        """Return the figures of the queues, completed by what the page has told."""
        return [self._queue(name, told, number) for number, name in enumerate(names)]

    def _queue(self, name: str, told: Statistics, number: int) -> Queue:
        listed, more = told.queues.get(name), told.rates.get(name, {})
        known = {
            "unacknowledged": listed and listed.get("messages_unacknowledged"),
            **dict(zip(("rate_in", "rate_out"), more.get("rates", (None, None)), strict=True)),
        }
        if listed and (listed.get("exclusive") or number >= MOST_COUNTED):
            counts = listed.get("messages_ready"), more.get("consumers")
        elif told.queues and not listed:
            counts = MISSING
        else:
            counts = self._count(name)
        if counts == MISSING:
            return Queue(name, note=MISSING)
        if isinstance(counts, str):
            return Queue(name, **known, note=counts)
        ready, consumers = counts
        if listed and listed.get("type") == "stream":  # the broker counts none of its readers
            consumers = more.get("consumers")
        return Queue(name, ready=ready, consumers=consumers, **known)

    def _count(self, name: str) -> tuple[int, int] | str:
        """Return ready messages and consumers, or why they are not to be had."""
        until, why = self.refused.get(name, (0, ""))
        if time.monotonic() < until:
            return why
        try:
            if not (self.channel and self.channel.is_open):
                self.channel = self.connection.channel()
            answer = self.channel.queue_declare(name, passive=True).method
        except pika.exceptions.ChannelClosedByBroker as error:
            says = {404: MISSING, 405: NOT_OURS}
            why = says.get(error.reply_code) or reason(error)
            let_go(self.connection)
            if "inaccessible" in error.reply_text:
                why = "its node is down"
            self.refused[name] = time.monotonic() + ASK_AGAIN, why
            return why
        return answer.message_count, answer.consumer_count


def consumers_of(queues: Sequence[Queue], told: Statistics) -> tuple[Consumer, ...]:
    """Return the consumers of the queues; those that have just gone may still be listed."""
    consumed = {queue.name for queue in queues if queue.consumers != 0}
    return tuple(one for one in told.consumers if one.queue in consumed)


class Background(threading.Thread):
    """Calls a function in a thread each time it is asked to, and keeps the last result."""

    def __init__(self, function: Callable[[], Statistics], at_first: Statistics) -> None:
        super().__init__(daemon=True)
        self.function, self.result = function, at_first
        self._asked, self._done = threading.Event(), threading.Event()
        self.start()

    def ask(self) -> None:
        """Let it be called once more; a call that goes on is that one."""
        self._done.clear()
        self._asked.set()

    def get(self, seconds: float) -> Statistics:
        """Return the newest result, waiting a moment for the one that was asked for."""
        self._done.wait(seconds)
        return self.result

    def run(self) -> None:
        """Wait to be asked, for ever."""
        while self._asked.wait():
            self._asked.clear()
            try:
                self.result = self.function()
            except Exception as error:  # of a page that tells what we do not understand
                self.result = Statistics(trouble=f"the management page: {error!r}")
            self._done.set()


class Pulse(threading.Thread):
    """Looks at the queues at every tick on one kept connection; `latest` is the newest look.

    `tell` is called after each, in this thread. `error` is what ended it, if something did.
    """

    def __init__(
        self,
        broker: Broker,
        page: Page,
        names: Sequence[str],
        interval: float,
        tell: Callable[[], None],
    ) -> None:
        super().__init__(daemon=True)
        self.broker = copy.copy(broker)  # each loop has its own
        self.names, self.interval, self.tell = names, interval, tell
        self.page = Background(Reader(page).look, Statistics(trouble=SILENT))
        self.latest: Look | None = None
        self.error: BaseException | None = None
        self.stopping = threading.Event()
        self._connection: pika.BlockingConnection | None = None
        self._history: dict[str, collections.deque] = {}

    def run(self) -> None:
        """Look until stopped, connecting again whenever the broker comes back."""
        been_there = False
        try:
            while not self.stopping.is_set():
                try:
                    self._connection = self.broker.connect()
                    been_there = True
                    self._leave_a_gap()
                    self._look_on(Counter(self._connection))
                except BrokerError as error:
                    # A broker that is just booting or stopping may refuse what it lets in later.
                    if error.code != UNREACHABLE and not been_there:
                        raise
                    self._is_away(_shortly(error), patient=error.code == REFUSED)
                except (pika.exceptions.AMQPError, OSError) as error:
                    self._is_away(reason(error))
        except BaseException as error:
            self.error = error
        self.tell()

    def stop(self) -> None:
        """End it, and the connection politely, unless that would take long."""
        self.stopping.set()
        with contextlib.suppress(Exception):
            self._connection.add_callback_threadsafe(lambda: None)  # wakes it
        self.join(0.5)

    def _look_on(self, counter: Counter) -> None:
        """Look at each tick, until stopped or the connection breaks."""
        for tick in itertools.count(1):
            began = time.monotonic()
            self.page.ask()
            told = self.page.get(GRACE if tick > 1 else FIRST_GRACE)
            queues = self._remember(counter.look(self.names or self._all(told), told))
            self.latest = Look(queues, consumers_of(queues, told), told.trouble)
            self.tell()
            end = began + self.interval
            while not self.stopping.is_set() and (left := end - time.monotonic()) > 0:
                self._connection.process_data_events(time_limit=left)
            if self.stopping.is_set():
                return self._connection.close()

    def _all(self, told: Statistics) -> list[str]:
        """Return all queues of the vhost; those last seen while the page does not tell."""
        return list(self._history) if told.trouble else sorted(told.queues)

    def _remember(self, queues: list[Queue]) -> tuple[Queue, ...]:
        """Return the queues with the history of their ready messages, which goes on."""
        length = max(1, min(MINUTE, round(MINUTE / self.interval)))
        before = self._history
        self._history = {
            queue.name: collections.deque(before.get(queue.name, ()), length) for queue in queues
        }
        for queue in queues:
            self._history[queue.name].append(queue.ready)
        return tuple(
            Queue(**vars(queue) | {"history": tuple(self._history[queue.name])}) for queue in queues
        )

    def _is_away(self, why: str, patient: bool = False) -> None:
        """Note that the broker is away, keep the last figures, and wait before the next try."""
        last = self.latest or Look()
        since = last.since if last.away else time.monotonic()
        self.latest = Look(last.queues, last.consumers, last.trouble, why, since)
        self.tell()
        self.stopping.wait(5 if patient else 0.5)

    def _leave_a_gap(self) -> None:
        """Let the history show how long the broker was away."""
        if self.latest and self.latest.away:
            missed = (time.monotonic() - self.latest.since) / self.interval
            for line in self._history.values():
                line.extend([None] * min(MINUTE, round(missed)))


def _shortly(error: BrokerError) -> str:
    """Return why a broker cannot be reached without saying again which."""
    inner = re.fullmatch(r"cannot reach .*? \((.*)\)", str(error))
    return inner[1] if inner else str(error)
