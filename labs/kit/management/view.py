"""Draw a snapshot of the queues, as tables or as a whole screen."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from kit.cli import clean
from kit.management.poller import HISTORY, Snapshot

FIGURES = {"ready", "unacked", "consumers", "in/s", "out/s", "prefetch"}  # never cut
NARROW = 60  # cells; narrower panes show no rates
BARS = "▁▂▃▄▅▆▇█"
FEWEST_BARS = 16  # the width of their title
UNLIMITED = 10_000  # cells or lines, for output that need not fit a pane
UNKNOWN = "unacknowledged, rates and consumers are not known"
NAMELESS = "the queues are not known: name them (labs/watch.py QUEUE)"


class View:
    """Draws the snapshots of one broker, taken every `interval` seconds, for a console."""

    def __init__(self, console: Console, where: str, interval: float) -> None:
        self.console, self.where, self.interval = console, clean(where), interval

    def screen(self, snapshot: Snapshot, silence: str, how_to_quit: str) -> RenderableType:
        """Return a whole screen; `silence` is the result of silence()."""
        title = Text(self.where, "bold", no_wrap=True, overflow="ellipsis")
        notes = [title.append(f"  {how_to_quit}", "not bold dim")]
        if silence:
            notes.append(Text(silence, "bold red"))
        elif snapshot.page_trouble:
            what = UNKNOWN if snapshot.queues else NAMELESS
            notes.append(Text(f"{what}: {snapshot.page_trouble}", "yellow"))
        height = self.console.height - len(self.console.render_lines(Group(*notes)))
        tables = Group(*self.tables(snapshot, height))
        return Group(*notes, Styled(tables, "dim" if silence else ""))

    def silence(self, snapshot: Snapshot) -> str:
        """Return a line if the broker is away or does not answer, or else ""."""
        seconds = time.monotonic() - snapshot.since
        if snapshot.away:
            return f"broker away for {seconds:.0f} s, trying again: {clean(snapshot.away)}"
        late = seconds > 2 * self.interval + 3
        return f"no answer from the broker for {seconds:.0f} s" if late else ""

    def tables(self, snapshot: Snapshot, height: int = UNLIMITED) -> list[RenderableType]:
        """Return the queues and, below them, the consumers, which get at most half the height."""
        queues, consumers = snapshot.queues, snapshot.consumers
        if not queues:
            is_empty = not (snapshot.page_trouble or snapshot.away)
            return [Text("There is no queue in this vhost")] if is_empty else []
        below = len(consumers) + 3 if consumers else 0
        rows = max(height - 1 - below, height // 2)
        parts = self._queues(snapshot, rows)
        if consumers:
            rows_left = height - 1 - min(len(queues), rows) - 2
            listed, more = fitting(consumers, rows_left)
            columns = {
                "consumer tag": [consumer.tag for consumer in listed],
                "prefetch": [consumer.prefetch or "no limit" for consumer in listed],
                "unacked": [consumer.unacknowledged for consumer in listed],
                "queue": [consumer.queue for consumer in listed],
                "connection": [consumer.connection for consumer in listed],
            }
            parts += [Text(), table(columns), *more]
        unlisted = sum(queue.consumers or 0 for queue in queues) - len(consumers)
        if unlisted > 0 and not snapshot.page_trouble:
            what = f"{unlisted} consumer{'s' * (unlisted > 1)} not listed: new, or another user's"
            parts += [Text(), Text(what, "dim")]
        return parts

    def _queues(self, snapshot: Snapshot, rows: int) -> list[RenderableType]:
        """Return at most `rows` rows of queues, with the history of `ready` if there is room."""
        queues, more = fitting(snapshot.queues, rows)
        counted = [queue for queue in queues if not queue.note]
        not_counted = {queue.name: queue.note for queue in queues if queue.note}
        parts = []
        if counted:
            columns = {
                "queue": [queue.name for queue in counted],
                "ready": [queue.ready for queue in counted],
                "unacked": [queue.unacknowledged for queue in counted],
                "consumers": [queue.consumers for queue in counted],
            }
            if self.console.width >= NARROW:
                columns["in/s"] = [queue.in_per_second for queue in counted]
                columns["out/s"] = [queue.out_per_second for queue in counted]
            used = self.console.measure(table(columns)).maximum
            room = min(self.console.width - used - 2, HISTORY)
            if room >= FEWEST_BARS and max(map(len, snapshot.history.values())) > 1:
                title = f"ready, last {room * self.interval:g} s"
                columns[title] = [bars(snapshot.history[queue.name], room) for queue in counted]
            parts.append(table(columns))
        if not_counted:
            columns = {"queue": not_counted.keys(), "": not_counted.values()}
            parts.append(table(columns, show_header=not counted))
        return parts + more


def fitting(items: Sequence, rows: int) -> tuple[Sequence, list[Text]]:
    """Return the items that fit into `rows`, and a line that counts the others."""
    if len(items) <= rows:
        return items, []
    first = items[: max(rows - 1, 0)]
    return first, [Text(f"... and {len(items) - len(first)} more", "dim")]


def table(columns: dict[str, Iterable], show_header: bool = True) -> Table:
    """Return a table; if it is too wide, only cells without figures are cut."""
    grid = Table(box=None, pad_edge=False, header_style="dim", show_header=show_header)
    for title in columns:
        is_figure = title in FIGURES
        style = "yellow" if title == "unacked" else ""
        justify = "right" if is_figure else "left"
        grid.add_column(cell(title), justify=justify, no_wrap=is_figure, style=style)
    for row in zip(*columns.values(), strict=True):
        grid.add_row(*map(cell, row))
    return grid


def cell(value: str | float | None) -> Text:
    """Format a value for a table; it is cut with an ellipsis if it does not fit."""
    if isinstance(value, float):
        value = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    text = "-" if value is None else clean(str(value))
    return Text(text, no_wrap=True, overflow="ellipsis")


def bars(ready: Sequence[int | None], length: int) -> str:
    """Return the last counts as bars, the newest on the right, with gaps for unknown counts."""
    counts = ready[-length:]
    steps = len(BARS) - 1
    highest = max(steps, *(count or 0 for count in counts))  # one step a message if there are few
    line = [" " if count is None else BARS[-(-count * steps // highest)] for count in counts]
    return "".join(line).rjust(length)
