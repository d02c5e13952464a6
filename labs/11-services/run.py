#!/usr/bin/env python3
"""Run the services of the conference site, all of them or some, until Ctrl-C.

    ./run.py                          # all four
    ./run.py workflow attendees       # these two, in this order

Each is a process of its own. When one of them ends, all end.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where kit is

from kit.say import requirements

with requirements("11-services"):
    import producer
    from conference.options import parse, service_parser
    from kit import crew
    from kit.management import url_of
    from producer import number

HERE = Path(__file__).resolve().parent
SERVICES = ("monolith", "attendees", "workflow", "mail")
EXAMPLES = """examples:
  ./run.py --via polling --every 2       # the attendees service asks, and is not told
  ./run.py monolith mail workflow        # attendees.py in a terminal of its own"""


def command(service: str, options: argparse.Namespace) -> list:
    """Return the command line of a service."""
    words = [sys.executable, HERE / f"{service}.py", "--data", options.data]
    if service != "mail":
        words += ["--prefix", options.prefix]
        words += ["--cafile", options.cafile] if options.cafile else []
    if service == "attendees":
        words += ["--via", options.via, "--every", options.every]
    return words


def main(options: argparse.Namespace, broker: dict) -> int:
    """Run the services until somebody stops them, or one of them ends; return the exit code."""
    environment = os.environ | {"AMQP_URL": url_of(broker)}
    wanted = options.services or SERVICES
    return crew.run({service: command(service, options) for service in wanted}, environment)


def options() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = service_parser(__doc__, EXAMPLES, "run.py", None)
    parser.add_argument("services", nargs="*", metavar="SERVICE",
        help=f"{', '.join(SERVICES)} (default: all)")  # fmt: skip
    add = parser.add_argument
    add("--via", choices=["messages", "polling"], default="messages",
        help="how the attendees service learns of changes (default: %(default)s)")  # fmt: skip
    add("--every", type=number(float, 0.05, 86400), default=5, metavar="SECONDS",
        help="with --via polling: ask so often (default: %(default)s)")  # fmt: skip
    options, broker = parse(parser)
    if unknown := [name for name in options.services if name not in SERVICES]:
        parser.error(f"there is no service {unknown[0]!r}: {', '.join(SERVICES)}")
    if len(set(options.services)) < len(options.services):
        parser.error("each service once")
    return options, broker


if __name__ == "__main__":
    chosen, where = options()
    producer.run(lambda: main(chosen, where), chosen.verbose)
