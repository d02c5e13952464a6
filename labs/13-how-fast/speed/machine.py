"""Where it was measured: machine, load, and versions."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

from kit.amqp import Broker
from kit.cli import Trouble
from kit.management.api import Page
from speed import ways
from speed.bench import Bench
from speed.program import LINUX

PACKAGES = ("pika", "aio-pika", "celery", "dramatiq", "kombu")


def processor() -> str:
    """Return the name of the processor, as far as it is known."""
    if LINUX:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def load() -> str:
    """Return how busy the machine was during the last minute."""
    try:
        return f"{os.getloadavg()[0]:.2f}"
    except (AttributeError, OSError):  # Windows
        return "not known"


def broker(url: str) -> str:
    """Return what the broker is, as its management page says."""
    try:
        told = Page(Broker(url=url).parameters[0]).get("overview")
    except Trouble as error:
        return f"not known: {error}"
    return f"RabbitMQ {told['rabbitmq_version']}, Erlang/OTP {told['erlang_version']}"


def describe(bench: Bench, peers: bool) -> dict[str, str]:
    """Return what belongs above the figures."""
    found = {
        "Date": time.strftime("%Y-%m-%d %H:%M"),
        "Processor": f"{processor()}, {os.cpu_count()} cores",
        "System": platform.platform(terse=True),
        "Load before": load(),
        "Broker": broker(bench.url),
        "Python": platform.python_version(),
    }
    for name in PACKAGES if peers else PACKAGES[:1]:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    if peers:
        found["amqp-tools"] = amqp_tools()
    return found


def amqp_tools() -> str:
    """Return the version of amqp-tools."""
    if not ways.has("amqp-publish"):
        return "not installed"
    asked = ["dpkg-query", "-W", "-f", "${Version}", "amqp-tools"]
    with contextlib.suppress(OSError):  # amqp-tools itself does not tell its version
        if version := subprocess.run(asked, capture_output=True, text=True).stdout:
            return version
    return "installed"
