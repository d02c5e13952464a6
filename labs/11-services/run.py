#!/usr/bin/env python3
"""Run the services of the conference site, all of them or some, until Ctrl-C.

    ./run.py                          # all four
    ./run.py workflow attendees       # these two, in this order
    ./run.py --delete                 # delete the site's queues and data

Each is a separate process. When one of them ends, all end.
"""

import argparse
import contextlib
import os
import shutil
import sys
from pathlib import Path

try:
    from conference.database import Database
    from conference.names import Names
    from conference.options import add_via, parse, site_parser
    from kit.amqp import Broker
    from kit.cli import OK, UNEXPECTED, Trouble, run_lab, say, url_of
    from kit.web import together
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"run.py: error: {missing}\n  try: {hint}") from None

HERE = Path(__file__).resolve().parent
SERVICES = ("monolith", "attendees", "workflow", "mail")
EXAMPLES = """examples:
  ./run.py --via polling --every 2       # the attendees service polls
  ./run.py monolith mail workflow        # attendees.py in a terminal of its own"""


def command(service: str, options: argparse.Namespace) -> list:
    arguments = [sys.executable, HERE / f"{service}.py", "--data", options.data]
    arguments += ["--verbose"] if options.verbose else []
    if service != "mail":
        arguments += ["--prefix", options.prefix]
    if service == "attendees":
        arguments += ["--via", options.via, "--every", options.every]
    return arguments


def delete(options: argparse.Namespace, broker: Broker) -> int:
    """Delete the site's queues and data, unless it runs; return the exit code."""
    for path in options.data.glob("*.sqlite3"):
        Database(path.parent, path.name, "").close()  # fails if its service runs
    connection = broker.connect()
    channel = connection.channel()
    names = Names(options.prefix)
    names.declare_copy(channel)
    names.declare_presentations(channel)
    for queue in names.queues:
        if channel.queue_declare(queue, passive=True).method.consumer_count:
            raise Trouble(f"somebody reads {queue!r}", "end the services first", UNEXPECTED)
    names.delete(channel)
    connection.close()
    say("*", "The queues and the exchange are deleted")
    for path in options.data.glob("*.sqlite3*"):
        path.unlink()
    shutil.rmtree(options.data / "mail", ignore_errors=True)
    with contextlib.suppress(OSError):  # it does not exist, or is not empty
        options.data.rmdir()
        say("*", f"The folder {options.data} is deleted")
    return OK


def main(options: argparse.Namespace, broker: Broker) -> int:
    if options.delete:
        return delete(options, broker)
    environment = os.environ | {"AMQP_URL": url_of(broker)}
    services = options.services or SERVICES
    return together.run({name: command(name, options) for name in services}, environment)


def options() -> argparse.Namespace:
    parser = site_parser(__doc__, EXAMPLES, "run.py")
    add = parser.add_argument
    services_help = f"{', '.join(SERVICES)} (default: all)"
    add("services", nargs="*", metavar="SERVICE", help=services_help)
    add("--delete", action="store_true", help="delete the queues and the data, and exit")
    add_via(parser)
    options = parse(parser)
    if unknown := [name for name in options.services if name not in SERVICES]:
        parser.error(f"there is no service {unknown[0]!r}: {', '.join(SERVICES)}")
    if len(set(options.services)) < len(options.services):
        parser.error("each service once")
    return options


if __name__ == "__main__":
    run_lab(main, options())
