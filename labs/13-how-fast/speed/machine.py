"""Describe the machine, and watch how busy other programs keep it while we measure."""

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from kit.amqp import Broker
from kit.cli import Trouble, first_broker
from kit.management.api import Page
from speed.program import LINUX

PACKAGES = ("pika", "aio-pika", "celery", "dramatiq", "kombu")
LOOK = 0.25  # seconds
BUSY = 0.25  # processors in use while we are idle; more than this counts as disturbed


def describe(url: str, peers: bool) -> dict[str, str]:
    """Return the facts about machine and software that head a report."""
    has_load = hasattr(os, "getloadavg")  # not on Windows
    machine = {
        "Date": time.strftime("%Y-%m-%d %H:%M"),
        "Processor": f"{processor()}, {os.cpu_count()} cores",
        "System": platform.platform(terse=True),
        "Load before": f"{os.getloadavg()[0]:.2f}" if has_load else "not known",
        "Broker": broker(url),
        "Python": platform.python_version(),
    }
    for package in PACKAGES if peers else PACKAGES[:1]:
        try:
            machine[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            machine[package] = "not installed"
    if peers:  # these do not report their version
        machine["amqp-tools"] = "installed" if shutil.which("amqp-publish") else "not installed"
    return machine


def processor() -> str:
    if LINUX:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def broker(url: str) -> str:
    try:
        overview = Page(first_broker(Broker(url=url))).get("overview")
    except Trouble as error:
        return f"not known: {error}"
    return f"RabbitMQ {overview['rabbitmq_version']}, Erlang/OTP {overview['erlang_version']}"


class Noise:
    """Checks before each figure how busy other programs are while we are idle; Linux only."""

    def __init__(self, patience: float) -> None:
        self.patience = patience if LINUX else 0  # seconds to wait for a quiet moment
        self.figures = self.disturbed = 0

    def wait_for_quiet(self, on_wait: Callable[[], None]) -> None:
        """Wait until others are nearly idle or our patience ends; call `on_wait` meanwhile."""
        end, is_quiet = time.monotonic() + self.patience, False
        while time.monotonic() < end and not is_quiet:
            before = busy_seconds()
            time.sleep(LOOK)
            if not (is_quiet := busy_seconds() - before < BUSY * LOOK):
                on_wait()
        self.figures += 1
        self.disturbed += not is_quiet

    def summary(self) -> str:
        if self.patience:
            return f"others were busy before {self.disturbed} of {self.figures} figures"
        return "others were not watched (that needs Linux, and no --quick or --patience 0)"


def busy_seconds() -> float:
    """Return the seconds that all processors together have worked since the machine started."""
    # user nice system idle iowait irq softirq steal; stolen time counts, as we lose it too
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
