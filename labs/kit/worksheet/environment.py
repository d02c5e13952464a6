"""The environment of the panes: where their programs find the broker, and if a page can begin."""

import os
import sys
from pathlib import Path

from kit.amqp import Broker
from kit.broker.lab import broker_url, our_broker
from kit.cli import UNEXPECTED, Trouble
from kit.management.counts import count
from kit.worksheet.page import Worksheet

DEFAULT = "amqp://guest:guest@localhost:5672/%2F"  # what the scripts use without AMQP_URL


def pane_environment(page: Worksheet) -> dict[str, str]:
    """Return the environment of the panes. Raises Trouble or BrokerError if a page cannot begin."""
    url = broker_url()
    if url != DEFAULT:
        os.environ["AMQP_URL"] = url
    connection = Broker().connect()
    left = " ".join(queue for queue in sorted(page.queues) if count(connection, queue))
    connection.close()
    if left:
        what = f"the page begins without its queues, and there is still: {left}"
        raise Trouble(what, f"labs/queues.py --delete {left}", UNEXPECTED)
    broker = our_broker(url)
    if page.breaks_the_broker and (broker is None or broker.name != "lab"):
        raise Trouble(
            "this lab stops and starts its broker, and the one in reach is not ours to stop",
            "labs/broker.py up, without AMQP_URL; or by hand, as the box at the page's top says",
        )
    environment = dict(os.environ)
    here = Path(sys.executable).parent
    environment["PATH"] = f"{here}{os.pathsep}{environment.get('PATH', os.defpath)}"
    if sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    return environment
