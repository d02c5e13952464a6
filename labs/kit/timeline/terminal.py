"""Draw a scene across the width of the terminal; each column is a slice of time."""

import math
import os
import sys

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from kit.timeline.scene import LEGEND, Panel, Scene, Shape
from kit.timeline.words import fitting, headline, lines_below, notes, wrap

PIPED, NARROWEST = 100, 40  # columns: without a terminal, and at least
TICKS = 9  # columns between two numbers on the axis, at least
SAMPLES = {  # the kinds of shapes: first character, and the one that is repeated
    "done": "▐█", "again": "▐▓", "vain": "▐▒", "working": "▐▚", "waiting": "░░", "cross": "x",
    "redelivered": "r", "arrow": "─╮", "idle": "··", "gap": "~~",
}  # fmt: skip
STYLES = {
    "done": "cyan", "again": "magenta", "vain": "red", "working": "yellow", "waiting": "dim",
    "cross": "bold red", "redelivered": "bold", "idle": "dim", "gap": "red",
}  # fmt: skip
TURNS = "╰╯╭╮"  # joining a line from above with right and left, then one from below
DEPTH = "▁▂▃▄▅▆▇█"
TO_ASCII = str.maketrans("▐│─┴└▼…╰╯╭╮▁▂▃▄▅▆▇█▓▒▚░·", "||-++v~++++1234567#@%=.-")


