"""A program at work, watched from outside: its lines are collected as they come."""

import contextlib
import math
import os
import queue
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 30  # seconds to wait for a line or a state before failing
LONGEST = 65_536  # bytes; a longer line is read in pieces


@dataclass(frozen=True)
class Line:
    """A line that a script has printed."""

    time: float
    stream: str
    text: str


class Script:
    """A running script; it is killed if it prints more than `most_lines`."""

    def __init__(
        self,
        command: list,
        environment: dict,
        stdin: int = subprocess.DEVNULL,
        cwd: Path | None = None,
        *,
        most_lines: int | None = None,
        own_session: bool = False,
    ) -> None:
        self.lines: list[Line] = []
        self.started = time.monotonic()
        self.ended = math.inf
        self.most_lines = most_lines
        self._own_session, self._size = own_session, 0
        self._new: queue.Queue[None] = queue.Queue()
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=own_session,  # then Ctrl-C stops only the watching program
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name, getattr(self.process, name)))
            for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream) -> None:
        while raw := stream.readline(LONGEST):
            self._size += len(raw)
            if self.floods():
                self.kill()
                continue
            text = raw.decode(errors="backslashreplace").rstrip("\n")
            self.lines.append(Line(time.monotonic(), name, text))
            self._new.put(None)
        self.ended = time.monotonic()  # it has ended, or closed this stream
        self._new.put(None)

    def floods(self) -> bool:
        """Return True if it printed more than `most_lines`."""
        if self.most_lines is None:
            return False
        return len(self.lines) >= self.most_lines or self._size > 100 * self.most_lines

    def has_ended(self) -> bool:
        """Return True if it has ended and its whole output is read."""
        return not any(reader.is_alive() for reader in self._readers)

    def text(self, stream: str | None = None) -> str:
        """Return what was printed so far, on one stream or on both."""
        return "\n".join(line.text for line in self.lines if stream in (None, line.stream))

    def find(self, part: str) -> list[Line]:
        """Return the lines that contain `part`."""
        return [line for line in self.lines if part in line.text]

    def wait_for(self, part: str, count: int = 1, within: float = DEADLINE) -> Line:
        """Wait until `count` lines contain `part`; return the last of them."""
        end = time.monotonic() + within
        while len(found := self.find(part)) < count:
            left = end - time.monotonic()
            ended = self.has_ended()
            if left <= 0 or (ended and len(self.find(part)) < count):
                why = f"it ended with {self.process.poll()}" if ended else f"{within} s passed"
                raise AssertionError(f"no {part!r} (x{count}): {why}; it printed:\n{self.text()}")
            with contextlib.suppress(queue.Empty):
                self._new.get(timeout=min(left, 0.5))
        return found[count - 1]

    def wait(self, within: float = DEADLINE) -> int:
        """Wait for the end; return the exit code."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s:\n{self.text()}") from None
        for reader in self._readers:
            reader.join()
        return code

    def signal(self, number: int) -> float:
        """Send a signal; return when, as time.monotonic()."""
        now = time.monotonic()
        self.process.send_signal(number)
        return now

    def interrupt(self) -> float:
        """Press Ctrl-C."""
        return self.signal(signal.SIGINT)

    def terminate(self) -> float:
        """Ask it politely to stop."""
        return self.signal(signal.SIGTERM)

    def kill(self) -> float:
        """End it at once; with `own_session`, also the programs that it has started."""
        if self._own_session and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if os.name == "nt":
            self.process.kill()
            return time.monotonic()
        return self.signal(signal.SIGKILL)
