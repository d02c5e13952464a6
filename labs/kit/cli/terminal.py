"""The terminal of a program that draws a whole screen: can it, its keys, its signals."""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

from rich.console import Console


def can_show() -> bool:
    """Return True if the output is a terminal on which a screen can be drawn."""
    console = Console()
    return sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal


@contextlib.contextmanager
def keyboard() -> Iterator[int | None]:
    """Give the keyboard, each key at once and not echoed; None if there is none."""
    if not (sys.stdin and sys.stdin.isatty()) or os.name == "nt":
        yield None
        return
    import termios
    import tty

    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys)
        yield keys
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(keys, termios.TCSADRAIN, before)


def read_keys(keys: int | None, seconds: float) -> bytes:
    """Return what is typed within some seconds. Raises OSError if the terminal is gone."""
    if keys is None:
        time.sleep(seconds)
    elif select.select([keys], [], [], seconds)[0]:
        return os.read(keys, 1024)
    return b""


def note_signals(*names: str) -> set[str]:
    """Note these signals instead of obeying them; return the set that will hold their names."""
    received: set[str] = set()
    for name in names:
        if number := getattr(signal, name, None):  # Windows has few
            signal.signal(number, lambda *_, name=name: received.add(name))
    return received
