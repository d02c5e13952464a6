"""The lines of a journal as they stand in a file, and texts made harmless."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from kit.cli import Trouble

LONGEST = 1_000_000  # bytes of a line; a journal's have some hundred
BEGINNING = re.compile(r'\{\s*"v"\s*:')  # inside a string the quotes have backslashes
DECODER = json.JSONDecoder()
HINT = "a journal is what --journal FILE of the three scripts writes: see labs/journal.md"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that have something in them, numbered from 1. Raises Trouble."""
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(LONGEST):
                number += 1
                if raw.strip(b"\0 \t\r\n"):
                    yield number, raw
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise Trouble(f"cannot read {plain(str(path))}: {why}", HINT, code=1) from error


def decode(raw: bytes) -> tuple[list[object], bool]:
    """Return the objects in a line, and whether they are all of it: torn pieces may be glued."""
    text = raw.decode(errors="replace").strip("\0\ufeff \t\r\n")
    try:
        return [json.loads(text)], True
    except (ValueError, RecursionError):
        pass
    found, rest, done = [], "", 0
    while begin := BEGINNING.search(text, done):
        rest += text[done : begin.start()]
        try:
            record, done = DECODER.raw_decode(text, begin.start())
            found.append(record)
        except (ValueError, RecursionError):
            rest += text[begin.start() : begin.end()]
            done = begin.end()
    return found, not (rest + text[done:]).strip("\0 ")


def parse_utc(text: str) -> float:
    """Return the seconds since 1970 of an ISO 8601 time; raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def text_of(message: object) -> str:
    """Return a message as text."""
    return message if isinstance(message, str) else "" if message is None else str(message)


def moved(time: float | None, by: float) -> float | None:
    """Return a time moved by some seconds, None if there is none."""
    return None if time is None else time + by


def same(one: Path, other: Path) -> bool:
    """Tell whether two paths are the same file."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def plain(text: str) -> str:
    """Return a text that does nothing to a terminal or page: what is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
