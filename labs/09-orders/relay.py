#!/usr/bin/env python3
"""Publish the orders of the API's outbox.

    ./relay.py
    ./relay.py --again 7        # publish order 7 again, as after a crash at the wrong moment

An order leaves the outbox when the broker has confirmed it. If the relay dies in between, the order
is sent twice, which does the services no harm.
"""

import argparse
import contextlib
import sqlite3

try:
    from kit.amqp import Broker, number
    from kit.cli import OK, REFUSED, Trouble, run_lab, say, stop_as_with_ctrl_c
    from kit.web.relay import Outgoing, Relay
    from shop import topology
    from shop.options import add_data, folder, shop_parser
    from shop.order import LARGEST
    from shop.store import Store, pause_after
    from shop.topology import PLACED
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"relay.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./relay.py --data /tmp/shop --exchange other     # the same as its API's"""
BATCH = 100  # orders that are read from the outbox at a time


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "relay.py")
    add_data(parser)
    again_help = "send this order, even if it was sent before, and exit"
    parser.add_argument("--again", type=number(int, 1, LARGEST), metavar="NUMBER", help=again_help)
    return parser.parse_args()


class OrderRelay(Relay):
    """Publishes the orders in the outbox to the exchange."""

    tick = 0.1  # seconds: another program fills the outbox, and cannot wake us

    def __init__(self, store: Store, exchange: str, broker: Broker) -> None:
        super().__init__(broker)
        self.store, self.exchange = store, exchange

    def declare(self, channel) -> None:
        topology.declare(channel, self.exchange)

    def ready(self) -> str:
        return f"Handing orders on to {self.exchange!r}. To exit press CTRL+C"

    def use(self, channel) -> None:
        try:
            super().use(channel)
        except sqlite3.Error as error:
            raise pause_after(error) from error

    def unpublished(self) -> list[Outgoing]:
        return [
            Outgoing(order, self.exchange, PLACED, message.encode())
            for order, message in self.store.unsent(BATCH)
        ]

    def mark_published(self, message: Outgoing) -> None:
        self.store.mark_sent(message.key)
        say("x", f"Order {message.key} is with the broker")


def publish_again(store: Store, exchange: str, number: int, broker: Broker) -> None:
    """Publish one order that may have been published before. Raises Trouble."""
    order = store.order(number)
    if order is None:
        raise Trouble(f"there is no order {number}", "another number, or --data", REFUSED)
    connection = broker.connect()
    channel = connection.channel()
    topology.declare(channel, exchange)
    channel.confirm_delivery()
    topology.publish(channel, exchange, PLACED, order)
    connection.close()
    say("x", f"Order {number} is with the broker once more")


def main(options: argparse.Namespace, broker: Broker) -> int:
    stop_as_with_ctrl_c()
    store = Store(folder(options.data))
    if options.again:
        publish_again(store, options.exchange, options.again, broker)
        return OK
    with contextlib.suppress(KeyboardInterrupt):
        OrderRelay(store, options.exchange, broker).run()
    return OK


if __name__ == "__main__":
    run_lab(main, parse())
