"""Read a worksheet: its steps, and their blocks of text to type or to expect.

`read` parses a Markdown file. A fenced block that names a pane after its language is played; one
that names none is an illustration. `find` looks for the lines of a text block among the lines of
a pane, and reports the first missing one.
"""

import contextlib
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

from kit.cli import KIT, UNEXPECTED, USAGE, Trouble

LABS = KIT / "labs"
ANY = "…"
KINDS = {
    "console": "typed into the pane's shell",
    "python": "typed into ipython in that pane",
    "keys": "pressed in the pane",
    "text": "must appear in the pane",
}


class BadPage(Trouble):
    """Raised for a worksheet that cannot be played as it is written."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint, UNEXPECTED)


@dataclass(frozen=True)
class Block:
    """A fenced block that is played: its kind, pane, lines, and place in the file."""

    kind: str
    pane: str
    lines: tuple[str, ...]
    file: Path
    line: int  # of its first line, counted from 1

    def place(self, offset: int = 0) -> str:
        """Return FILE:LINE of one of its lines, in the form that editors accept."""
        file = self.file
        with contextlib.suppress(ValueError):
            file = file.resolve().relative_to(Path.cwd())
        return f"{file}:{self.line + offset}"


@dataclass
class Step:
    """A part of the page, from one second-level heading to the next."""

    title: str
    line: int
    text: str = ""
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Worksheet:
    """A whole page; its first step is the head, which usually has nothing to play."""

    file: Path
    title: str
    steps: list[Step]

    @property
    def blocks(self) -> list[Block]:
        return [block for step in self.steps for block in step.blocks]

    @property
    def panes(self) -> list[str]:
        """The names of the panes, in the order of their first use."""
        return list(dict.fromkeys(block.pane for block in self.blocks))

    @property
    def commands(self) -> str:
        """All lines that are typed into shells."""
        return "\n".join(line for b in self.blocks if b.kind == "console" for line in b.lines)

    @property
    def queues(self) -> set[str]:
        """The queues that the commands name with --queue."""
        return set(re.findall(r"--queue ([\w-]+)", self.commands))

    @property
    def breaks_the_broker(self) -> bool:
        """True if the page calls labs/broker.py, and so may stop or kill its broker."""
        return "labs/broker.py" in self.commands


def find_page(lab: str) -> Path:
    """Return the worksheet of a lab: its number, its name, or a path. Raises Trouble."""
    for path in (Path(lab), LABS / lab):
        if path.is_file():
            return path
        if (path / "README.md").is_file():
            return path / "README.md"
    every = sorted(LABS.glob("[0-9]*/README.md"))
    numbers = {int(page.parent.name.split("-")[0]): page for page in every}
    if lab.isdigit() and int(lab) in numbers:
        return numbers[int(lab)]
    names = ", ".join(page.parent.name for page in every) or "none yet"
    raise Trouble(f"there is no lab {lab!r}", f"one of these: {names}", USAGE)


def read(file: Path) -> Worksheet:
    """Read a worksheet. Raises Trouble if there is none, BadPage if it cannot be played."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise Trouble(f"cannot read {file}: {error.strerror}", code=USAGE) from None
    return parse(text, file)


def parse(text: str, file: Path) -> Worksheet:
    """Parse Markdown into a worksheet. Raises BadPage."""
    title, steps = "", [Step("", 1)]
    source = text.splitlines()
    tokens = MarkdownIt("commonmark").parse(text)
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and token.level == 0:
            if token.tag == "h1":
                title = title or after.content
            if token.tag == "h2":
                steps.append(Step(after.content, token.map[0] + 1))
        if token.type == "fence" and (block := _block(token, file)):
            steps[-1].blocks.append(block)
    for step, after in zip(steps, [*steps[1:], Step("", len(source) + 1)], strict=True):
        step.text = "\n".join(source[step.line - 1 : after.line - 1])
    steps[0].title = title
    page = Worksheet(file, title, steps)
    if not page.blocks:
        raise BadPage(f"{file} has nothing to play", "name a pane: ```console worker-1")
    typed = set()
    for block in page.blocks:
        if block.kind == "text" and block.pane not in typed:
            what = f"text is expected in pane {block.pane!r}, but nothing was typed there before"
            raise BadPage(f"{block.place(-1)}: {what}")
        typed.add(block.pane)
    return page


def _block(fence, file: Path) -> Block | None:
    """Return the block of a fence, or None if it is an illustration. Raises BadPage."""
    kind, *panes = fence.info.split() or [""]
    if not panes:
        return None
    block = Block(kind, panes[0], tuple(fence.content.splitlines()), file, fence.map[0] + 2)
    where = block.place(-1)
    if len(panes) > 1:
        raise BadPage(f"{where}: a block has one pane, this has {' and '.join(panes)}")
    if kind not in KINDS:
        raise BadPage(f"{where}: {kind!r} blocks are not played", f"use {', '.join(KINDS)}")
    if not any(line.strip() for line in block.lines):
        raise BadPage(f"{where}: the block is empty")
    return block


# ---- expected and seen


@dataclass(frozen=True)
class Found:
    """The expected lines are there; `end` is the index of the line after them."""

    end: int


@dataclass(frozen=True)
class Missing:
    """The first expected line that is missing, and the line seen in its place, if any."""

    offset: int
    expected: str
    seen: str | None


def same(expected: str, seen: str) -> bool:
    """Return True if a line is as expected; `…` matches any text, trailing spaces do not count."""
    pattern = ".*".join(map(re.escape, expected.rstrip().split(ANY)))
    return re.fullmatch(pattern, seen.rstrip(), re.DOTALL) is not None


def find(expected: Sequence[str], seen: Sequence[str]) -> Found | Missing:
    """Find the expected lines, one directly after the other, anywhere in the lines seen."""
    best = (0, -1)  # the most expected lines found in a row, and the index after them

    @cache
    def end(offset: int, at: int) -> int | None:
        """Return the index after the expected lines from `offset` on, if they begin at `at`."""
        nonlocal best
        if offset > best[0]:
            best = offset, at
        if offset == len(expected):
            return at
        if expected[offset].strip() == ANY:
            ends = (end(offset + 1, later) for later in range(at, len(seen) + 1))
            return next((one for one in ends if one is not None), None)
        if at < len(seen) and same(expected[offset], seen[at]):
            return end(offset + 1, at + 1)
        return None

    for start in range(len(seen) + 1):
        if (found := end(0, start)) is not None:
            return Found(found)
    offset, at = best
    missing = expected[offset].rstrip()
    if offset and 0 <= at < len(seen) and expected[offset - 1].strip() != ANY:
        return Missing(offset, missing, seen[at].rstrip())
    return Missing(offset, missing, _most_similar(missing, seen[at if offset else 0 :]))


def _most_similar(text: str, lines: Iterable[str]) -> str | None:
    """Return the line most like a text, or else the last line; None if all are empty."""
    lines = [line.rstrip() for line in lines if line.strip()]
    similar = difflib.get_close_matches(text, lines[-200:], n=1, cutoff=0.5)
    return (similar or lines[-1:] or [None])[0]
