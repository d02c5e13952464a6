#!/usr/bin/env python3
"""A fake ERP: books orders, slowly, and fails now and then.

    ./erp.py                                   # a second for each, every 5th fails
    ./erp.py --seconds 3 --fail-every 0        # slower, never fails

It fails in the nastiest way: the order is booked, but the answer says 503.
"""

import argparse
import itertools
import sqlite3
import threading
import time
from pathlib import Path
from typing import Annotated

try:
    from fastapi import FastAPI, HTTPException, Response
    from fastapi import Path as InPath

    from kit.amqp import number
    from kit.cli import plain_parser, run, say
    from kit.web.address import add_http, port_of
    from kit.web.serving import listen, serve
    from shop.options import ERP, SHOP_PORT, add_data, folder
    from shop.order import LARGEST, NewOrder
    from shop.store import open_database
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"erp.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./erp.py --http-port 0 --data /tmp/shop

exit codes: 0 stopped politely, 1 unexpected, 2 usage"""
SCHEMA = "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, entry TEXT)"
Number = Annotated[int, InPath(ge=1, le=LARGEST)]


class Entries:
    """The booked orders: one entry for each, kept in a SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._database: sqlite3.Connection = open_database(folder / "erp.db", SCHEMA)
        self._lock = threading.Lock()

    def put(self, order: int, entry: str) -> str:
        """Book an order unless it is booked; return what is booked under its number."""
        with self._lock, self._database as database:
            database.execute("INSERT OR IGNORE INTO entries VALUES (?, ?)", (order, entry))
        return self.get(order)

    def get(self, order: int) -> str | None:
        """Return the entry of an order, None if there is none."""
        with self._lock:
            row = self._database.execute("SELECT entry FROM entries WHERE number = ?", (order,))
            return next((entry for (entry,) in row), None)

    def numbers(self) -> list[int]:
        with self._lock:
            rows = self._database.execute("SELECT number FROM entries ORDER BY number")
            return [order for (order,) in rows]


def make_app(entries: Entries, seconds: float, fail_every: int) -> FastAPI:
    app, calls = FastAPI(title="ERP", docs_url=None, redoc_url=None), itertools.count(1)

    @app.put("/entries/{order}", status_code=201)
    def put(order: Number, entry: NewOrder, response: Response) -> NewOrder:
        """Book an order: 201 if it is new, 200 if it is not, 409 if another has that number."""
        call, known = next(calls), entries.get(order) is not None
        time.sleep(seconds)
        if entries.put(order, entry.model_dump_json()) != entry.model_dump_json():
            say("!", f"Order {order}: another one has that number")
            raise HTTPException(409, f"another order has the number {order}")
        if fail_every and call % fail_every == 0:
            say("!", f"Order {order}: booked, but nobody learns of it (503)")
            raise HTTPException(503, "moody")
        say("x", f"Order {order}: " + ("is booked already" if known else "booked"))
        response.status_code = 200 if known else 201
        return entry

    @app.get("/entries")
    def numbers() -> list[int]:
        return entries.numbers()

    @app.get("/health")
    def health() -> dict:
        return {"status": "ok"}

    return app


def parse() -> argparse.Namespace:
    parser = plain_parser(__doc__, EXAMPLES)
    add_data(parser)
    add_http(parser, port_of(ERP, SHOP_PORT))
    add = parser.add_argument_group("mood").add_argument
    seconds_help = "for each order (default: %(default)s)"
    add("--seconds", type=number(float, 0, 3600), default=1, help=seconds_help)
    fail_help = "book every Nth order, but say 503; 0 for never (default: %(default)s)"
    add("--fail-every", type=number(int, 0), default=5, metavar="N", help=fail_help)
    return parser.parse_args()


def main(options: argparse.Namespace) -> int:
    entries = Entries(folder(options.data))
    listener = listen(options.http_bind, options.http_port)
    code = serve(make_app(entries, options.seconds, options.fail_every), listener)
    say("*", f"Stopped; orders booked: {len(entries.numbers())}")
    return code


if __name__ == "__main__":
    run(main, parse())
