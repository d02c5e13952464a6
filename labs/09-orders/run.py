#!/usr/bin/env python3
"""Run the shop: the API, the relay, the services and the ERP; Ctrl-C ends them all.

./run.py                        # all of it; the page is http://127.0.0.1:8009/
./run.py printer marketing      # only these
./run.py --inline               # the API that does all the work itself, and the ERP
./run.py --delete               # delete the shop's queues and data
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

try:
    import httpx
    from pika.adapters.blocking_connection import BlockingChannel

    from kit.amqp import Broker, number
    from kit.cli import LOCALHOST, OK, REFUSED, Trouble, run_lab, say, url_of
    from kit.web import together
    from kit.web.address import PORT, port_of
    from kit.web.serving import listen
    from shop import topology
    from shop.options import ERP, SHOP, SHOP_PORT, add_data, add_delays, shop_parser
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"run.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./run.py api relay printer marketing        # all but the booking and the ERP
  ./run.py --erp-seconds 3 --erp-fail-every 2"""
PROGRAMS = ("erp", "api", "relay", *topology.STEPS)
INLINE = ("erp", "api")
FOLDER = Path(__file__).resolve().parent
SECONDS = number(float, 0, 3600)


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "run.py", stays=False)
    add = parser.add_argument
    add("programs", nargs="*", metavar="PROGRAM", help=f"{', '.join(PROGRAMS)} (default: all)")
    add("--inline", action="store_true", help="all the work inside the request, no broker")
    delete_help = "delete the queues and the data, and exit; with the same --retries as before"
    add("--delete", action="store_true", help=delete_help)
    add_data(parser)
    add_delays(parser)
    add = parser.add_argument_group("web services").add_argument
    port_help = "of the %s, 0 for any free one (default: %%(default)s)"
    for option, place, name in (("--http-port", SHOP, "API"), ("--erp-port", ERP, "ERP")):
        port = port_of(place, SHOP_PORT)
        add(option, type=PORT, metavar="PORT", default=port, help=port_help % name)
    seconds_help = "how slow the ERP is (default: %(default)s)"
    add("--erp-seconds", type=SECONDS, default=1, metavar="SECONDS", help=seconds_help)
    fail_help = "the ERP fails at every Nth order, 0 for never (default: %(default)s)"
    add("--erp-fail-every", type=number(int, 0), default=5, metavar="N", help=fail_help)
    options = parser.parse_args()
    if unknown := set(options.programs) - set(PROGRAMS):
        parser.error(f"there is no program {unknown.pop()!r}, only {', '.join(PROGRAMS)}")
    if options.inline and (options.programs or options.delete):
        parser.error("--inline goes alone: it runs the API and the ERP")
    return options


def free_port() -> int:
    with listen(LOCALHOST, 0) as listener:
        return listener.getsockname()[1]


def commands(options: argparse.Namespace) -> dict[str, list]:
    data = ["--data", options.data]
    erp_port = options.erp_port or free_port()
    erp = ["--erp", f"http://{LOCALHOST}:{erp_port}"]
    broker = ["--exchange", options.exchange]
    retries = ["--retries", ",".join(f"{delay:g}" for delay in options.retries)]
    mood = ["--seconds", options.erp_seconds, "--fail-every", options.erp_fail_every]
    every = {
        "erp": ["--http-port", erp_port, *data, *mood],
        "api": ["--http-port", options.http_port, *data, *broker],
        "relay": [*data, *broker],
        "printer": [*data, *broker, *retries],
        "booking": [*erp, *broker, *retries],
        "marketing": [*data, *broker, *retries],
    }
    if options.inline:
        every["api"] += ["--inline", *erp]
    names = INLINE if options.inline else options.programs or PROGRAMS
    return {name: [sys.executable, FOLDER / f"{name}.py", *every[name]] for name in names}


def answers(port: int) -> bool:
    """Return True if a web service of ours answers on a port."""
    try:
        return httpx.get(f"http://{LOCALHOST}:{port}/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def running(options: argparse.Namespace, channel: BlockingChannel) -> list[str]:
    """Return the programs that still run, except the relay, which neither consumes nor answers.

    If we deleted the data while they run, they would go on with files that are unlinked.
    """
    topology.declare(channel, options.exchange)
    found = {name for name, count in topology.consumers(channel, options.exchange).items() if count}
    ports = {"api": options.http_port, "erp": options.erp_port}
    found |= {name for name, port in ports.items() if port and answers(port)}
    return [name for name in PROGRAMS if name in found or (name == "api" and "status" in found)]


def delete(options: argparse.Namespace, broker: Broker) -> int:
    """Delete the shop's queues and data; return the exit code. Raises Trouble if it runs."""
    connection = broker.connect()
    channel = connection.channel()
    if found := running(options, channel):
        connection.close()
        what = f"nothing is deleted: still running: {', '.join(found)}"
        raise Trouble(what, "Ctrl-C in their panes, then again", REFUSED)
    topology.delete(channel, options.exchange, options.retries)
    connection.close()
    say("*", f"The queues of {options.exchange!r} are deleted")
    if options.data.is_dir():
        shutil.rmtree(options.data)
        say("*", f"The folder {options.data} is deleted")
    return OK


def main(options: argparse.Namespace, broker: Broker) -> int:
    if options.delete:
        return delete(options, broker)
    environment = os.environ | {"AMQP_URL": url_of(broker), "PYTHONUNBUFFERED": "1"}
    return together.run(commands(options), environment)


if __name__ == "__main__":
    run_lab(main, parse())
