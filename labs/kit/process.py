"""Processes: which one a pid stands for, waiting for something, and one at a time."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kit.say import say


def birth(pid: int) -> str:
    """Return when a process was started, or "" if it is dead: a pid alone may be used again."""
    if not Path("/proc/self/stat").exists():  # macOS
        ps = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(ps, capture_output=True, text=True).stdout.strip()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if stat[0] in "ZX" else f"{boot} {stat[19]}"


def alive(pid: int, born: str) -> bool:
    """Tell whether the process that was started then still lives."""
    return bool(born) and birth(pid) == born


def send(pid: int, number: int) -> None:
    """Send a signal to a process, unless it has just died."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def signals_put_off() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off until the end of the block; other threads never get them.

    A program is started and noted in such a block: between the two nobody would end it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def stop_as_with_ctrl_c() -> None:
    """Let `kill`, and whoever closes the terminal, stop this program as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _hung_up)


def _hung_up(*_: object) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a shell that ends sends another one
    signal.raise_signal(signal.SIGTERM)  # which signals_put_off knows


def descendants(pid: int) -> Iterator[int]:
    """Yield the pids of a process's children, and of theirs."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened for {seconds:g} s")
        time.sleep(0.03)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two programs do not do the same work at the same time."""
    import fcntl  # not on Windows

    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another program is at it; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
