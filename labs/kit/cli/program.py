"""A program at work, watched from outside: its lines are collected as they come."""

import contextlib
import math
import os
import queue
import select
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 60  # seconds to wait for a line or a state before failing
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
        self._lines: list[Line] = []
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
        pipes = {name: getattr(self.process, name).fileno() for name in ("stdout", "stderr")}
        self._open = set(pipes.values())
        # Held while a reader empties its pipe, so that `lines` knows which lines are missing.
        self._taking = contextlib.nullcontext() if os.name == "nt" else threading.Lock()
        self._readers = [threading.Thread(target=self._read, args=pipe) for pipe in pipes.items()]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: int) -> None:
        rest = b""
        while pipe in self._open:
            if os.name != "nt":  # Windows cannot wait for a pipe, only read it
                select.select([pipe], [], [])
            with self._taking:
                data = os.read(pipe, LONGEST)
                self._size += len(data)
                *whole, rest = (rest + data).split(b"\n")
                if rest and (not data or len(rest) >= LONGEST):
                    whole, rest = [*whole, rest], b""
                if self.floods():
                    self.kill()
                    whole = []
                for raw in whole:
                    text = raw.decode(errors="backslashreplace")
                    self._lines.append(Line(time.monotonic(), name, text))
                if not data:  # it has ended, or closed this stream
                    self._open.remove(pipe)
                    self.ended = time.monotonic()
            self._new.put(None)

    @property
    def lines(self) -> list[Line]:
        """Return all lines that were printed so far.

        A line on one stream is not missing while a later one on the other stream is there, except
        on Windows.
        """
        end = time.monotonic() + 1  # a program that prints without end is never read to its end
        while True:
            with self._taking:
                unread = os.name != "nt" and select.select([*self._open], [], [], 0)[0]
                if not unread or time.monotonic() > end:
                    return self._lines.copy()
            time.sleep(0.001)

    def floods(self) -> bool:
        """Return True if it printed more than `most_lines`."""
        if self.most_lines is None:
            return False
        return len(self._lines) >= self.most_lines or self._size > 100 * self.most_lines

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
