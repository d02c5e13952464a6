"""The API's database: orders, their steps, and the outbox, in one SQLite file.

An order, its steps and its message are stored in one transaction: all of them or none. Once
place() has returned, not even a power cut loses the order: synchronous=FULL waits for the disk.
"""

import json
import sqlite3
import threading
from datetime import datetime, timezone
from pathlib import Path

from kit.web.connection import Pause
from shop.order import Event, NewOrder, Order
from shop.topology import STEPS

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, customer_name TEXT, product_ids TEXT, placed TEXT);
CREATE TABLE IF NOT EXISTS steps (
    number INTEGER REFERENCES orders, step TEXT, state TEXT, note TEXT,
    PRIMARY KEY (number, step));
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY REFERENCES orders, message TEXT);
CREATE TABLE IF NOT EXISTS keys (key TEXT UNIQUE, number INTEGER REFERENCES orders);
"""
WAITING = "waiting"
DATABASE_PAUSE = 1  # second


def pause_after(error: sqlite3.Error) -> Pause:
    """Return the pause of a consumer or a relay whose database fails."""
    return Pause(f"The database fails: {error}", DATABASE_PAUSE)


def open_database(file: Path, schema: str) -> sqlite3.Connection:
    """Open a SQLite file that several programs may use; create it if there is none."""
    database = sqlite3.connect(file, timeout=30, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(schema)
    return database


class Store:
    """The database; it may be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._database = open_database(folder / "shop.db", SCHEMA)
        self._lock = threading.Lock()

    def known(self, key: str | None) -> int | None:
        """Return the number of the order that came with a key, None if there is none."""
        with self._lock:
            row = self._database.execute("SELECT number FROM keys WHERE key = ?", (key,)).fetchone()
            return row and row[0]

    def place(self, new: NewOrder, *, key: str | None = None, outbox: bool = True) -> Order:
        """Store a new order, and its message in the outbox; return it with its number.

        Raises sqlite3.IntegrityError, and stores nothing, if an order came with that key before.
        """
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
            if key:
                database.execute("INSERT INTO keys VALUES (?, ?)", (key, number))
            if outbox:
                message = order.model_dump_json()
                database.execute("INSERT INTO outbox VALUES (?, ?)", (number, message))
        return order

    def mark(self, event: Event) -> str | None:
        """Note the state of a step; return the state before, None if there is no such step.

        A step that is done stays done.
        """
        one = event.model_dump()
        with self._lock, self._database as database:
            where = "WHERE number = :number AND step = :step"
            before = database.execute(f"SELECT state FROM steps {where}", one).fetchone()
            database.execute(
                f"UPDATE steps SET state = :state, note = :note {where} AND state <> 'done'", one
            )
        return before and before[0]

    def newest(self, count: int) -> list[dict]:
        """Return the newest orders, the newest first, each as get does."""
        return self._look("ORDER BY number DESC LIMIT ?", count)

    def get(self, number: int) -> dict | None:
        """Return an order with its status and its steps, None if there is none."""
        return next(iter(self._look("WHERE number = ?", number)), None)

    def order(self, number: int) -> Order | None:
        """Return an order as the services get it, None if there is none."""
        with self._lock:
            return next(iter(self._orders("WHERE number = ?", number)), None)

    def _look(self, which: str, value: int) -> list[dict]:
        """Return some of the orders, each with its status and its steps."""
        every = "SELECT number, step, state, note FROM steps"
        with self._lock:
            orders = self._orders(which, value)
            rows = self._database.execute(
                f"{every} WHERE number IN (SELECT number FROM orders {which}) ORDER BY rowid",
                (value,),
            ).fetchall()
        return [
            with_steps(order, [row for number, *row in rows if number == order.number])
            for order in orders
        ]

    def _orders(self, which: str, value: int) -> list[Order]:
        """Return some of the orders as the services get them; call it with the lock held."""
        columns = "number, customer_name, product_ids, placed"
        return [
            Order(number=number, customer_name=name, product_ids=json.loads(ids), placed=placed)
            for number, name, ids, placed in self._database.execute(
                f"SELECT {columns} FROM orders {which}", (value,)
            )
        ]

    def unsent(self, count: int) -> list[tuple[int, str]]:
        """Return number and message of the oldest orders that wait in the outbox."""
        with self._lock:
            query = "SELECT number, message FROM outbox ORDER BY number LIMIT ?"
            return self._database.execute(query, (count,)).fetchall()

    def mark_sent(self, number: int) -> None:
        """Delete an order's message from the outbox: the broker has it."""
        with self._lock, self._database as database:
            database.execute("DELETE FROM outbox WHERE number = ?", (number,))

    def in_outbox(self) -> int:
        with self._lock:
            return self._database.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]


def with_steps(order: Order, rows: list[list[str]]) -> dict:
    """Return an order with its status; `rows` are step, state and note of each of its steps."""
    states = {state for _, state, _ in rows}
    ends = [state for state in ("parked", "failed") if state in states]
    status = ends[0] if ends else "done" if states == {"done"} else "in work"
    return order.model_dump() | {
        "status": status,
        "steps": {step: state for step, state, _ in rows},
        "notes": {step: note for step, _, note in rows if note},
    }
