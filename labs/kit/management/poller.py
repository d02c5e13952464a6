"""Ask a broker and its management page about the queues, tick after tick, through restarts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pika

from kit.amqp import Broker, BrokerError, reason
from kit.cli import UNREACHABLE, Trouble
from kit.management.api import Consumer, Page
from kit.management.counts import count

MISSING, NOT_OURS = "there is no such queue", "another connection's own"
MOST_COUNTED = 50  # queues counted one by one; for the others the page's figures must do
HISTORY = 60  # ticks
SLOW = 1.5  # seconds between questions whose answers change every 5 s
PAGE_AGAIN = 5  # seconds until a page that failed is asked again: it logs each refused login


@dataclass(frozen=True)
class Queue:
    """A queue's figures, None where one is not known; `note` says why it was not counted."""

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
    """Everything at one moment; `page_trouble` and `away` say why page and broker are silent.

    While the broker is away, the last figures stay; `since` is when they were taken.
    """

    queues: Sequence[Queue] = ()
    consumers: Sequence[Consumer] = ()
    history: dict[str, list[int | None]] = field(default_factory=dict)  # ready, by queue
    page_trouble: str = ""
    away: str = ""
    since: float = field(default_factory=time.monotonic, compare=False)


class Poller:
    """Takes a snapshot of some queues, or of all, at each tick; `latest` is the newest."""

    def __init__(self, broker: Broker, page: Page, names: Sequence[str], interval: float) -> None:
        self.broker, self.page, self.names, self.interval = broker, page, names, interval
        self.latest = Snapshot()
        self.stopping = False  # if set, snapshots() soon closes its connection and ends
        self._listed: dict[str, dict] = {}
        self._rates: dict[str, dict] = {}
        self._consumers: list[Consumer] = []
        self._page_trouble = ""
        self._ask_page_at = self._ask_details_at = 0.0

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield a snapshot at each tick; connect again when the broker was away."""
        while not self.stopping:
            try:
                with self.broker.connect() as connection:
                    while not self.stopping:
                        next_tick = time.monotonic() + self.interval
                        yield self.look(connection)
                        while time.monotonic() < next_tick and not self.stopping:
                            connection.process_data_events(time_limit=0.05)
            except (BrokerError, pika.exceptions.AMQPError, OSError) as error:
                # A broker that is booting or stopping may refuse what it accepts later.
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
        # While the page is silent, all queues are those that were there before.
        names = self.names or (before if self._page_trouble else sorted(self._listed))
        queues = [self._count(connection, name, number) for number, name in enumerate(names)]
        history = {q.name: [*before.get(q.name, []), q.ready][-HISTORY:] for q in queues}
        # A consumer that has just gone may still be on the page.
        consumed = {queue.name for queue in queues if queue.consumers != 0}
        consumers = [consumer for consumer in self._consumers if consumer.queue in consumed]
        self.latest = Snapshot(queues, consumers, history, self._page_trouble)
        return self.latest

    def _ask_page(self) -> None:
        """Ask the page for what it knows: live counts at each tick, the rest less often."""
        now = time.monotonic()
        if now < self._ask_page_at:
            return
        try:
            self._listed, self._page_trouble = self.page.queues(), ""
            if now >= self._ask_details_at:
                self._rates, self._consumers = self.page.rates(), self.page.consumers()
                self._ask_details_at = now + SLOW
        except Trouble as error:
            self._listed, self._rates, self._consumers = {}, {}, []
            self._page_trouble, self._ask_page_at = str(error), now + PAGE_AGAIN

    def _count(self, connection: pika.BlockingConnection, name: str, number: int) -> Queue:
        """Count a queue, and take from the page what the broker itself does not say."""
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
        if listed.get("type") != "stream":  # the broker counts none of its readers
            figures["consumers"] = consumers
        return Queue(name, **figures)
