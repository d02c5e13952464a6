#!/usr/bin/env python3
"""The warehouse's printer: a pick list, as PDF, of every order.

./printer.py
./printer.py --data /tmp/shop --exchange other     # into /tmp/shop/pick-lists
"""

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where kit is

from kit.say import requirements

with requirements("09-orders"):
    from kit.amqp import Broker
    from kit.management import run_lab
    from shop.options import add_data, add_delays, folder, shop_parser
    from shop.pick_list import print_pick_list
    from shop.service import Service

EXAMPLES = """examples:
  ./printer.py --retries 0.5,1        # impatient: two more tries"""


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = shop_parser(__doc__, EXAMPLES, "printer.py")
    add_data(parser)
    add_delays(parser)
    options = parser.parse_args()
    return options


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Print pick lists until told to stop; return the exit code."""
    work = partial(print_pick_list, folder=folder(options.data / "pick-lists"))
    return Service("printer", work, options, broker).run()


if __name__ == "__main__":
    run_lab(main, parse())
