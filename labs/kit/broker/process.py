"""Identify processes by pid and birth, signal them, and let only one work at a time."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kit.cli import say


def birth(pid: int) -> str:
    """Return a process's start time as text, "" if it is dead; a pid alone may be reused."""
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
    """Return True if the process with this pid and birth is still alive."""
    return bool(born) and birth(pid) == born


def send(pid: int, number: int) -> None:
    """Send a signal to a process, unless it has just died."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(pid: int) -> Iterator[int]:
    """Yield the pids of all processes below this one; none where there is no /proc."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two programs do not do the same work at once."""
    import fcntl  # not on Windows

    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("*", "Another program is already doing this; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
