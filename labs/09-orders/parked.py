#!/usr/bin/env python3
"""Show the messages that the services have parked, and why; or send them through once more.

./parked.py                     # all of them
./parked.py --replay            # give them back to their services, as if never tried
./parked.py booking --drop      # throw away those of one service
"""

import argparse
from collections.abc import Iterator

try:
    from pika.adapters.blocking_connection import BlockingChannel

    from kit.amqp import Broker, show
    from kit.cli import OK, clean, run_lab, say
    from shop import topology
    from shop.options import shop_parser
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"parked.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./parked.py booking             # those of one service
  ./parked.py --replay            # after the trouble is fixed"""


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "parked.py", stays=False)
    services_help = f"{', '.join(topology.STEPS)} (default: all)"
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=services_help)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--replay", action="store_true", help="give them back to their services")
    one.add_argument("--drop", action="store_true", help="throw them away")
    options = parser.parse_args()
    if unknown := set(options.services) - set(topology.STEPS):
        parser.error(f"there is no service {unknown.pop()!r}, only {', '.join(topology.STEPS)}")
    return options


def parked(channel: BlockingChannel, exchange: str, service: str) -> Iterator[tuple]:
    """Yield the messages that are parked now as pika's (method, properties, body).

    Those that are not acknowledged go back to their places when the connection closes.
    """
    queue = topology.declare_parked(channel, exchange, service)
    count = channel.queue_declare(queue, passive=True).method.message_count
    for _ in range(count):  # not more: a service may park others meanwhile
        method, properties, body = channel.basic_get(queue)
        if method is None:
            return
        yield method, properties, body


def main(options: argparse.Namespace, broker: Broker) -> int:
    connection = broker.connect()
    channel, count = connection.channel(), 0
    topology.declare(channel, options.exchange)
    channel.confirm_delivery()
    action = "Given back to" if options.replay else "Dropped, from" if options.drop else "Parked by"
    for service in options.services or topology.STEPS:
        for method, properties, body in parked(channel, options.exchange, service):
            headers = properties.headers or {}
            if options.replay:
                topology.publish(channel, "", topology.queue_of(options.exchange, service), body)
            if options.replay or options.drop:
                channel.basic_ack(method.delivery_tag)
            say("x", f"{action} {service}: {show(body)}")
            attempts, why = (clean(str(headers.get(key))) for key in ("attempts", "reason"))
            say("*", f"    attempts: {attempts}   reason: {why}")
            count += 1
    connection.close()
    if not count:
        say("*", "Nothing is parked")
    return OK


if __name__ == "__main__":
    run_lab(main, parse())
