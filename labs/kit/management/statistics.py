"""What the management page tells of a vhost's queues and consumers, asked no more than need be."""

import collections
import time
from dataclasses import dataclass, field

from kit.cli import Trouble
from kit.management.api import Page

SLOW = 2  # seconds between questions whose answers change every 5 s
PAGE_AGAIN, LOGIN_AGAIN = 2, 10  # seconds: after a refused login later, as the broker logs it

RATES = ("publish", "deliver_get")
QUEUE_COLUMNS = "name,type,exclusive,messages_ready,messages_unacknowledged"
STATS_COLUMNS = "name,messages_unacknowledged,consumers," + ",".join(
    f"message_stats.{rate}_details.rate" for rate in RATES
)
CONSUMER_COLUMNS = (
    "queue.name,consumer_tag,prefetch_count,ack_required,"
    "channel_details.name,channel_details.connection_name"
)


@dataclass(frozen=True)
class Consumer:
    """A consumer; `unacknowledged` is what its channel holds, `sharing` the consumers in that."""

    queue: str
    tag: str
    connection: str
    prefetch: int
    unacknowledged: int | None
    sharing: int


@dataclass(frozen=True)
class Statistics:
    """What the management page tells; `trouble` is why it tells nothing."""

    queues: dict[str, dict] = field(default_factory=dict)
    rates: dict[str, dict] = field(default_factory=dict)
    consumers: tuple[Consumer, ...] = ()
    trouble: str = ""


class Reader:
    """Reads the management page: live counts at each look, the rest as often as it changes."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.next_slow = self.next_try = 0.0
        self.last = Statistics()

    def look(self) -> Statistics:
        """Return what the page tells now."""
        now = time.monotonic()
        if now < self.next_try:
            return self.last
        try:
            queues = self.page.queues(QUEUE_COLUMNS)
            rates, consumers = self.last.rates, self.last.consumers
            if now >= self.next_slow:
                rates, consumers = self._rates(), self._consumers()
                self.next_slow = now + SLOW - 0.5  # half a second, lest it miss its tick
            self.last = Statistics(queues, rates, consumers)
        except Trouble as error:
            self.last, self.next_slow = Statistics(trouble=str(error)), 0.0
            wait = LOGIN_AGAIN if "let you in" in str(error) else PAGE_AGAIN
            self.next_try = time.monotonic() + wait
        return self.last

    def _rates(self) -> dict[str, dict]:
        """Return messages in and out a second and the consumers of each queue."""
        every = {}
        for queue in self.page.get(f"queues/{{vhost}}?columns={STATS_COLUMNS}"):
            stats, known = queue.get("message_stats", {}), "messages_unacknowledged" in queue
            rates = [stats.get(f"{rate}_details", {}).get("rate") for rate in RATES]
            if known:  # it is measured: what has never happened is simply left out
                rates = [rate or 0.0 for rate in rates]
            every[queue["name"]] = {"rates": rates, "consumers": queue.get("consumers")}
        return every

    def _consumers(self) -> tuple[Consumer, ...]:
        """Return the consumers of the vhost, as far as we may see them."""
        ask = self.page.get
        listed = ask(f"consumers/{{vhost}}?columns={CONSUMER_COLUMNS}")
        listed = [one for one in listed if isinstance(one.get("channel_details"), dict)]
        channels, names = {}, {}
        if listed:
            rows = ask("vhosts/{vhost}/channels?columns=name,messages_unacknowledged")
            channels = {row["name"]: row.get("messages_unacknowledged") for row in rows}
            rows = ask("vhosts/{vhost}/connections?columns=name,user_provided_name")
            names = {row["name"]: row.get("user_provided_name") for row in rows}
        sharing = collections.Counter(one["channel_details"].get("name") for one in listed)
        consumers = []
        for one in listed:
            channel = one["channel_details"].get("name")
            line = one["channel_details"].get("connection_name", "")
            consumers.append(
                Consumer(
                    queue=one["queue"]["name"],
                    tag=one["consumer_tag"],
                    connection=str(names.get(line) or line),
                    prefetch=one["prefetch_count"],
                    unacknowledged=channels.get(channel) if one["ack_required"] else None,
                    sharing=sharing[channel],
                )
            )
        return tuple(sorted(consumers, key=lambda one: (one.queue, one.connection, one.tag)))
