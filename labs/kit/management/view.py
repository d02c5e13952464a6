"""Lays a look at the queues out for a pane: what is least important goes when there is no room."""

import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from kit.cli import clean
from kit.management.poller import MINUTE, Look, Queue
from kit.management.statistics import Consumer

GAP = "  "
BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
NARROW, NARROWEST = 20, 8  # cells that a name may have in every pane, and that it keeps
LOW = 12  # lines of a pane that has none to leave empty
SHORTEST_LINE = 8  # a history of fewer characters says nothing
STEP = 7  # up to so many messages, each is a step of the history line
UNKNOWN = "unacknowledged, rates and consumers are not known"
NAMELESS = "the queues are not known: name them (labs/watch.py QUEUE)"


@dataclass
class Column:
    """A column of a table: `worth` decides which go first, `least` how narrow it may get."""

    title: str
    cells: list[str]
    worth: int
    least: int = 0  # 0: as wide as its widest cell
    right: bool = True
    style: str = ""

    @property
    def wide(self) -> int:
        """Return the width that shows everything."""
        return max(map(cell_len, [self.title, *self.cells]))


@dataclass
class Notes:
    """Texts that stand in some rows instead of all but the first cell."""

    by_row: dict[int, str]
    wide: int = 0


class Board:
    """Draws looks as lines of at most `width` cells; a width of None is wide enough."""

    def __init__(self, where: str, interval: float, *, ascii_only: bool = False) -> None:
        self.where, self.interval, self.ascii_only = where, interval, ascii_only
        self.bars = PLAIN_BARS if ascii_only else BARS
        self.cut, self.most = ("~", "<=") if ascii_only else ("…", "≤")

    def screen(self, look: Look | None, width: int, height: int, keys: str) -> Text:
        """Return a whole screen."""
        head, pale = [self._title(width, keys)], False
        if trouble := self._silence(look):
            head += [Text(line, "bold red") for line in textwrap.wrap(trouble, width)[:2]]
            pale = True
        tail = []
        if look and look.trouble and not trouble:
            what = UNKNOWN if look.queues else NAMELESS
            lines = textwrap.wrap(f"{what}: {look.trouble}", width)
            tail = [Text()] * (height > LOW)
            tail += [Text(line, "yellow") for line in lines[: max(1, height - 8)]]
        body = self._body(look, width, height - len(head) - len(tail)) if look else []
        if pale:
            for line in body:
                line.spans, line.style = [], "dim"
        lines = (head + body + tail)[:height]
        for line in lines:
            line.truncate(width, overflow="crop" if self.ascii_only else "ellipsis")
        return Text("\n", no_wrap=True, overflow="crop", end="").join(lines)

    def tables(self, look: Look, width: int | None) -> list[Text]:
        """Return all lines of both tables, without history."""
        lines = self._queues(look.queues, width, len(look.queues), history=False)
        untold = self._untold(look)
        if look.consumers or untold:
            rows = len(look.consumers) + 1
            lines += [Text(), *self._consumers(look.consumers, width, rows, untold)]
        return lines

    def _title(self, width: int, keys: str) -> Text:
        where = clean(self.where)
        if cell_len(where) + len(GAP + keys) > width:
            return Text(self._fit(where, width), "bold")
        blank = " " * (width - cell_len(where) - len(keys))
        return Text(where, "bold").append(blank + keys, "not bold dim")

    def _silence(self, look: Look | None) -> str:
        """Return the line for a broker that is away or does not answer."""
        if not look:
            return "connecting ..."
        seconds = time.monotonic() - look.since
        if look.away:
            return f"broker away since {seconds:.0f} s, trying again: {clean(look.away)}"
        if seconds > 2 * self.interval + 3:
            return f"no answer from the broker since {seconds:.0f} s"
        return ""

    def _body(self, look: Look, width: int, height: int) -> list[Text]:
        """Share the lines among queues and consumers."""
        queues, consumers = len(look.queues), len(look.consumers)
        if not queues:
            empty = "" if look.trouble or look.away else "There is no queue in this vhost"
            return [Text(empty)]
        untold = self._untold(look)
        below = consumers + 2 + (untold > 0) if consumers or untold else 0
        if queues + 1 + below > height:
            below = min(below, max(height - queues - 1, height // 2))
            below = below if below >= 3 else 0
        lines = self._queues(look.queues, width, height - below - 1)
        if below:
            rows = below - 2
            lines += [Text(), *self._consumers(look.consumers, width, rows, untold)]
        return lines

    def _untold(self, look: Look) -> int:
        """Return how many consumers the broker counts that the page does not list."""
        counted = sum(queue.consumers or 0 for queue in look.queues)
        return 0 if look.trouble else max(0, counted - len(look.consumers))

    def _queues(
        self, queues: Sequence[Queue], width: int | None, rows: int, history: bool = True
    ) -> list[Text]:
        """Return the table of the queues in a header and `rows` lines."""
        shown = queues if len(queues) <= rows else queues[: max(rows - 1, 0)]
        columns = [
            self._names("queue", [one.name for one in shown], 9, width),
            Column("ready", [figure(one.ready) for one in shown], 8),
            Column("unacked", [figure(one.unacknowledged) for one in shown], 7, style="yellow"),
            Column("consumers", [figure(one.consumers) for one in shown], 6),
            Column("in/s", [figure(one.rate_in) for one in shown], 5),
            Column("out/s", [figure(one.rate_out) for one in shown], 4),
        ]
        notes = Notes({row: clean(one.note) for row, one in enumerate(shown) if one.note})
        columns = self._choose(columns, width)
        used = sum(one.wide for one in columns) + len(GAP) * len(columns)
        room = min((width or 0) - used, round(MINUTE / self.interval), MINUTE)
        if history and room >= SHORTEST_LINE:
            title = f"last {room * self.interval:g} s"
            title = f"ready, {title}" if room >= len(f"ready, {title}") else title
            lines = [self._line(one.history, room) for one in shown]
            columns.append(Column(title[:room], lines, 3, right=False, style="cyan"))
        return self._table(columns, width, notes) + self._more(len(queues) - len(shown))

    def _consumers(
        self, consumers: Sequence[Consumer], width: int | None, rows: int, untold: int = 0
    ) -> list[Text]:
        """Return the table of the consumers in a header and `rows` lines."""
        unlisted = "not listed: new, or another user's"
        if not consumers:
            return [Text(f"{untold} consumer{'s' * (untold > 1)} {unlisted}", "dim")]
        fits = len(consumers) + (untold > 0) <= rows
        shown = consumers if fits else consumers[: max(rows - 1, 0)]
        columns = [
            self._names("consumer tag", [one.tag for one in shown], 9, width),
            Column("prefetch", [str(one.prefetch or "no limit") for one in shown], 8),
            Column("unacked", [self._held(one) for one in shown], 7, style="yellow"),
            self._names("queue", [one.queue for one in shown], 6, width),
            self._names("connection", [one.connection for one in shown], 5, width),
        ]
        more = self._more(len(consumers) - len(shown))
        if untold and fits:
            more = [Text(f"... and {untold} more {unlisted}", "dim")]
        return self._table(self._choose(columns, width), width) + more

    def _names(self, title: str, names: list[str], worth: int, width: int | None) -> Column:
        """Return a column of names, none of which takes more than a third of the pane."""
        most = max(NARROW, width // 3) if width else None
        cells = [self._fit(clean(name), most) if most else clean(name) for name in names]
        return Column(title, cells, worth, least=NARROWEST, right=False)

    def _held(self, consumer: Consumer) -> str:
        """Return what a consumer holds; of a channel with several, each holds that at most."""
        most = self.most if consumer.sharing > 1 and consumer.unacknowledged else ""
        return most + figure(consumer.unacknowledged)

    def _more(self, count: int) -> list[Text]:
        return [Text(f"... and {count} more", "dim")] if count > 0 else []

    def _line(self, history: Iterable[int | None], length: int) -> str:
        """Return the history as a line of bars, the newest on the right."""
        values = list(history)[-length:]
        top = max([STEP, *(value for value in values if value)])
        bars = [" " if value is None else self.bars[-(-value * STEP // top)] for value in values]
        return "".join(bars).rjust(length)

    def _choose(self, columns: list[Column], width: int | None) -> list[Column]:
        """Drop columns until the others fit at their narrowest."""
        chosen = list(columns)
        while width and len(chosen) > 1:
            need = sum(min(one.least or one.wide, one.wide) + len(GAP) for one in chosen)
            if need - len(GAP) <= width:
                break
            chosen.remove(min(chosen, key=lambda one: one.worth))
        return chosen

    def _table(
        self, columns: list[Column], width: int | None, notes: Notes | None = None
    ) -> list[Text]:
        """Return a header and the rows, the text columns narrowed until all fits."""
        widths = [one.wide for one in columns]
        while width and sum(widths) + len(GAP) * (len(widths) - 1) > width:
            able = [i for i, one in enumerate(columns) if 0 < one.least < widths[i]]
            if not able:
                break
            widths[max(able, key=lambda i: widths[i])] -= 1
        header = [self._cell(one, one.title, w) for one, w in zip(columns, widths, strict=True)]
        lines = [Text(GAP.join(header).rstrip(), "dim")]
        for row in range(len(columns[0].cells)):
            lines.append(self._row(columns, widths, row))
            if notes and row in notes.by_row:
                room = (width or 1000) - widths[0] - len(GAP)
                name = self._cell(columns[0], columns[0].cells[row], widths[0])
                lines[-1] = Text(name + GAP).append(self._fit(notes.by_row[row], room), "dim")
        return lines

    def _row(self, columns: list[Column], widths: list[int], row: int) -> Text:
        line = Text()
        for number, (column, wide) in enumerate(zip(columns, widths, strict=True)):
            cell = column.cells[row]
            style = column.style if cell.strip(" -0") else ""
            line.append(GAP if number else "").append(self._cell(column, cell, wide), style or None)
        line.rstrip()
        return line

    def _cell(self, column: Column, text: str, wide: int) -> str:
        text = self._fit(text, wide)
        blank = " " * (wide - cell_len(text))
        return blank + text if column.right else text + blank

    def _fit(self, text: str, wide: int) -> str:
        """Return a text of at most so many cells, with a mark where it is cut."""
        if cell_len(text) <= wide:
            return text
        return set_cell_size(text, max(wide - 1, 0)).rstrip() + self.cut


def figure(number: float | None) -> str:
    """Return a number for a table; rates have a decimal while they are small."""
    if number is None:
        return "-"
    return f"{number:.1f}" if isinstance(number, float) and number < 100 else f"{number:.0f}"
