#!/usr/bin/env python3
"""Send messages to an exchange, which gives a copy to each queue that is bound to it.

    ./emit.py --exchange news rain snow
    ./emit.py --exchange logs --type topic --key kern.error "disk full"

The broker confirms every message. It drops one for which no queue is bound; emit.py says so.
"""

import argparse
import os
import sys
from collections.abc import Iterator

try:
    from exchanges import (
        TYPES,
        Announcer,
        broker_of,
        make_parser,
        read_lines,
        valid_exchange,
        valid_key,
    )

    from kit.amqp import Broker, show
    from kit.cli import OK, REFUSED, run, say, stop_as_with_ctrl_c
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"emit.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./emit.py --exchange news --persistent < news.txt       # one message a line
  ./emit.py --exchange '' --key ada hello                 # the default exchange: to queue 'ada'

If nobody is subscribed to an exchange, that is no error: exit code 0. If the default exchange finds
no queue named like the key, it is one: exit code 4."""


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLES, "emit.py")
    parser.set_defaults(heartbeat=0)  # nobody answers heartbeats while we wait for a line
    parser.add_argument("messages", nargs="*", metavar="MESSAGE", help="default: lines of stdin")
    add = parser.add_argument_group("exchange").add_argument
    add(
        "--exchange",
        type=valid_exchange,
        required=True,
        metavar="NAME",
        help="created if missing; '' is the default exchange",
    )
    add("--type", choices=TYPES, default="fanout", help="(default: %(default)s)")
    add("--key", type=valid_key, help="the routing key, for direct and topic exchanges")
    add("--persistent", action="store_true", help="durable queues keep the messages over a restart")
    options = parser.parse_args()
    if not options.exchange:
        options.type = "direct"
    if options.key is None:
        if options.type != "fanout":
            parser.error(f"a {options.type} exchange goes by the key: add --key KEY")
        options.key = ""
    if not options.messages and not sys.stdin:
        parser.error("no MESSAGE to send: give one or more after the options")
    return options


def bodies(messages: list[str]) -> Iterator[bytes]:
    """Yield the messages of the command line, or the lines of standard input as they come."""
    if messages:
        yield from map(os.fsencode, messages)
        return
    if sys.stdin.isatty():
        say("!", "Type a message, then Enter; end with Ctrl-D (Windows: Ctrl-Z, Enter)")
    yield from read_lines()


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Send everything; return the exit code."""
    stop_as_with_ctrl_c()
    announcer = Announcer(broker, options.exchange, options.type, persistent=options.persistent)
    to = f"{options.exchange!r}" if options.exchange else "the default exchange"
    to += f", key {options.key!r}" if options.key else ""
    code = OK
    for body in bodies(options.messages):
        if announcer.publish(body, options.key):
            say("x", f"Sent {show(body)} to {to}")
        elif options.exchange:
            say("!", f"Nobody is subscribed to {to}: {show(body)} is dropped")
        else:
            say("!", f"There is no queue {options.key!r}: {show(body)} is dropped")
            code = REFUSED
    announcer.close()
    return code


if __name__ == "__main__":
    run(lambda options: main(options, broker_of(options)), parse())
