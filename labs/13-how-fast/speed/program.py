"""A program at work, measured from outside: when it printed what, CPU time, peak memory.

CPU time and memory are those of the program and all that it has started. They come from /proc, so
on other systems than Linux they are None. (What wait4 tells of memory is of no use: a new process
begins with the peak of the one that started it.)
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from kit.broker.process import descendants

LINUX = sys.platform == "linux"
DEADLINE = 60  # seconds for a program to do what it was started for
SAMPLE = 0.02  # seconds between two looks at the memory of a program that ends by itself


class Failed(Exception):
    """Raised when a program ends early or does not come to an end."""


@dataclass(frozen=True)
class Usage:
    """What a program has used up: seconds of the clock, CPU seconds, peak memory in MiB."""

    seconds: float
    cpu: float | None
    memory: float | None


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU seconds of a process and its children, to the nanosecond, or None."""
    if not LINUX:
        return None
    total = 0
    for one in (pid, *descendants(pid)):
        for thread in Path(f"/proc/{one}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, IndexError):  # it has just ended
                total += int(thread.read_text().split()[0])
    return total / 1e9


def peak_memory(pid: int) -> float | None:
    """Return the peak memory of a process and its children in MiB, or None."""
    if not LINUX:
        return None
    total = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total / 1024


class Program:
    """A program that runs, in a session of its own, with what it prints counted as it comes.

    `pause` is the time in seconds between two looks at its output: a watcher that wakes up for
    each line would slow down what it measures. With `both` its stderr is looked at as well.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], cwd: Path, *, pause: float = 0,
        stdin: Path | None = None, both: bool = False,
    ) -> None:  # fmt: skip
        self.pause = pause
        self.counts: dict[bytes, int] = {b"Received": 0, b"Done": 0}
        self.first_at: dict[bytes, float] = {}
        self.last_at: dict[bytes, float] = {}
        self.errors = tempfile.TemporaryFile()
        self._news = threading.Condition()
        self._ended = False
        with open(stdin or os.devnull, "rb") as source:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                command, env=environment, cwd=cwd, stdin=source, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if both else self.errors, start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        output, rest = self.process.stdout.fileno(), b""
        while chunk := os.read(output, 1 << 20):
            *lines, rest = (rest + chunk).rsplit(b"\n", 1)
            with self._news:
                now = time.perf_counter()
                for word in self.counts:
                    if found := sum(text.count(b"[x] " + word) for text in lines):
                        self.first_at.setdefault(word, now)
                        self.last_at[word] = now
                        self.counts[word] += found
                self._news.notify_all()
            if self.pause:
                time.sleep(self.pause)
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, word: bytes, count: int = 1, within: float = DEADLINE) -> tuple[float, int]:
        """Wait until so many lines have a word; return when that was, and how many there were."""
        with self._news:
            enough = self._news.wait_for(
                lambda: self.counts[word] >= count or self._ended, timeout=within
            )
            if self.counts[word] >= count:
                return self.last_at[word], self.counts[word]
        why = "it ended" if enough else f"{within:g} s passed"
        raise Failed(f"{self.counts[word]} of {count} messages, then {why}{self.last_words()}")

    def wait(self, within: float = DEADLINE, *, memory: bool = False) -> Usage:
        """Wait until it ends by itself; return what it used. Raises Failed if it fails."""
        alarm = threading.Timer(within, self.kill)
        alarm.daemon = True  # Ctrl-C may come before it can be cancelled
        try:
            alarm.start()
            peak = self._sample() if memory else None
            if hasattr(os, "wait4"):
                _, status, used = os.wait4(self.process.pid, 0)
                ended = time.perf_counter()
                self.process.returncode = os.waitstatus_to_exitcode(status)
                cpu = used.ru_utime + used.ru_stime
            else:  # Windows
                self.process.wait()
                ended, cpu = time.perf_counter(), None
        finally:
            alarm.cancel()
        if self.process.returncode:
            raise Failed(f"it ended with {self.process.returncode}{self.last_words()}")
        return Usage(ended - self.started, cpu, peak)

    def _sample(self) -> float | None:
        """Return the peak memory of a program that ends by itself, as seen shortly before."""
        peak = None
        while not self._ended:
            peak = peak_memory(self.process.pid) or peak
            with self._news:
                self._news.wait_for(lambda: self._ended, timeout=SAMPLE)
        return peak

    def usage(self) -> Usage:
        """Return what it has used so far."""
        pid = self.process.pid
        return Usage(time.perf_counter() - self.started, cpu_seconds(pid), peak_memory(pid))

    def kill(self) -> float:
        """End it and all that it has started at once; return when."""
        now = time.perf_counter()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        return now

    def close(self) -> None:
        """End it, if it runs, and wait until it is gone."""
        self.kill()
        if self.process.returncode is None:
            self.process.wait()
        self._reader.join(timeout=5)
        self.process.stdout.close()
        self.errors.close()

    def last_words(self) -> str:
        """Return the last line of its stderr, in brackets, or "" if there is none."""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1].strip()[:160]})" if lines else ""
