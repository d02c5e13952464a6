"""Measure a program from outside: the times of its lines, its CPU time, its peak memory.

CPU time and memory include all processes that the program has started. They come from /proc, so
on systems other than Linux they are None.
"""

import contextlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from kit.broker.process import descendants
from kit.cli.program import Script

LINUX = sys.platform == "linux"
DEADLINE = 60  # seconds for a program to do what it was started for
PAUSE = 0.003  # seconds between two reads; waking up for each line would slow the program down
RECEIVED, DONE = b"[x] Received", b"[x] Done"


class Failed(Exception):
    """Raised when a program fails, or does not finish in time."""


class Usage(NamedTuple):
    """The usage of a program: seconds, CPU seconds, peak memory in MiB shortly before its end."""

    seconds: float
    cpu: float | None
    memory: float | None


class Program(Script):
    """A program in a session of its own; its output is read in batches and its lines are counted.

    `seen` lists, for RECEIVED and for DONE, each batch with such lines: its time (as
    time.monotonic()) and the number of such lines so far.
    """

    def __init__(self, command: list[str], environment: dict, cwd: Path, stdin=b"") -> None:
        self.seen: dict[bytes, list[tuple[float, int]]] = {RECEIVED: [], DONE: []}
        self.last_words = ""
        self.is_in_trouble = False  # it has printed " [!] ...", as the kit's scripts do
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            super().__init__(command, environment, file, cwd, own_session=True)

    def _read(self, name: str, pipe: int) -> None:
        rest = b""
        while chunk := os.read(pipe, 1 << 20):
            now = time.monotonic()
            lines, _, rest = (rest + chunk).rpartition(b"\n")
            if name == "stderr" and lines.strip():
                self.last_words = lines.decode(errors="replace").strip().splitlines()[-1][:160]
                self.is_in_trouble |= b" [!] " in lines
            found = {mark: lines.count(mark) for mark in self.seen if mark in lines}
            for mark, count in found.items():
                self.seen[mark].append((now, self.count(mark) + count))
            if found:
                time.sleep(PAUSE)
        self.ended = time.monotonic()

    def count(self, mark: bytes) -> int:
        """Return the number of lines with the mark so far."""
        return self.seen[mark][-1][1] if self.seen[mark] else 0

    def run_to_end(self, within: float = DEADLINE) -> Usage:
        """Wait until the program ends by itself. Raises Failed."""
        memory, end = None, time.monotonic() + within
        while not self.has_ended():
            memory = self.memory() or memory
            if self.is_in_trouble or time.monotonic() > end:
                why = "it is in trouble" if self.is_in_trouble else f"{within:g} s passed"
                raise Failed(f"{why} ({self.last_words})")
            self._readers[0].join(0.02)
        cpu = None
        if LINUX:
            # The peak memory from wait4 is useless: it starts at the parent's.
            _, status, used = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            cpu = used.ru_utime + used.ru_stime
        if code := self.process.wait():
            raise Failed(f"it ended with {code} ({self.last_words})")
        return Usage(self.ended - self.started, cpu, memory)

    def cpu(self) -> float | None:
        """Return the CPU seconds used so far, to the nanosecond, or None if they are unknown."""
        nanoseconds = 0
        for process in self._processes():
            for thread in process.glob("task/*/schedstat"):
                with contextlib.suppress(OSError, IndexError):  # it has just ended
                    nanoseconds += int(thread.read_text().split()[0])
        return nanoseconds / 1e9 or None

    def memory(self) -> float | None:
        """Return the peak memory in MiB, or None if it is unknown."""
        kib = 0
        for process in self._processes():
            with contextlib.suppress(OSError):
                if peak := re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text()):
                    kib += int(peak[1])
        return kib / 1024 or None

    def _processes(self) -> list[Path]:
        pid = self.process.pid
        return [Path(f"/proc/{one}") for one in (pid, *descendants(pid))]


def wait_for(mark: bytes, count: int, *programs: Program, within: float = DEADLINE) -> float:
    """Wait until programs have printed `count` marks in all; return the time of the last one.

    Raises Failed if one of them ends, or reports trouble, before that.
    """
    end = time.monotonic() + within
    while True:
        is_late = time.monotonic() > end
        stopped = [one for one in programs if one.has_ended() or one.is_in_trouble]
        found = sum(program.count(mark) for program in programs)
        if found >= count:
            return max(program.seen[mark][-1][0] for program in programs if program.seen[mark])
        if is_late or stopped:
            why = f"it stopped ({stopped[0].last_words})" if stopped else f"{within:g} s passed"
            raise Failed(f"{found} of {count} messages, then {why}")
        time.sleep(PAUSE)
