#!/usr/bin/env python3
"""Run the shop: the API, the relay, the services and the ERP; Ctrl-C ends them all.

./run.py                        # all of it; the page is http://127.0.0.1:8009/
./run.py printer marketing      # only these
./run.py --inline               # the API that does all the work itself, and the ERP
./run.py --delete               # what the shop has left: its queues and its data
"""

import argparse
import os
import shlex
import shutil
import signal
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where kit is

from kit.net import HERE, free_port
from kit.say import requirements

with requirements("09-orders"):
    from honcho.manager import Manager
    from honcho.printer import Message, Printer

    import producer
    from producer import INTERRUPTED, OK, connect, number, say
    from shop import topology
    from shop.options import (
        ERP_PORT,
        SHOP_PORT,
        add_data,
        add_delays,
        broker_url,
        shop_parser,
    )

EXAMPLES = """examples:
  ./run.py api relay printer marketing        # all but the booking and the ERP
  ./run.py --erp-seconds 3 --erp-fail-every 2"""
PROGRAMS = ("erp", "api", "relay", *topology.STEPS)
INLINE = ("erp", "api")
FOLDER = Path(__file__).resolve().parent


class Lines(Printer):
    """Prints the programs' lines; when there is nowhere to print any more, ends them all."""

    def write(self, message: Message) -> None:
        """Print the lines of a message."""
        try:
            super().write(message)
        except OSError:
            self.output = open(os.devnull, "w")
            signal.raise_signal(signal.SIGTERM)


class Crew(Manager):
    """honcho's manager, which here can be told to stop before all its programs are started."""

    def terminate(self) -> None:
        """End all programs."""
        if all("pid" in program for program in self._processes.values()):
            super().terminate()
        else:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = shop_parser(__doc__, EXAMPLES, "run.py", stays=False)
    add = parser.add_argument
    add("programs", nargs="*", metavar="PROGRAM", help=f"{', '.join(PROGRAMS)} (default: all)")
    add("--inline", action="store_true", help="all the work inside the request, no broker")
    add("--delete", action="store_true", help="delete the queues and the data, and end")
    add_data(parser)
    add_delays(parser)
    add = parser.add_argument_group("web services").add_argument
    add("--http-port", type=number(int, 0, 65535), metavar="PORT",
        default=os.environ.get("LAB_HTTP_PORT") or SHOP_PORT,
        help=f"of the API; 0: any free one (default: LAB_HTTP_PORT, or {SHOP_PORT})")  # fmt: skip
    add("--erp-port", type=number(int, 0, 65535), metavar="PORT",
        default=os.environ.get("LAB_ERP_PORT") or ERP_PORT,
        help=f"of the ERP, 0 for any free one (default: LAB_ERP_PORT, or {ERP_PORT})")  # fmt: skip
    add("--erp-seconds", type=number(float, 0, 3600), default=1, metavar="SECONDS",
        help="how slow the ERP is (default: %(default)s)")  # fmt: skip
    add("--erp-fail-every", type=number(int, 0), default=5, metavar="N",
        help="the ERP fails at every Nth order, 0 for never (default: %(default)s)")  # fmt: skip
    options = parser.parse_args()
    if unknown := set(options.programs) - set(PROGRAMS):
        parser.error(f"there is no program {unknown.pop()!r}, only {', '.join(PROGRAMS)}")
    if options.inline and (options.programs or options.delete):
        parser.error("--inline goes alone: it runs the API and the ERP")
    return options, producer.broker_options(parser, options)


def commands(options: argparse.Namespace) -> dict[str, list]:
    """Return the command line of each program that is wanted."""
    data = ["--data", options.data]
    erp_port = options.erp_port or free_port()
    erp = ["--erp", f"http://{HERE}:{erp_port}"]
    broker = ["--exchange", options.exchange]
    broker += ["--cafile", options.cafile] if options.cafile else []
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
    wanted = INLINE if options.inline else options.programs or PROGRAMS
    return {name: [sys.executable, FOLDER / f"{name}.py", *every[name]] for name in wanted}


def delete(options: argparse.Namespace, broker: dict) -> int:
    """Delete what the shop has left; return the exit code."""
    connection = connect(**broker)
    topology.delete(connection.channel(), options.exchange, options.retries)
    connection.close()
    say("*", f"The queues of {options.exchange!r} are deleted")
    if options.data.is_dir():
        shutil.rmtree(options.data)
        say("*", f"The folder {options.data} is deleted")
    return OK


def main(options: argparse.Namespace, broker: dict) -> int:
    """Run the programs until told to stop; return the exit code."""
    if options.delete:
        return delete(options, broker)
    environment = os.environ | {"AMQP_URL": broker_url(broker), "PYTHONUNBUFFERED": "1"}
    crew = Crew(Lines(sys.stdout))
    for name, command in commands(options).items():
        # Without exec the pid that is printed would be that of a shell around the program.
        crew.add_process(name, f"exec {shlex.join(map(str, command))}", env=environment)
    if hasattr(signal, "SIGHUP"):  # the terminal was closed
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    crew.loop()
    stopped = crew.returncode in (INTERRUPTED, 128 + signal.SIGTERM)
    return OK if stopped else crew.returncode


if __name__ == "__main__":
    chosen, where = parse()
    producer.run(lambda: main(chosen, where), chosen.verbose)
