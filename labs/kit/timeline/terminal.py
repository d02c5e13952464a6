"""Draw runs in the terminal with rich, as wide as it is: a column is a piece of time."""

import math
import os
import sys
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from kit.timeline import scene as scene
from kit.timeline.canvas import ASCII, BLOCKS, Canvas, can_encode, flow, tick_step
from kit.timeline.figures import in_seconds, in_words
from kit.timeline.journal import Bar
from kit.timeline.run import Lane, Run

PIPED, NARROWEST = 100, 40  # columns
STYLES = {"done": "cyan", "again": "magenta", "vain": "red", "working": "yellow"}
MEANINGS = {
    "done": "working, done",
    "again": "done once more",
    "vain": "worked on in vain",
    "working": "not finished",
    "waiting": "waiting at the worker (2: two of them)",
    "cross": "lost, returned, failed or killed",
    "redelivered": "redelivered",
    "link": "to who got it next",
    "idle": "nothing to do",
    "gap": "no connection",
}


class Picture:
    """One run in the terminal; `lines` is what to print."""

    def __init__(self, run: Run, runs: Sequence[Run], width: int, encoding: str) -> None:
        self.run, self.width, self.encoding = run, max(NARROWEST, width), encoding
        self.glyphs = BLOCKS if can_encode("".join(BLOCKS), encoding) else ASCII
        self.crowded = scene.is_crowded(runs)
        self.now = scene.last_moment(runs)
        self.peaks = {  # of all runs: one scale for those that are compared
            name: max((getattr(step, name) or 0 for one in runs for step in one.depth), default=0)
            for name in ("ready", "held")
        }
        names = [cell_len(self.safe(lane.worker)) for one in runs for lane in one.lanes]
        self.label = min(max([5, *names]), self.width // 5)
        self.columns = self.width - self.label - 2
        self.canvas = Canvas(self.columns)
        self.labels: dict[int, str] = {}
        self.used: set[str] = set()
        self.row_of: dict[int, int] = {}  # of each lane
        self.space_below: dict[int, int] = {}
        self._draw()

    def safe(self, text: str) -> str:
        """Return a text that the terminal can show and that does nothing to it."""
        text = scene.plain(text)
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def column(self, time: float) -> int:
        """Return the column of a time."""
        return min(self.columns - 1, max(0, int(time / self.now * self.columns)))

    def _draw(self) -> None:
        self._draw_marks()
        for lane in self.run.lanes:
            self._draw_lane(lane)
        if not self.crowded:
            for link in self.run.links:
                self._draw_link(link)
        self._draw_depth()
        self._draw_axis()

    def _draw_marks(self) -> None:
        """Tell above the lanes where the work was done, and could have been done."""
        f, row = self.run.figures, self.canvas.add_row()
        every = "all" if f.worked == f.tasks else "last"
        for time, what in ((f.bound, "shortest possible"), (f.finish, f"{every} done")):
            if time is None or time > self.now * 1.001:
                continue
            text, column = f"{what} {in_seconds(time)} ", self.column(time)
            begin = column - len(text)
            if begin < 0:
                text, begin = f" {text.strip()}", column + 1
            cells = range(max(0, begin - 1), min(self.columns, begin + len(text) + 1))
            if any(self.canvas.rows[row][cell][0] != " " for cell in cells):
                row = self.canvas.add_row()
            self.canvas.put(row, begin, text, "bold")
            self.canvas.put(row, column, self.glyphs.mark, "bold")

    def _draw_lane(self, lane: Lane) -> None:
        row = self.canvas.add_row()
        self.labels[row] = self.safe(lane.worker)
        self.row_of.update((id(bar), row) for bar in lane.bars)
        self._draw_life(lane, row)
        # What must not be missed is drawn last.
        order = {id(bar): (bar.outcome in scene.IN_VAIN, bar.redelivered) for bar in lane.bars}
        for bar in sorted(lane.bars, key=lambda bar: order[id(bar)]):
            self._draw_bar(bar, row)
        for life in lane.lives:
            if life.killed and life.ended <= self.now:
                self.canvas.put(row, max(0, self.column_of_end(life.ended)), self.glyphs.cross,
                                "bold red")  # fmt: skip
                self.used.add("cross")
        if self.crowded:
            return
        self._draw_waits(lane)
        self.space_below[row] = self.canvas.add_row()

    def _draw_life(self, lane: Lane, row: int) -> None:
        for life in lane.lives:
            end = self.now if life.ended is None else life.ended
            for column in range(self.column(life.started), self.column(end) + 1):
                self.canvas.put(row, column, self.glyphs.idle, "dim")
                self.used.add("idle")
        for begin, end in lane.gaps:
            until = self.now if end is None else end
            for column in range(self.column(begin), self.column(until) + 1):
                self.canvas.put(row, column, self.glyphs.gap, "red")
                self.used.add("gap")

    def column_of_end(self, end: float) -> int:
        """Return the last column of what ends then."""
        return min(self.columns, math.ceil(end / self.now * self.columns - 1e-9)) - 1

    def _draw_bar(self, bar: Bar, row: int) -> None:
        span = scene.work_span(bar, self.now)
        if not span:
            return
        name = scene.style_of(bar)
        style, glyph = STYLES[name], getattr(self.glyphs, name)
        begin = self.column(span[0])
        end = max(begin, self.column_of_end(span[1]))
        self.used.add(name)
        self.canvas.put(row, begin, self.glyphs.edge + glyph * (end - begin), style)
        if bar.redelivered:
            self.canvas.put(row, begin, self.glyphs.redelivered, "bold")
            self.used.add("redelivered")
        in_vain = bar.outcome in scene.IN_VAIN
        room = end - begin - in_vain
        if not self.crowded and (text := self.fitting(bar.message, room)):
            self.canvas.put(row, begin + 1, text, f"{style} reverse")
        if in_vain:
            self.canvas.put(row, end, self.glyphs.cross, "bold red")
            self.used.add("cross")

    def fitting(self, message: str, room: int) -> str:
        """Return as much of a message as `room` columns can take, "" if that says nothing."""
        text = self.safe(message)
        if cell_len(text) <= room:
            return text
        return set_cell_size(text, room - 1).rstrip() + self.glyphs.more if room >= 4 else ""

    def _draw_waits(self, lane: Lane) -> None:
        """Draw in a row of its own how many wait at the worker."""
        counts = [0] * self.columns
        for wait in scene.find_waits(lane, self.now, self.now / self.columns, 1):
            begin, end = self.column(wait.begin), self.column_of_end(wait.end)
            for column in range(begin, end + 1):
                counts[column] += 1
        if not any(counts):
            return
        self.used.add("waiting")
        row, before = self.canvas.add_row(), 0
        for column, count in enumerate(counts):
            if count:
                self.canvas.put(row, column, self.glyphs.waiting, "dim")
        for column, count in enumerate(counts):
            if count and count != before:
                self.canvas.put(row, column, str(count))
            before = count
        for bar in lane.bars:
            if bar.gone and bar.begun is None:
                self.canvas.put(row, max(0, self.column_of_end(bar.end)), self.glyphs.cross,
                                "bold red")  # fmt: skip
                self.used.add("cross")

    def _draw_link(self, link) -> None:
        """Draw the way of a message: down or up to the free row above its next worker, and over."""
        end = link.lost.released if link.lost.end is None else link.lost.end
        above, below = self.row_of[id(link.lost)], self.row_of[id(link.again)]
        begin = link.again.received if link.again.begun is None else link.again.begun
        start, stop = self.column_of_end(end), self.column(begin)
        start = max(0, start)
        self.used.add("link")
        g, waiting = self.glyphs, self.glyphs.waiting
        # The row that runs along: below the one that lost it, so that texts stay free.
        via = self.space_below[above] if above <= below else self.space_below[below]
        free = f"{g.idle}{waiting}{g.level}{g.upright}{g.gap}"
        for row in range(min(above, via) + 1, max(above, via)):
            self.canvas.put_behind(row, start, g.upright, free)
        for row in range(min(below, via) + 1, max(below, via)):
            self.canvas.put_behind(row, stop, g.upright, free)
        if start == stop:
            self.canvas.put_behind(via, start, g.upright, free)
            return
        for column in range(min(start, stop) + 1, max(start, stop)):
            self.canvas.put_behind(via, column, g.level, free)
        right, down, up = stop > start, via < below, via > above
        first = (g.corners[1] if right else g.corners[2]) if up else (
            g.corners[3] if right else g.corners[0])  # fmt: skip
        last = (g.corners[0] if right else g.corners[3]) if down else (
            g.corners[2] if right else g.corners[1])  # fmt: skip
        self.canvas.put_behind(via, start, first, free)
        self.canvas.put_behind(via, stop, last, free)

    def _draw_depth(self) -> None:
        which = ["ready", "held"] if self.run.knows_queue else ["held"]
        for name in which:
            row = self.canvas.add_row()
            self.labels[row] = name
            values = self.depth_by_column(name)
            most = max(self.peaks[name], 1)
            levels = len(self.glyphs.levels)
            scale = 1.0 if most <= levels and self.glyphs is ASCII else levels / most
            for column, value in enumerate(values):
                if value:
                    level = max(1, min(levels, math.ceil(value * scale)))
                    self.canvas.put(row, column, self.glyphs.levels[level - 1])

    def depth_by_column(self, name: str) -> list[int]:
        """Return the highest depth within each column."""
        values, at, now = [0] * self.columns, 0, 0
        for step in self.run.depth:
            column = self.column(step.time)
            if column > at:
                values[at] = max(values[at], now)
                values[at + 1 : column] = [now] * (column - at - 1)
                # A change at the very beginning of a column leaves nothing of what was before.
                inside = step.time / self.now * self.columns - column > 0.1
                values[column] = now if inside else 0
                at = column
            now = getattr(step, name)
            values[at] = max(values[at], now)
        values[at + 1 :] = [now] * (self.columns - at - 1)
        return values

    def _draw_axis(self) -> None:
        line, numbers = self.canvas.add_row(), self.canvas.add_row()
        self.labels[numbers] = "s"
        self.canvas.put(line, 0, self.glyphs.level * self.columns)
        self.canvas.put(line, 0, self.glyphs.corner)
        step = tick_step(self.now, self.columns)
        for number in range(int(self.now / step + 1e-9) + 1):
            column = self.column(number * step)
            self.canvas.put(line, column, self.glyphs.tick if number else self.glyphs.corner)
            text = f"{number * step:.10g}"
            self.canvas.put(numbers, min(column, self.columns - len(text)), text)

    def lines(self) -> list[Text]:
        """Return the picture's rows behind the names of the workers."""
        lines = [Text(self.safe(scene.shorten(scene.title(self.run), self.width - 1)), "bold")]
        for row in range(len(self.canvas.rows)):
            label = self.labels.get(row, "")
            if cell_len(label) > self.label:
                label = set_cell_size(label, self.label - 1) + self.glyphs.more
            line = Text(set_cell_size(label, self.label) + " ")
            line.append_text(self.canvas.text(row))
            line.rstrip()
            lines.append(line)
        return lines

    def legend(self) -> list[str]:
        """Return what each character means."""
        g = self.glyphs
        samples = {
            "done": g.edge + g.done * 2, "again": g.edge + g.again * 2, "vain": g.vain * 3,
            "working": g.working * 3, "waiting": f"2{g.waiting * 2}", "cross": g.cross,
            "redelivered": g.redelivered, "link": g.level * 2 + g.corners[0], "idle": g.idle * 3,
            "gap": g.gap * 3,
        }  # fmt: skip
        return [f"{samples[name]} {MEANINGS[name]}" for name in MEANINGS if name in self.used]

    def depth_legend(self) -> list[str]:
        """Return what the two last rows are."""
        peaks = [("ready", "in the queue"), ("held", "by workers")]
        return [
            f"{name}: {where}, at most {max(self.depth_by_column(name), default=0)}"
            for name, where in peaks
            if name == "held" or self.run.knows_queue
        ]


class Output(Console):
    """The terminal, or a pipe whose reader may leave."""

    def on_broken_pipe(self) -> None:
        """Leave it to the program what that means; rich would end it with an error."""
        raise BrokenPipeError


def show(runs: Sequence[Run], console: Console | None = None) -> None:
    """Print the runs one below the other, and the figures of each."""
    if console is None:
        width = None if sys.stdout.isatty() else columns_of_pipe()
        console = Output(width=width, markup=False, highlight=False, emoji=False)

    def tell(text: str, style: str = "", indent: str = "") -> None:
        room = max(NARROWEST, console.width) - 1
        for line in textwrap.wrap(text, room, subsequent_indent=indent, break_on_hyphens=False):
            console.print(Text(line, style), crop=False, no_wrap=True, overflow="ignore")

    for run in runs:
        picture = Picture(run, runs, console.width, console.encoding)
        for line in picture.lines():
            console.print(line, crop=False, no_wrap=True, overflow="ignore")
        console.print()
        entries = picture.legend() + picture.depth_legend()
        for line in flow(entries, picture.width):
            console.print(Text(line), crop=False, no_wrap=True, overflow="ignore")
        console.print()
        for line in in_words(run.figures):
            for part in flow(line.split("   "), picture.width):
                tell(part)
        for line in scene.tell_mishaps(run):
            tell(picture.safe(f"  {line}"), indent="    ")
        console.print()
    if len(runs) > 1:
        tell(Picture.safe(picture, scene.compare(runs)), "bold")


def columns_of_pipe() -> int:
    """Return how wide to draw where there is no terminal."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and 0 < int(given) < 10_000 else PIPED
