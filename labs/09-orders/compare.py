#!/usr/bin/env python3
"""Take the same orders twice, inside the request and through queues, and measure both.

    ./compare.py
    ./compare.py --orders 100 --clients 8 --seconds 0.2

It starts two shops on free ports, in a temporary folder, with their own names on the broker, and
stops them at the end.
"""

import argparse
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

try:
    import httpx

    from kit.amqp import Broker, number
    from kit.cli import OK, run_lab, say, stop_as_with_ctrl_c, wait_until
    from kit.cli.program import Script
    from kit.web.programs import Programs
    from shop import topology
    from shop.figures import Figures, table
    from shop.options import add_delays, shop_parser
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"compare.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """what the columns say:
  orders taken     the rest was refused: the ERP failed, and the customer was told
  requests a second, mean, 95 %    of the answers to the customers
  all done         until all orders that were taken are printed, booked and counted"""
FOLDER = Path(__file__).resolve().parent
PATIENCE = 120  # seconds for a step that takes a few
ORDER = {"customer_name": "Daníel", "product_ids": [2, 4, 42]}


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "compare.py", stays=False)
    parser.set_defaults(exchange="orders-compare")
    add = parser.add_argument_group("work").add_argument
    add("--orders", type=number(int, 2), default=40, metavar="N", help="(default: %(default)s)")
    clients_help = "how many customers at a time (default: %(default)s)"
    add("--clients", type=number(int, 1, 64), default=4, metavar="N", help=clients_help)
    seconds_help = "how long the ERP takes for an order (default: %(default)s)"
    add("--seconds", type=number(float, 0), default=0.2, help=seconds_help)
    fail_help = "the ERP fails at every Nth order, 0 for never (default: %(default)s)"
    add("--fail-every", type=number(int, 0), default=10, metavar="N", help=fail_help)
    add_delays(parser)
    options = parser.parse_args()
    options.exchange += f"-{uuid.uuid4().hex[:6]}"  # for us alone: it is deleted at the end
    return options


@contextmanager
def shop(options: argparse.Namespace, broker: Broker, *, inline: bool) -> Iterator[httpx.Client]:
    """Run a shop, each program as a separate process; yield an HTTP client for it."""
    names = ["--exchange", options.exchange]
    retries = ["--retries", ",".join(map(str, options.retries))]
    mood = ["--seconds", options.seconds, "--fail-every", options.fail_every]

    def delete(channel) -> None:
        topology.delete(channel, options.exchange, options.retries)

    with (
        tempfile.TemporaryDirectory(prefix="orders-") as data,
        Programs("the comparison", FOLDER, broker, httpx.HTTPError, delete=delete) as programs,
    ):
        start = partial(programs.start, cwd=data)
        erp = ["--erp", address_of(start("erp.py", "--http-port", 0, *mood))]
        api = start("api.py", "--http-port", 0, *names, *(["--inline", *erp] if inline else []))
        if not inline:
            services = [start("relay.py", *names), start("booking.py", *names, *retries, *erp)]
            services += [start(name, *names, *retries) for name in ("printer.py", "marketing.py")]
            for script in services:
                script.wait_for("CTRL+C")
        with httpx.Client(base_url=address_of(api), timeout=PATIENCE, trust_env=False) as client:
            yield client


def address_of(script: Script) -> str:
    """Wait until a web service answers; return its address."""
    return script.wait_for("Answering at").text.split()[-1]


def measure(title: str, client: httpx.Client, options: argparse.Namespace) -> Figures:
    """Place the orders and wait until all orders that were taken are done."""

    def place(_: int) -> tuple[bool, float]:
        began = time.monotonic()
        answer = client.post("/orders", json=ORDER)
        return answer.is_success, time.monotonic() - began

    def all_done() -> bool:
        pending = [n for n in numbers if client.get(f"/orders/{n}").json()["status"] == "in work"]
        numbers[:] = pending
        return not pending

    began = time.monotonic()
    with ThreadPoolExecutor(options.clients) as customers:
        answers = list(customers.map(place, range(options.orders)))
    seconds = time.monotonic() - began
    numbers = list(range(1, options.orders + 1))
    wait_until(all_done, PATIENCE + 2 * options.orders * options.seconds)
    return Figures(title, answers, seconds, time.monotonic() - began)


def main(options: argparse.Namespace, broker: Broker) -> int:
    stop_as_with_ctrl_c()
    broker.connect().close()
    rows = []
    kinds = {"inside the request": True, "through queues": False}
    say("*", f"{options.orders} orders from {options.clients} customers at a time, twice")
    for title, inline in kinds.items():
        with shop(options, broker, inline=inline) as client:
            rows.append(measure(title, client, options))
        say("*", f"{title}: measured")
    print(*table(rows), sep="\n")
    return OK


if __name__ == "__main__":
    run_lab(main, parse())
