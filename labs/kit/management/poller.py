"""Poll a broker and its management page about the queues, also across restarts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pika

from kit.amqp import Broker, BrokerError, reason
from kit.cli import UNREACHABLE, Trouble, closing
from kit.management.api import Consumer, Page
from kit.management.counts import count

MISSING, NOT_OURS = "there is no such queue", "exclusive to another connection"
MOST_COUNTED = 50  # queues counted exactly; the others have the page's figures only
HISTORY = 60  # ticks
DETAILS_INTERVAL = 1.5  # seconds between requests for figures that change every 5 s
PAGE_RETRY = 5  # seconds until a failed page is asked again, as it logs each refused login


@dataclass(frozen=True)
class Queue:
    """A queue's figures, None if unknown; `note` says why the queue was not counted."""

    name: str
    exists: bool = True
    ready: int | None = None
    unacknowledged: int | None = None
    consumers: int | None = None
    in_per_second: float | None = None
    out_per_second: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The state at one moment; `page_trouble` and `away` say why page or broker is silent.

    While the broker is away, the last figures stay; they were taken at `since`.
    """

    queues: Sequence[Queue] = ()
    consumers: Sequence[Consumer] = ()
    history: dict[str, list[int | None]] = field(default_factory=dict)  # ready, by queue
    page_trouble: str = ""
    away: str = ""
    since: float = field(default_factory=time.monotonic, compare=False)


class Poller:
    """Takes a snapshot of the named queues, or of all, at each tick; `latest` is the newest."""

    def __init__(self, broker: Broker, page: Page, names: Sequence[str], interval: float) -> None:
        self.broker, self.page, self.names, self.interval = broker, page, names, interval
        self.latest = Snapshot()
        self.stopping = False  # set it to make snapshots() close its connection and end
        self._listed: dict[str, dict] = {}
        self._rates: dict[str, dict] = {}
        self._consumers: list[Consumer] = []
        self._page_trouble = ""
        self._ask_page_at = self._ask_details_at = 0.0

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield a snapshot at each tick; reconnect after an outage."""
        while not self.stopping:
            try:
                with closing(self.broker.connect()) as connection:
                    while not self.stopping:
                        next_tick = time.monotonic() + self.interval
                        yield self.look(connection)
                        while time.monotonic() < next_tick and not self.stopping:
                            connection.process_data_events(time_limit=0.05)
            except (BrokerError, pika.exceptions.AMQPError, OSError) as error:
                # A booting or stopping broker may refuse a login that it accepts later.
                is_refusal = isinstance(error, BrokerError) and error.code != UNREACHABLE
                if is_refusal and not self.broker.connections:
                    raise
                why = reason(error.__cause__ or error)
                self.latest = replace(self.latest, away=why)
                yield self.latest
                time.sleep(max(self.interval, 0.5))

    def look(self, connection: pika.BlockingConnection) -> Snapshot:
        """Take one snapshot."""
        self._ask_page()
        before = self.latest.history
        # While the page is silent, "all queues" are those of the last snapshot.
        names = self.names or (before if self._page_trouble else sorted(self._listed))
        queues = [self._count(connection, name, number) for number, name in enumerate(names)]
        history = {q.name: [*before.get(q.name, []), q.ready][-HISTORY:] for q in queues}
        # The page may still list a consumer that has just gone.
        consumed = {queue.name for queue in queues if queue.consumers != 0}
        consumers = [consumer for consumer in self._consumers if consumer.queue in consumed]
        self.latest = Snapshot(queues, consumers, history, self._page_trouble)
        return self.latest

    def _ask_page(self) -> None:
        """Ask the page for live counts at each tick, and for the rest less often."""
        now = time.monotonic()
        if now < self._ask_page_at:
            return
        try:
            self._listed, self._page_trouble = self.page.queues(), ""
            if now >= self._ask_details_at:
                self._rates, self._consumers = self.page.rates(), self.page.consumers()
                self._ask_details_at = now + DETAILS_INTERVAL
        except Trouble as error:
            self._listed, self._rates, self._consumers = {}, {}, []
            self._page_trouble, self._ask_page_at = str(error), now + PAGE_RETRY

    def _count(self, connection: pika.BlockingConnection, name: str, number: int) -> Queue:
        """Count a queue, and take the other figures from the page."""
        listed = self._listed.get(name, {})
        if not (listed or self._page_trouble):
            return Queue(name, exists=False, note=MISSING)
        figures = {
            "ready": listed.get("messages_ready"),
            "unacknowledged": listed.get("messages_unacknowledged"),
            **self._rates.get(name, {}),
        }
        if listed.get("exclusive") or number >= MOST_COUNTED:
            return Queue(name, **figures)
        try:
            counted = count(connection, name)
        except pika.exceptions.ChannelClosedByBroker as error:
            return Queue(name, note=NOT_OURS if error.reply_code == 405 else reason(error))
        if not counted:
            return Queue(name, exists=False, note=MISSING)
        figures["ready"], consumers = counted
        if listed.get("type") != "stream":  # the broker does not count a stream's readers
            figures["consumers"] = consumers
        return Queue(name, **figures)
