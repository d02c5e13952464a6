#!/usr/bin/env python3
"""The warehouse's printer: print a pick list, as PDF, for every order.

./printer.py
./printer.py --data /tmp/shop --exchange other     # into /tmp/shop/pick-lists
"""

import argparse
from functools import partial

try:
    from kit.amqp import Broker
    from kit.cli import run_lab
    from shop.options import add_data, add_delays, folder, shop_parser
    from shop.pick_list import print_pick_list
    from shop.service import Service
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"printer.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./printer.py --retries 0.5,1        # impatient: two more tries"""


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "printer.py")
    add_data(parser)
    add_delays(parser)
    return parser.parse_args()


def main(options: argparse.Namespace, broker: Broker) -> int:
    work = partial(print_pick_list, folder=folder(options.data / "pick-lists"))
    return Service("printer", work, options, broker).serve()


if __name__ == "__main__":
    run_lab(main, parse())
