"""Wake the chat's main thread: for signals, for keys, and from other threads."""

import contextlib
import os
import select
import signal
import socket

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")
REDRAW = 1  # seconds between redraws when nothing wakes us


class Alarm:
    """Wakes the main thread: for signals, for keys, and whenever another thread rings.

    `stopped`: a signal asked us to end. `suspended`: Ctrl-Z was pressed.
    """

    def __init__(self) -> None:
        self.stopped = self.suspended = False
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def ring(self) -> None:
        """Wake the main thread; any thread may call this."""
        with contextlib.suppress(BlockingIOError):  # full: the thread is already being woken
            self._far.send(b".")

    def catch_signals(self) -> None:
        """Make signals wake us instead of ending the program at once."""
        for name in STOPS:
            self._catch(name, "stopped")
        signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)

    def catch_terminal(self) -> None:
        """Make Ctrl-Z and a new terminal size wake us too."""
        self._catch("SIGTSTP", "suspended")
        self._catch("SIGWINCH", "resized")

    def wait(self, seconds: float, keys: int | None = None) -> bytes | None:
        """Wait to be woken; return what was typed, None if the keyboard is gone."""
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
        if number := getattr(signal, name, None):  # Windows lacks some
            signal.signal(number, lambda *_: setattr(self, what, True))
