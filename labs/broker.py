#!/usr/bin/env python3
"""A real RabbitMQ in one command, with or without Docker, with or without root.

labs/broker.py up                     # takes the first way that works, and says which
labs/broker.py down                   # stops it; queues and messages are kept

Everything lies in .broker/ beside labs/: .broker/NODE is a broker's data, log and configuration,
.broker/unpacked the RabbitMQ itself where it came from Debian's packages.
"""

import argparse
import re

from kit.broker.lab import TRANSPORTS, Broker
from kit.broker.versions import SUITES
from kit.cli import OK, Trouble, run

EPILOG = """\
the ways of "up", in this order (--via forces one):
  existing   something already answers AMQP on the port: use it
  docker     docker compose up -d --wait, with docker-compose.yml
  installed  a private node of the RabbitMQ that is installed here
  unpacked   the same of Debian's or Ubuntu's packages, unpacked under .broker/, not installed

  labs/broker.py up --node b --port 5673               # a second one beside it
  labs/broker.py up --version 4.3 --node new           # another RabbitMQ
  labs/broker.py kill && labs/broker.py up             # a power cut, and back
  labs/broker.py down --wipe                           # forget queues and messages

exit codes: 0 done, 1 unexpected, 2 usage, 3 no broker, 130 stopped by Ctrl-C
"""


def parse() -> argparse.Namespace:
    """Read the command line."""

    def node_name(text: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", text) or text == "unpacked":
            raise argparse.ArgumentTypeError("a name of a-z, 0-9, - and _ (and not 'unpacked')")
        return text

    def port(text: str) -> int:
        if not text.isdigit() or not 1 <= int(text) <= 65535:
            raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
        return int(text)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--node", default="lab", type=node_name, help="which broker (default: lab)")
    common.add_argument("--port", type=port, help="for AMQP (default: as last time, or 5672)")
    common.add_argument(
        "--management-port", type=port, help="of the management page (default: 10000 more)"
    )
    common.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    helps = {
        "up": "bring a broker up, and say how to connect",
        "down": "stop it",
        "status": "say what runs (exit code 3: nothing)",
        "restart": "stop it politely and start it again",
        "kill": "end it as a power cut would",
        "logs": "print its log",
    }
    verb = {name: verbs.add_parser(name, help=helps[name], parents=[common]) for name in helps}
    verb["up"].add_argument("--via", choices=TRANSPORTS, help="force one way")
    verb["up"].add_argument("--version", choices=SUITES, help="which RabbitMQ")
    verb["down"].add_argument("--wipe", action="store_true", help="forget queues and messages too")
    verb["logs"].add_argument("-f", "--follow", action="store_true", help="wait for more lines")
    return parser.parse_args()


def main(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit code."""
    words = vars(options)
    verb, _ = words.pop("verb"), words.pop("verbose")
    broker = [words.pop(key) for key in ("node", "port", "management_port")]
    try:
        getattr(Broker(*broker), verb)(**words)
    except PermissionError as error:
        hint = "QUEUE_LAB_BROKER_DIR=SOME/FOLDER (that one is another user's, perhaps root's)"
        raise Trouble(f"{error.filename}: {error.strerror}", hint, 1) from error
    except KeyboardInterrupt:
        if verb != "logs":
            raise
    return OK


if __name__ == "__main__":
    run(main, parse())
