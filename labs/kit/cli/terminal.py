"""A screen that is drawn again when something has changed, and a terminal left as it was found."""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")
REDRAW = 1  # seconds, when nothing wakes us


class Alarm:
    """Wakes the main thread: for signals, for keys, and whenever another thread rings.

    `stopped` tells that a signal asked us to end, `suspended` that Ctrl-Z was pressed.
    """

    def __init__(self) -> None:
        self.stopped = self.suspended = False
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def ring(self) -> None:
        """Wake the main thread; may be called from any."""
        with contextlib.suppress(BlockingIOError):  # rung often enough
            self._far.send(b".")

    def catch_signals(self) -> None:
        """Let signals wake us instead of ending the program wherever it is."""
        for name in STOPS:
            self._catch(name, "stopped")
        signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)

    def catch_terminal(self) -> None:
        """Let Ctrl-Z and a new size wake us too."""
        self._catch("SIGTSTP", "suspended")
        self._catch("SIGWINCH", "resized")

    def wait(self, seconds: float, keys: int | None = None) -> bytes | None:
        """Wait to be woken; return what was typed, None if there is no keyboard any more."""
        sources = [self._near] if keys is None else [self._near, keys]
        ready, _, _ = select.select(sources, [], [], seconds)
        if self._near in ready:
            with contextlib.suppress(BlockingIOError):
                self._near.recv(4096)
        if keys not in ready:
            return b""
        try:
            return os.read(keys, 1024) or None
        except OSError:
            return None

    def _catch(self, name: str, what: str) -> None:
        if number := getattr(signal, name, None):  # Windows has few
            signal.signal(number, lambda *_: setattr(self, what, True))


def can_show() -> bool:
    """Tell whether the output is a terminal on which a screen can be drawn."""
    console = Console()
    return sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal


def show(draw: Callable[[int, int, str], Text], alarm: Alarm) -> None:
    """Show what `draw` returns for a width, a height and the keys, until somebody quits."""
    alarm.catch_terminal()
    try:
        while _show_once(draw, alarm) == "suspend":
            alarm.suspended = False
            os.kill(os.getpid(), signal.SIGSTOP)
    except OSError:
        if not alarm.stopped:  # else the terminal is gone, and there is nothing to restore
            raise


def _show_once(draw: Callable[[int, int, str], Text], alarm: Alarm) -> str:
    """Show a screen; return whether it ended to "quit" or to "suspend"."""
    console, before = Console(highlight=False), None
    options = {"redirect_stdout": False, "redirect_stderr": False, "auto_refresh": False}
    with keyboard() as keys, Live(console=console, screen=True, **options) as live:
        while not alarm.stopped:
            if alarm.suspended:
                return "suspend"
            size = console.size
            text = draw(*size, "Ctrl-C quits" if keys is None else "q quits")
            if (text, size) != before:  # or it would be sent over and over again
                live.update(text, refresh=True)
                before = text, size
            typed = alarm.wait(REDRAW, keys)
            if typed is None or typed[:1].lower() == b"q":
                break
    return "quit"


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
