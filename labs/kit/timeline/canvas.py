"""A canvas of characters, with blocks and without: what the picture in the terminal is drawn on."""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

TICKS = 9  # columns from one number of the axis to the next, at least


class Glyphs(NamedTuple):
    """The characters of a picture."""

    edge: str  # a bar's first column
    done: str
    again: str  # done once more
    vain: str
    working: str  # not finished
    waiting: str
    idle: str
    gap: str
    cross: str
    redelivered: str
    upright: str
    level: str
    tick: str
    corner: str
    corners: str  # of links: right-down, down-right, right-up, up-right
    mark: str
    more: str
    levels: str  # of the queue's depth, from 1 up


BLOCKS = Glyphs("▐", "█", "▓", "▒", "▚", "░", "·", "~", "x", "r", "│", "─", "┴", "└", "╮╰╯╭", "▼",
                "…", "▁▂▃▄▅▆▇█")  # fmt: skip
ASCII = Glyphs("|", "#", "@", "%", "=", ".", "-", "~", "x", "r", "|", "-", "+", "+", "++++", "v",
               "~", "123456789")  # fmt: skip


class Canvas:
    """Cells of one width, each with a style."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[list[tuple[str, str]]] = []

    def add_row(self) -> int:
        """Add an empty row; return its number."""
        self.rows.append([(" ", "")] * self.columns)
        return len(self.rows) - 1

    def put(self, row: int, column: int, text: str, style: str = "") -> None:
        """Write a text; letters of two columns take two, and accents none."""
        cells = self.rows[row]
        for letter in text:
            wide = cell_len(letter)
            if column < 0 or column + wide > self.columns:
                return
            if wide == 0:
                cells[column - 1] = cells[column - 1][0] + letter, style
                continue
            cells[column] = letter, style
            if wide == 2:
                cells[column + 1] = "", style
            column += wide

    def put_behind(self, row: int, column: int, glyph: str, over: str) -> None:
        """Write a glyph where there is nothing but what is in `over`."""
        if self.rows[row][column][0] in f" {over}":
            self.put(row, column, glyph, "bold")

    def text(self, row: int) -> Text:
        """Return a row for rich."""
        line = Text()
        for letter, style in self.rows[row]:
            line.append(letter, style)
        return line


def tick_step(end: float, columns: int) -> float:
    """Return the seconds from one number of the axis to the next: 1, 2 or 5 times a power of 10."""
    least = end * TICKS / columns
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= least)


def can_encode(text: str, encoding: str) -> bool:
    """Tell whether an output can show a text."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def flow(entries: Sequence[str], width: int) -> list[str]:
    """Return entries as lines, as many a line as there is room for."""
    lines: list[str] = []
    for entry in entries:
        if lines and cell_len(lines[-1]) + 3 + cell_len(entry) < width:
            lines[-1] += f"   {entry}"
        else:
            lines += textwrap.wrap(entry, width - 1)
    return lines
