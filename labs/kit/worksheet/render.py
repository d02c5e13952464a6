"""Render a step of a worksheet as lines for a narrow terminal pane."""

import re
from collections.abc import Iterator
from functools import cache
from io import StringIO

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

MARKS = {"console": "▸ into", "python": "▸ into", "keys": "▸ keys in", "text": "▸ look at"}
OPEN, FOLDED = "▾", "▹"


@cache
def render(text: str, width: int, answers: bool) -> list[str]:
    """Return a step's text as coloured lines; answers and hints stay folded without `answers`."""
    source, lines, folded, at = text.splitlines(), [], False, 0
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for place, token in enumerate(tokens):
        if token.level or not token.map or token.map[0] < at:
            continue
        if not folded:
            lines += source[at : token.map[0]]
        at = token.map[0]
        kind, *names = token.info.split() or [""]
        if token.type == "html_block":
            if not folded and "<details" in token.content:
                summary = re.search("<summary>(.*?)</summary>", token.content)
                what = summary[1] if summary else "More"
                lines += ["", f"*{OPEN} {what}*" if answers else f"*{FOLDED} {what}: press a*", ""]
                folded = not answers
            folded = folded and "</details" not in token.content
            at = token.map[1]
        elif folded:
            at = token.map[1]
        elif token.type == "fence" and kind == "mermaid":
            lines += ["", "*(the page has a picture here)*", ""]
            at = token.map[1]
        elif token.type == "fence" and names:
            while lines and (not lines[-1] or lines[-1].startswith(f"In `{names[0]}`")):
                lines.pop()
            lines += ["", f"{MARKS[kind]} *{names[0]}*", ""]
            at = token.map[1] if kind == "text" else at  # the pane shows the text itself
        elif token.type == "table_open":
            lines += rows(tokens[place:])
            at = token.map[1]
    lines += [] if folded else source[at:]
    screen = StringIO()
    console = Console(
        file=screen, width=width, force_terminal=True, color_system="standard", highlight=False
    )
    console.print(Markdown("\n".join(lines), code_theme="bw"))
    rendered: list[str] = []
    for line in screen.getvalue().splitlines():
        if plain(line).strip():
            rendered.append(line)
        elif rendered and rendered[-1]:
            rendered.append("")
    return rendered


def rows(tokens: list[Token]) -> Iterator[str]:
    """Yield a table as paragraphs, one line per cell: a narrow pane would cut its columns."""
    row: list[str] = []
    for token in tokens:
        if token.type == "inline":
            row.append(token.content)
        elif token.type == "tr_close":
            yield from ["", "  \n".join(row)]
            row = []
        elif token.type == "table_close":
            yield ""
            return


def plain(line: str) -> str:
    return Text.from_ansi(line).plain


def line_of_block(lines: list[str], number: int) -> int:
    """Return the index of the line that announces a block (counted from 0), 0 if none does."""
    marks = tuple(MARKS.values())
    found = [at for at, line in enumerate(lines) if plain(line).startswith(marks)]
    return found[number] if number < len(found) else 0


def line_of_answer(lines: list[str], after: int) -> int | None:
    """Return the index of the first unfolded answer from line `after` on."""
    found = (at for at, line in enumerate(lines) if plain(line).startswith(OPEN))
    return next((at for at in found if at >= after), None)
