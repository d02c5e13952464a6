"""The API's database: orders, their steps, and the outbox, in one SQLite file.

An order, its steps and its message are stored in one transaction: all of it or nothing. Whoever has
an answer from place() can pull the plug: synchronous=FULL waits for the disk.
"""

import json
import sqlite3
import threading
from datetime import datetime, timezone
from pathlib import Path

from shop.order import Event, NewOrder, Order
from shop.topology import STEPS

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, customer_name TEXT, product_ids TEXT, placed TEXT);
CREATE TABLE IF NOT EXISTS steps (
    number INTEGER REFERENCES orders, step TEXT, state TEXT, note TEXT,
    PRIMARY KEY (number, step));
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY REFERENCES orders, message TEXT);
"""
WAITING = "waiting"


def open_database(file: Path, schema: str) -> sqlite3.Connection:
    """Open a SQLite file that several programs may use at a time; it is made if there is none."""
    database = sqlite3.connect(file, timeout=30, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(schema)
    return database


class Store:
    """The database, to be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._database = open_database(folder / "shop.db", SCHEMA)
        self._lock = threading.Lock()

    def place(self, new: NewOrder, *, outbox: bool = True) -> Order:
        """Store a new order, and its message in the outbox; return it with its number."""
        placed = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        values = new.customer_name, json.dumps(new.product_ids), placed
        with self._lock, self._database as database:
            number = database.execute(
                "INSERT INTO orders (customer_name, product_ids, placed) VALUES (?, ?, ?)", values
            ).lastrowid
            order = Order(number=number, placed=placed, **new.model_dump())
            database.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, '')",
                [(number, step, WAITING) for step in STEPS.values()],
            )
            if outbox:
                message = order.model_dump_json()
                database.execute("INSERT INTO outbox VALUES (?, ?)", (number, message))
        return order

    def mark(self, event: Event) -> bool:
        """Note what became of a step; return whether there is such a step. Done stays done."""
        with self._lock, self._database as database:
            known = database.execute(
                "UPDATE steps SET state = CASE state WHEN 'done' THEN state ELSE :state END,"
                " note = CASE state WHEN 'done' THEN note ELSE :note END"
                " WHERE number = :number AND step = :step",
                event.model_dump(),
            )
        return known.rowcount > 0

    def newest(self, count: int) -> list[dict]:
        """Return the newest orders, the newest first, each as get does."""
        with self._lock:
            query = "SELECT number FROM orders ORDER BY number DESC LIMIT ?"
            numbers = [number for (number,) in self._database.execute(query, (count,))]
        return [self.get(number) for number in numbers]

    def get(self, number: int) -> dict | None:
        """Return an order with its status and its steps, None if there is none."""
        order = self.order(number)
        if order is None:
            return None
        with self._lock:
            rows = self._database.execute(
                "SELECT step, state, note FROM steps WHERE number = ? ORDER BY rowid", (number,)
            ).fetchall()
        states = {state for _, state, _ in rows}
        status = "parked" if "parked" in states else "done" if states == {"done"} else "in work"
        return order.model_dump() | {
            "status": status,
            "steps": {step: state for step, state, _ in rows},
            "notes": {step: note for step, _, note in rows if note},
        }

    def order(self, number: int) -> Order | None:
        """Return an order as the services get it, None if there is none."""
        with self._lock:
            row = self._database.execute(
                "SELECT customer_name, product_ids, placed FROM orders WHERE number = ?", (number,)
            ).fetchone()
        if row is None:
            return None
        name, products, placed = row
        return Order(
            number=number, customer_name=name, product_ids=json.loads(products), placed=placed
        )

    def unsent(self, count: int) -> list[tuple[int, str]]:
        """Return number and message of the oldest orders that wait in the outbox."""
        with self._lock:
            query = "SELECT number, message FROM outbox ORDER BY number LIMIT ?"
            return self._database.execute(query, (count,)).fetchall()

    def sent(self, number: int) -> None:
        """Take an order's message out of the outbox: the broker has it."""
        with self._lock, self._database as database:
            database.execute("DELETE FROM outbox WHERE number = ?", (number,))

    def in_outbox(self) -> int:
        """Return how many messages wait in the outbox."""
        with self._lock:
            return self._database.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]