class Picture:
    """A run as rows of cells, each a character and its style."""

    def __init__(self, panel: Panel, scene: Scene, width: int) -> None:
        self.panel, self.scene = panel, scene
        names = [lane.worker for run in scene.runs for lane in run.lanes]
        self.label_width = min(width // 3, max([5, *map(cell_len, names)]))
        self.columns = width - self.label_width - 2
        self.cells: list[list[tuple[str, str]]] = []
        self.labels: list[str] = []
        self._draw_limits()
        self._draw_lanes()
        self._draw_depth()
        self._draw_axis()

    def lines(self) -> list[Text]:
        """Return the rows, each after its label."""
        lines = []
        for label, cells in zip(self.labels, self.cells, strict=True):
            if cell_len(label) > self.label_width:  # cut the start: names differ at the end
                label = "…" + label[1 - self.label_width :]
            line = Text.assemble(set_cell_size(label, self.label_width) + " ", *cells)
            line.rstrip()
            lines.append(line)
        return lines

    def column(self, time: float) -> int:
        """Return the column of a time; the end of the axis is one column past the last."""
        return max(0, min(self.columns, int(time / self.scene.end * self.columns + 1e-9)))

    def add_row(self, label: str = "") -> int:
        """Add an empty row; return its number."""
        self.cells.append([(" ", "")] * self.columns)
        self.labels.append(label)
        return len(self.cells) - 1

    def put(self, row: int, column: int, text: str, style: str = "") -> None:
        """Write a text; wide letters take two cells, and combining accents none."""
        cells = self.cells[row]
        for letter in text:
            wide = cell_len(letter)
            if column + wide > self.columns:
                return
            if wide == 0:
                cells[column - 1] = cells[column - 1][0] + letter, style
            else:
                cells[column : column + wide] = [(letter, style)] + [("", style)] * (wide - 1)
            column += wide

    def _draw_limits(self) -> None:
        for time, text in reversed(self.panel.limits):
            row, column = self.add_row(), max(0, self.column(time) - 1)
            begin = column - len(text) - 1
            line = f"{text} ▼" if begin >= 0 else f"▼ {text}"
            self.put(row, begin if begin >= 0 else column, line, "bold")

    def _draw_lanes(self) -> None:
        panel, top = self.panel, len(self.cells)
        for _ in panel.rows:
            self.add_row()
        for begin, end in panel.outages:
            for row in range(len(panel.rows)):
                self._draw_shape(top, Shape("gap", begin, end, row))
        for shape in (shape for shape in panel.shapes if shape.kind in ("idle", "gap")):
            self._draw_shape(top, shape)
        for places in panel.arrows:
            self._draw_arrow(top, places)
        for shape in (shape for shape in panel.shapes if shape.kind not in ("idle", "gap")):
            self._draw_shape(top, shape)
        for lane, first, last in panel.strips:
            self.labels[top + first] = lane.worker
            self._write_notes(top + last, notes(lane, panel.run.end))

    def _draw_shape(self, top: int, shape: Shape) -> None:
        row, sample, style = top + shape.row, SAMPLES[shape.kind], STYLES[shape.kind]
        begin, end = self.column(shape.begin), self.column(shape.end) - 1
        begin = max(0, end) if shape.kind == "cross" else min(begin, self.columns - 1)
        end = max(begin, end)
        self.put(row, begin, sample[0] + sample[-1] * (end - begin), style)
        if shape.text:
            self.put(row, begin + 1, fitting(shape.text, end - begin - bool(shape.word)), style)

    def _draw_arrow(self, top: int, places: list[tuple[float, float]]) -> None:
        """Draw an arrow from a row to a track, along the track, and on to the other row."""
        (begin, origin), (_, track), _, (end, target) = places
        begin, end = (min(self.column(time), self.columns - 1) for time in (begin, end))
        track = top + int(track)
        first, last = min(begin, end), max(begin, end)
        self.put(track, first, "─" * (last - first))
        for column, row in ((begin, top + origin), (end, top + target)):
            turn = TURNS[2 * (row > track) + (column == last)]
            self.put(track, column, turn if first < last else "│")
            for between in range(min(row, track) + 1, max(row, track)):
                self.put(between, column, "│")

    def _write_notes(self, row: int, parts: list[str]) -> None:
        """Write how busy a worker was and, if there is room, its options, clear of any arrow."""
        line = "".join(letter for letter, _ in [(" ", ""), *self.cells[row], (" ", "")])
        text = ", ".join(parts)
        if " " * (len(text) + 2) not in line:
            text = parts[0]
        self.put(row, max(0, line.find(" " * (len(text) + 2))), text)

    def _draw_depth(self) -> None:
        depth, most = self.panel.depth(self.columns), max(self.scene.most_messages, len(DEPTH))
        for number, name in enumerate(("ready", "held")):
            if name == "ready" and not self.panel.run.knows_queue:
                continue
            row = self.add_row(name)
            for column, counts in enumerate(depth):
                if counts[number]:
                    self.put(row, column, DEPTH[math.ceil(counts[number] * len(DEPTH) / most) - 1])

    def _draw_axis(self) -> None:
        line, numbers = self.add_row(), self.add_row("s")
        self.put(line, 0, "└" + "─" * (self.columns - 1))
        least = self.scene.end * TICKS / self.columns
        power = 10.0 ** math.floor(math.log10(least))
        step = next(power * times for times in (1, 2, 5, 10) if power * times >= least)
        for number in range(int(self.scene.end / step + 1e-9) + 1):
            column = min(self.column(number * step), self.columns - 1)
            text = f"{number * step:.10g}"
            self.put(line, column, "┴" if number else "└")
            self.put(numbers, min(column, self.columns - len(text)), text)


def draw(scene: Scene, console: Console) -> None:
    """Print the runs one below the other, then the legend and the figures."""
    width = max(NARROWEST, console.width)
    lines = [Text(line, "bold") for line in wrap(scene.title, width - 1)] if scene.title else []
    for panel in scene.panels:
        lines += [Text(line, "bold") for line in wrap(headline(panel.run), width - 1)]
        lines += [*Picture(panel, scene, width).lines(), Text()]
    legend = [f"{SAMPLES[kind]} {LEGEND[kind]}" for kind in scene.kinds if kind in SAMPLES]
    legend += ["ready: in the queue", "held: by workers"]
    legend.append(f"{DEPTH[-1]} {max(scene.most_messages, len(DEPTH))} messages")
    for text in ["   ".join(legend), "", *lines_below(scene.runs)]:
        lines += map(Text, wrap(text, width - 1))
    for line in lines:
        console.print(line, soft_wrap=True)


def show(scene: Scene) -> None:
    """Print the picture of a scene, in ASCII if the output is not Unicode."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        draw(scene, console)
    is_unicode = console.encoding.startswith("utf")
    sys.stdout.write(capture.get() if is_unicode else capture.get().translate(TO_ASCII))
