#!/usr/bin/env python3
"""Marketing: count how often each product is ordered.

./marketing.py
./marketing.py --data /tmp/shop --exchange other     # into /tmp/shop/marketing.db
"""

import argparse

try:
    from kit.amqp import Broker
    from kit.cli import run_lab
    from shop.counts import Counts
    from shop.options import add_data, add_delays, folder, shop_parser
    from shop.service import Service
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"marketing.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./marketing.py --retries 0.5,1        # impatient: two more tries"""


def parse() -> argparse.Namespace:
    parser = shop_parser(__doc__, EXAMPLES, "marketing.py")
    add_data(parser)
    add_delays(parser)
    return parser.parse_args()


def main(options: argparse.Namespace, broker: Broker) -> int:
    return Service("marketing", Counts(folder(options.data)).count, options, broker).serve()


if __name__ == "__main__":
    run_lab(main, parse())
