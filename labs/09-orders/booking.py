#!/usr/bin/env python3
"""Book every order in the ERP, however slow and moody it is.

./booking.py
./booking.py --erp http://127.0.0.1:8010 --retries 1,4,16
"""

import argparse

try:
    from kit.amqp import Broker
    from kit.cli import run_lab
    from shop.ledger import Ledger
    from shop.options import add_delays, add_erp, shop_parser
    from shop.service import Service
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"booking.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./booking.py --retries 0.5,1        # impatient: two more tries"""


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "booking.py")
    add_erp(parser)
    add_delays(parser)
    return parser.parse_args()


def main(options: argparse.Namespace, broker: Broker) -> int:
    return Service("booking", Ledger(options.erp).book, options, broker).serve()


if __name__ == "__main__":
    run_lab(main, parse())
