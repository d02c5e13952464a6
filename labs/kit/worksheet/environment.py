"""The environment of the panes: where their programs find the broker, and if a page can begin."""

import os
import sys
from pathlib import Path

from kit import amqp
from kit.broker.lab import broker_url, our_broker
from kit.cli import Trouble
from kit.management.counts import count
from kit.worksheet.page import Worksheet

DEFAULT = "amqp://guest:guest@localhost:5672/%2F"  # what the scripts use without AMQP_URL


def pane_environment(page: Worksheet) -> dict[str, str]:
    """Return the environment of the panes. Raises Trouble if the page cannot begin."""
    environment, url = dict(os.environ), broker_url()
    if url != DEFAULT:
        environment["AMQP_URL"] = url
    check_queues(page, None if os.environ.get("AMQP_URL") else url)
    broker = our_broker(url)
    if page.breaks_the_broker and (broker is None or broker.name != "lab"):
        raise Trouble(
            "this lab stops and starts its broker, and the one in reach is not ours to stop",
            "labs/broker.py up, without AMQP_URL; or by hand, as the box at the page's top says",
            code=3,
        )
    here = Path(sys.executable).parent
    environment["PATH"] = f"{here}{os.pathsep}{environment.get('PATH', os.defpath)}"
    if sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    return environment


def check_queues(page: Worksheet, url: str | None) -> None:
    """Raise Trouble if there is no broker, or if a queue of the page exists."""
    try:
        connection = amqp.Broker(url=url, retry_for=0).connect()
    except amqp.BrokerError as error:
        hint = "labs/broker.py up" if error.code == amqp.UNREACHABLE else error.hint
        raise Trouble(str(error), hint, code=error.code) from None
    left = " ".join(queue for queue in sorted(page.queues) if count(connection, queue))
    connection.close()
    if left:
        what = f"the page begins without its queues, and there is still: {left}"
        raise Trouble(what, f"labs/queues.py --delete {left}", code=1)
