"""The environment of the panes: this Python's programs first on PATH, and the broker's URL."""

import os
import sys
from pathlib import Path

from kit.broker.lab import broker_url

DEFAULT = "amqp://guest:guest@localhost:5672/%2F"  # what the scripts use without AMQP_URL


def pane_environment() -> dict[str, str]:
    environment = dict(os.environ)
    if broker_url() != DEFAULT:
        environment["AMQP_URL"] = broker_url()
    here = Path(sys.executable).parent
    environment["PATH"] = f"{here}{os.pathsep}{environment.get('PATH', os.defpath)}"
    if sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    return environment
