#!/usr/bin/env python3
"""Take orders: store each, answer at once, and show its progress on a page.

    ./api.py                # the page is http://127.0.0.1:8009/
    ./api.py --inline       # does all the work inside the request

It needs no broker to take orders. relay.py publishes them; what the services have done comes back
through the queue orders.status.
"""

import argparse
import threading
from collections.abc import Callable

try:
    from kit.amqp import Broker
    from kit.cli import run_lab
    from kit.web.address import add_http, port_of
    from kit.web.events import EventStream
    from kit.web.serving import listen, serve
    from shop.counts import Counts
    from shop.ledger import Ledger
    from shop.options import SHOP, SHOP_PORT, add_data, add_erp, folder, shop_parser
    from shop.order import Event, Order, TryLater
    from shop.status import Status
    from shop.store import Store
    from shop.web import make_app
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"api.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./api.py --http-port 0 --data /tmp/shop --exchange other     # any free port, another shop
  ./api.py --inline --erp http://127.0.0.1:8010"""


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "api.py")
    add_data(parser)
    add_http(parser, port_of(SHOP, SHOP_PORT))
    inline_help = "print, book and count inside the request; no broker, no services"
    parser.add_argument("--inline", action="store_true", help=inline_help)
    add_erp(parser)
    return parser.parse_args()


def inline(options: argparse.Namespace, store: Store) -> Callable[[Order], None]:
    """Return a function that does all steps of an order while the customer waits."""
    from shop.pick_list import print_pick_list  # here because it loads slowly

    lists = folder(options.data / "pick-lists")
    ledger, data = Ledger(options.erp), folder(options.data)

    def do_it_all(order: Order) -> None:
        print_pick_list(order, lists)
        store.mark(Event(number=order.number, step="printed", state="done"))
        try:
            ledger.book(order)
        except Exception as error:
            why = f"order {order.number} is stored and printed, but not booked: {error}"
            event = Event(number=order.number, step="booked", state="failed", note=str(error))
            store.mark(event)
            raise TryLater(why) from error
        store.mark(Event(number=order.number, step="booked", state="done"))
        Counts(data).count(order)  # opened anew: requests are answered in several threads
        store.mark(Event(number=order.number, step="counted", state="done"))

    return do_it_all


def main(options: argparse.Namespace, broker: Broker) -> int:
    store, stream = Store(folder(options.data)), EventStream()
    listener = listen(options.http_bind, options.http_port)
    if options.inline:
        app = make_app(store, stream, dict, inline(options, store))
    else:
        status = Status(options.exchange, broker, store, stream)
        threading.Thread(target=status.run, daemon=True).start()
        app = make_app(store, stream, lambda: status.services, None)
    return serve(app, listener, at_end=stream.end)


if __name__ == "__main__":
    run_lab(main, parse())
