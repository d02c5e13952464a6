#!/usr/bin/env python3
"""Hand the orders of the API's outbox on to the broker.

    ./relay.py
    ./relay.py --again 7        # order 7 once more, as after a crash at the wrong moment

An order leaves the outbox when the broker has confirmed it. If the relay dies in between, the order
is sent twice: the services can take that.
"""

import argparse
import signal

try:
    import pika

    from kit.amqp import Broker, number
    from kit.cli import OK, REFUSED, Trouble, run_lab, say
    from shop import topology
    from shop.link import keep_connected
    from shop.options import add_data, folder, shop_parser
    from shop.order import LARGEST
    from shop.store import Store
    from shop.topology import PLACED
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"relay.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./relay.py --data /tmp/shop --exchange other     # as its API has them"""
AT_ONCE = 100  # orders that are read from the outbox at a time
LOOK_EVERY = 0.1  # seconds


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = shop_parser(__doc__, EXAMPLES, "relay.py")
    add_data(parser)
    parser.add_argument("--again", type=number(int, 1, LARGEST), metavar="NUMBER",
        help="send this order, whether it was sent or not, and end")  # fmt: skip
    options = parser.parse_args()
    return options


class Relay:
    """Takes orders from the outbox to the exchange."""

    def __init__(self, store: Store, exchange: str) -> None:
        self.store, self.exchange = store, exchange

    def run(self, connection: pika.BlockingConnection, channel) -> None:
        """Hand orders on over one connection; raises pika's errors when it is lost."""
        say("*", f"Handing orders on to {self.exchange!r}. To exit press CTRL+C")
        while True:
            for order, message in self.store.unsent(AT_ONCE):
                self.hand_on(channel, order, message)
            connection.process_data_events(time_limit=LOOK_EVERY)

    def hand_on(self, channel, order: int, message: str) -> None:
        """Publish one order; when it is confirmed, take it out of the outbox."""
        topology.publish(channel, self.exchange, PLACED, message.encode())
        self.store.sent(order)
        say("x", f"Order {order} is with the broker")

    def again(self, channel, order: int) -> None:
        """Publish one order that may have been published before. Raises Trouble."""
        known = self.store.order(order)
        if known is None:
            raise Trouble(f"there is no order {order}", "another number, or --data", REFUSED)
        topology.publish(channel, self.exchange, PLACED, known)
        say("x", f"Order {order} is with the broker once more")


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Hand orders on until told to stop; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill stops it as Ctrl-C does
    relay = Relay(Store(folder(options.data)), options.exchange)
    use = relay.run
    if options.again:
        broker.retry_for = 0  # somebody waits for it

        def use(connection, channel) -> None:
            relay.again(channel, options.again)

    try:
        keep_connected(options.exchange, broker, use)
    except KeyboardInterrupt:
        pass
    return OK


if __name__ == "__main__":
    run_lab(main, parse())
