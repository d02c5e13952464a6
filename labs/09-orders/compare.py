#!/usr/bin/env python3
"""Take the same orders twice, inside the request and through queues, and measure both.

    ./compare.py
    ./compare.py --orders 100 --clients 8 --seconds 0.2

It starts two shops of its own, on free ports, in a temporary folder, with names of their own on the
broker, and ends them again.
"""

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

try:
    import httpx

    from kit.amqp import Broker, number
    from kit.cli import (
        OK,
        UNEXPECTED,
        Trouble,
        run_lab,
        say,
        signals_put_off,
        stop_as_with_ctrl_c,
        url_of,
        wait_until,
    )
    from kit.cli.program import Script
    from shop import topology
    from shop.figures import Figures, table
    from shop.options import add_delays, shop_parser
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"compare.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """what the columns say:
  orders taken     the rest was refused: the ERP failed, and the customer was told
  requests a second, mean, 95 %    of the answers to the customers
  all done         until everything that was taken is printed, booked and counted"""
FOLDER = Path(__file__).resolve().parent
PATIENCE = 120  # seconds for what takes a few
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
    options.exchange += f"-{uuid.uuid4().hex[:6]}"  # for us alone: it is deleted in the end
    return options


def end(script: Script) -> None:
    script.kill()
    script.wait()


@contextmanager
def shop(options: argparse.Namespace, broker: Broker, *, inline: bool) -> Iterator[httpx.Client]:
    """Run a shop, each program as a process of its own; yield a client of it."""
    environment = os.environ | {"AMQP_URL": url_of(broker)}
    names = ["--exchange", options.exchange]
    retries = ["--retries", ",".join(map(str, options.retries))]
    with ExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="orders-"))

        def start(program: str, *arguments: object) -> Script:
            command = [sys.executable, FOLDER / f"{program}.py", *map(str, arguments)]
            with signals_put_off():
                script = Script(command, environment, cwd=data, own_session=True)
                stack.callback(end, script)
            return script

        mood = ["--seconds", options.seconds, "--fail-every", options.fail_every]
        erp = ["--erp", address_of(start("erp", "--http-port", 0, *mood))]
        api = start("api", "--http-port", 0, *names, *(["--inline", *erp] if inline else []))
        if not inline:
            scripts = [start("relay", *names), start("booking", *names, *retries, *erp)]
            scripts += [start(service, *names, *retries) for service in ("printer", "marketing")]
            for script in scripts:
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
    """Measure both; return the exit code."""
    stop_as_with_ctrl_c()
    broker.connect().close()
    rows = []
    kinds = {"inside the request": True, "through queues": False}
    say("*", f"{options.orders} orders from {options.clients} customers at a time, twice")
    try:
        for title, inline in kinds.items():
            with shop(options, broker, inline=inline) as client:
                rows.append(measure(title, client, options))
            say("*", f"{title}: measured")
    except (AssertionError, TimeoutError, httpx.HTTPError) as error:
        why = str(error).splitlines()[0]
        hint = "the same again, when the machine is less busy"
        raise Trouble(f"the comparison failed: {why}", hint, UNEXPECTED) from error
    finally:
        connection = broker.connect()
        topology.delete(connection.channel(), options.exchange, options.retries)
        connection.close()
    print(*table(rows), sep="\n")
    return OK


if __name__ == "__main__":
    run_lab(main, parse())
