"""Measure when nothing else runs: wait for a quiet moment, and notice what was disturbed.

What other programs use is what all processors did, less what we and our broker did. It is only
known on Linux, and for a broker that labs/broker.py started here; elsewhere nothing is waited for.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from kit.broker.lab import our_broker
from speed.program import LINUX

LOOK = 0.25  # seconds
BUSY = 0.25  # processors that others use: more of it disturbs


def broker_pid(url: str) -> int | None:
    """Return the pid of the broker, if it is ours."""
    broker = our_broker(url)
    return broker.node.pid if broker and broker.node else None


class Quiet:
    """A look at what others do on this machine; `patience` in seconds is how long to wait."""

    def __init__(self, url: str, patience: float) -> None:
        self.patience = patience
        self.broker = broker_pid(url) if LINUX and patience else None
        self.blind = "" if patience else " (--patience 0, as with --quick)"
        if patience and not self.broker:
            self.blind = " (it takes Linux, and a broker that labs/broker.py started here)"
        self.taken = self.disturbed = 0
        self._before = (0.0, 0.0)

    def wait(self, tell: Callable[[], None]) -> None:
        """Wait until others do next to nothing, but no longer than our patience lasts.

        `tell` is called when there is something to wait for.
        """
        end = time.monotonic() + self.patience
        while self.broker and time.monotonic() < end:
            self.begin()
            time.sleep(LOOK)
            if self.others() < BUSY:
                return
            tell()

    def begin(self) -> None:
        """Remember what was used until now."""
        self._before = (time.monotonic(), self._used_by_others())

    def others(self) -> float:
        """Return how many processors the others have kept busy since begin()."""
        began, before = self._before
        return (self._used_by_others() - before) / max(time.monotonic() - began, 1e-3)

    def was_disturbed(self) -> bool:
        """Tell whether others were busy since begin()."""
        return bool(self.broker) and self.others() > BUSY

    def note(self, disturbed: bool) -> None:
        """Count a figure that was taken."""
        self.taken += 1
        self.disturbed += disturbed

    def summary(self) -> str:
        """Say how quiet it was."""
        if not self.broker:
            return f"others were not watched{self.blind}"
        return f"others were busy during {self.disturbed} of {self.taken} figures"

    def _used_by_others(self) -> float:
        """Return the processor seconds of all others since the machine started."""
        if not self.broker:
            return 0
        tick = os.sysconf("SC_CLK_TCK")
        # user nice system idle iowait irq softirq steal: what is stolen is missing to us, too
        every = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        busy = sum(every) - every[3] - every[4]
        try:
            stat = Path(f"/proc/{self.broker}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # the broker has ended: what is measured will notice
            return 0
        used = os.times()
        return (busy - int(stat[11]) - int(stat[12])) / tick - sum(used[:4])
