"""Draw a snapshot of the queues: tables for one look, or a whole screen."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from kit.cli import clean
from kit.management.poller import HISTORY, Snapshot

BARS = "▁▂▃▄▅▆▇█"
FEWEST_BARS = 16  # as many as their title needs
NARROW = 60  # cells
UNLIMITED = 10_000  # cells or lines, where there is no pane to fit into
UNKNOWN = "unacknowledged, rates and consumers are not known"
NAMELESS = "the queues are not known: name them (labs/watch.py QUEUE)"

Columns = dict[str, Callable]  # from a title to a function from an item to its cell
QUEUES: Columns = {
    "queue": lambda queue: queue.name,
    "ready": lambda queue: queue.ready,
    "unacked": lambda queue: queue.unacknowledged,
    "consumers": lambda queue: queue.consumers,
}
RATES: Columns = {  # where there is room
    "in/s": lambda queue: queue.in_per_second,
    "out/s": lambda queue: queue.out_per_second,
}
NOT_COUNTED: Columns = {"queue": lambda queue: queue.name, "": lambda queue: queue.note}
CONSUMERS: Columns = {
    "consumer tag": lambda consumer: consumer.tag,
    "prefetch": lambda consumer: consumer.prefetch or "no limit",
    "unacked": lambda consumer: consumer.unacknowledged,
    "queue": lambda consumer: consumer.queue,
    "connection": lambda consumer: consumer.connection,
}
FIGURES = {"ready", "unacked", "consumers", "in/s", "out/s", "prefetch"}  # other cells may be cut


class View:
    """Draws the snapshots of one broker, which come every `interval` seconds, for a console."""

    def __init__(self, console: Console, where: str, interval: float) -> None:
        self.console, self.where, self.interval = console, clean(where), interval

    def screen(self, snapshot: Snapshot, silence: str, how_to_quit: str) -> RenderableType:
        """Return a whole screen; `silence` is what silence() says."""
        title = Text(self.where, "bold", no_wrap=True, overflow="ellipsis")
        title.append(f"  {how_to_quit}", "not bold dim")
        notes = [title, Text(silence, "bold red")] if silence else [title]
        if snapshot.page_trouble and not silence:
            what = UNKNOWN if snapshot.queues else NAMELESS
            notes.append(Text(f"{what}: {snapshot.page_trouble}", "yellow"))
        height = self.console.height - len(self.console.render_lines(Group(*notes)))
        tables = Group(*self.tables(snapshot, height))
        return Group(*notes, Styled(tables, "dim" if silence else ""))

    def silence(self, snapshot: Snapshot) -> str:
        """Return the line for a broker that is away or does not answer, "" while it does."""
        seconds = time.monotonic() - snapshot.since
        if snapshot.away:
            return f"broker away since {seconds:.0f} s, trying again: {clean(snapshot.away)}"
        if seconds > 2 * self.interval + 3:
            return f"no answer from the broker since {seconds:.0f} s"
        return ""

    def tables(self, snapshot: Snapshot, height: int = UNLIMITED) -> list[RenderableType]:
        """Return the queues and under them the consumers, who get half of the height at most."""
        queues, consumers = snapshot.queues, snapshot.consumers
        if not queues:
            is_empty = not (snapshot.page_trouble or snapshot.away)
            return [Text("There is no queue in this vhost")] if is_empty else []
        below = len(consumers) + 3 if consumers else 0
        rows = max(height - 1 - below, height // 2)
        parts = self._queues(queues, rows, snapshot.history)
        if consumers:
            rows_left = height - 1 - min(len(queues), rows) - 2
            shown, more = fitting(consumers, rows_left)
            parts += [Text(), table(shown, CONSUMERS), *more]
        unlisted = sum(queue.consumers or 0 for queue in queues) - len(consumers)
        if unlisted > 0 and not snapshot.page_trouble:
            what = f"{unlisted} consumer{'s' * (unlisted > 1)} not listed: new, or another user's"
            parts += [Text(), Text(what, "dim")]
        return parts

    def _queues(self, queues: Sequence, rows: int, history: dict) -> list[RenderableType]:
        """Return the queues, with the history of `ready` where there is room."""
        queues, more = fitting(queues, rows)
        counted = [queue for queue in queues if not queue.note]
        not_counted = [queue for queue in queues if queue.note]
        parts = []
        if counted:
            columns = QUEUES | RATES if self.console.width >= NARROW else QUEUES
            parts = [table(counted, columns)]
            room = min(self.console.width - self.console.measure(parts[0]).maximum - 2, HISTORY)
            if room >= FEWEST_BARS and len(history[counted[0].name]) > 1:
                title = f"ready, last {room * self.interval:g} s"
                last = {title: lambda queue: bars(history[queue.name], room)}
                parts = [table(counted, columns | last)]
        if not_counted:
            parts.append(table(not_counted, NOT_COUNTED, header=not counted))
        return parts + more


def fitting(items: Sequence, rows: int) -> tuple[Sequence, list[Text]]:
    """Return the items that fit into so many rows, and a line that counts the others."""
    if len(items) <= rows:
        return items, []
    shown = items[: max(rows - 1, 0)]
    return shown, [Text(f"... and {len(items) - len(shown)} more", "dim")]


def table(items: Sequence, columns: Columns, header: bool = True) -> Table:
    """Return a table with a row for each item; names are cut where it is too wide."""
    grid = Table(box=None, pad_edge=False, header_style="dim", show_header=header)
    for title in columns:
        grid.add_column(
            cell(title),
            justify="right" if title in FIGURES else "left",
            no_wrap=title in FIGURES,  # which makes the other columns give way
            style="yellow" if title == "unacked" else "",
        )
    for item in items:
        grid.add_row(*(cell(value_of(item)) for value_of in columns.values()))
    return grid


def cell(value: str | float | None) -> Text:
    """Return a value as the tables show it, cut with an ellipsis where it does not fit."""
    if value is None:
        text = "-"
    elif isinstance(value, float) and value < 100:
        text = f"{value:.1f}"
    else:
        text = clean(value) if isinstance(value, str) else f"{value:.0f}"
    return Text(text, no_wrap=True, overflow="ellipsis")


def bars(ready: Sequence[int | None], length: int) -> str:
    """Return the last counts as bars, the newest on the right; a gap where there is none."""
    counts = ready[-length:]
    steps = len(BARS) - 1
    highest = max(steps, *(count or 0 for count in counts))  # few messages: a step each
    line = [" " if count is None else BARS[-(-count * steps // highest)] for count in counts]
    return "".join(line).rjust(length)
