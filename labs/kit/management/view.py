"""Draw a snapshot of the queues: tables for one look, or a whole screen."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from kit.cli import clean
from kit.management.poller import HISTORY, Snapshot

FIGURES = {"ready", "unacked", "consumers", "in/s", "out/s", "prefetch"}  # other cells may be cut
NARROW = 60  # cells; panes with fewer show no rates
BARS = "▁▂▃▄▅▆▇█"
FEWEST_BARS = 16  # as many as their title needs
UNLIMITED = 10_000  # cells or lines, where there is no pane to fit into
UNKNOWN = "unacknowledged, rates and consumers are not known"
NAMELESS = "the queues are not known: name them (labs/watch.py QUEUE)"


class View:
    """Draws the snapshots of one broker, which come every `interval` seconds, for a console."""

    def __init__(self, console: Console, where: str, interval: float) -> None:
        self.console, self.where, self.interval = console, clean(where), interval

    def screen(self, snapshot: Snapshot, silence: str, how_to_quit: str) -> RenderableType:
        """Return a whole screen; `silence` is what silence() says."""
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
        """Return the line for a broker that is away or does not answer, "" while it does."""
        seconds = time.monotonic() - snapshot.since
        if snapshot.away:
            return f"broker away since {seconds:.0f} s, trying again: {clean(snapshot.away)}"
        late = seconds > 2 * self.interval + 3
        return f"no answer from the broker since {seconds:.0f} s" if late else ""

    def tables(self, snapshot: Snapshot, height: int = UNLIMITED) -> list[RenderableType]:
        """Return the queues and under them the consumers, who get half of the height at most."""
        queues, consumers = snapshot.queues, snapshot.consumers
        if not queues:
            is_empty = not (snapshot.page_trouble or snapshot.away)
            return [Text("There is no queue in this vhost")] if is_empty else []
        below = len(consumers) + 3 if consumers else 0
        rows = max(height - 1 - below, height // 2)
        parts = self._queues(snapshot, rows)
        if consumers:
            left = height - 1 - min(len(queues), rows) - 2
            shown, more = fitting(consumers, left)
            columns = {
                "consumer tag": [consumer.tag for consumer in shown],
                "prefetch": [consumer.prefetch or "no limit" for consumer in shown],
                "unacked": [consumer.unacknowledged for consumer in shown],
                "queue": [consumer.queue for consumer in shown],
                "connection": [consumer.connection for consumer in shown],
            }
            parts += [Text(), table(columns), *more]
        unlisted = sum(queue.consumers or 0 for queue in queues) - len(consumers)
        if unlisted > 0 and not snapshot.page_trouble:
            what = f"{unlisted} consumer{'s' * (unlisted > 1)} not listed: new, or another user's"
            parts += [Text(), Text(what, "dim")]
        return parts

    def _queues(self, snapshot: Snapshot, most: int) -> list[RenderableType]:
        """Return at most so many rows of queues, with the history of `ready` if there is room."""
        queues, more = fitting(snapshot.queues, most)
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
    """Return the items that fit into so many rows, and a line that counts the others."""
    if len(items) <= rows:
        return items, []
    shown = items[: max(rows - 1, 0)]
    return shown, [Text(f"... and {len(items) - len(shown)} more", "dim")]


def table(columns: dict[str, Iterable], show_header: bool = True) -> Table:
    """Return a table; where it is too wide, the cells that are no figures are cut."""
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
    """Return a value as the tables show it, cut with an ellipsis where it does not fit."""
    if isinstance(value, float):
        value = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    text = "-" if value is None else clean(str(value))
    return Text(text, no_wrap=True, overflow="ellipsis")


def bars(ready: Sequence[int | None], length: int) -> str:
    """Return the last counts as bars, the newest on the right; a gap where there is none."""
    counts = ready[-length:]
    steps = len(BARS) - 1
    highest = max(steps, *(count or 0 for count in counts))  # few messages: a step each
    line = [" " if count is None else BARS[-(-count * steps // highest)] for count in counts]
    return "".join(line).rjust(length)
