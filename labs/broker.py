#!/usr/bin/env python3
"""A real RabbitMQ in one command, with or without Docker, with or without root.

labs/broker.py up                     # tries four ways in turn, and says which one worked
labs/broker.py down                   # stops it; queues and messages are kept

Everything is kept in .broker/ beside labs/: .broker/NODE holds a broker's data, log and
configuration, .broker/unpacked a RabbitMQ that was unpacked from Debian's packages.
"""

import argparse
import re

from kit.broker.lab import TRANSPORTS, Broker
from kit.broker.versions import SUITES
from kit.cli import OK, Trouble, run

EPILOG = """\
the ways that "up" tries, in this order (--via allows only one):
  existing   something already answers AMQP on the port: use it
  docker     docker compose up -d --wait, with docker-compose.yml
  installed  a private node of the RabbitMQ that is installed here
  unpacked   the same from Debian's or Ubuntu's packages, unpacked in .broker/, not installed

  labs/broker.py up --node b --port 5673               # a second one beside it
  labs/broker.py up --version 4.3 --node new           # another version
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
    common.add_argument("--port", type=port, help="for AMQP (default: the last one used, or 5672)")
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
        "up": "start a broker, and say how to connect",
        "down": "stop it",
        "status": "say what is running (exit code 3: nothing)",
        "restart": "stop it politely and start it again",
        "kill": "end it as a power cut would",
        "logs": "print its log",
    }
    verb = {name: verbs.add_parser(name, help=helps[name], parents=[common]) for name in helps}
    verb["up"].add_argument("--via", choices=TRANSPORTS, help="use only this way")
    verb["up"].add_argument("--version", choices=SUITES, help="of RabbitMQ (default: any)")
    verb["down"].add_argument("--wipe", action="store_true", help="forget queues and messages too")
    verb["logs"].add_argument("-f", "--follow", action="store_true", help="print new lines too")
    return parser.parse_args()


def main(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    words = vars(options)
    verb, _ = words.pop("verb"), words.pop("verbose")
    broker = [words.pop(key) for key in ("node", "port", "management_port")]
    try:
        getattr(Broker(*broker), verb)(**words)
    except PermissionError as error:
        hint = "QUEUE_LAB_BROKER_DIR=SOME/FOLDER (this folder is another user's, perhaps root's)"
        raise Trouble(f"{error.filename}: {error.strerror}", hint, 1) from error
    except KeyboardInterrupt:
        if verb != "logs":
            raise
    return OK


if __name__ == "__main__":
    run(main, parse())
