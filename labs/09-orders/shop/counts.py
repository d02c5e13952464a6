"""Marketing's statistics: how often each product was ordered, in a SQLite file of its own."""

from pathlib import Path

from shop.order import Order
from shop.store import open_database

SCHEMA = """
CREATE TABLE IF NOT EXISTS processed (number INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS counts (product INTEGER PRIMARY KEY, pieces INTEGER);
"""


class Counts:
    def __init__(self, folder: Path) -> None:
        self._database = open_database(folder / "marketing.db", SCHEMA)

    def count(self, order: Order) -> str:
        """Count an order, unless it is counted already; return a line about it.

        The order's number and the counts change in one transaction: never one without the other.
        """
        with self._database as database:
            new = database.execute("INSERT OR IGNORE INTO processed VALUES (?)", (order.number,))
            if not new.rowcount:
                return "was counted before"
            for product in order.product_ids:
                self.add(product)
        return f"counted, {self.orders()} in all"

    def add(self, product: int) -> None:
        self._database.execute(
            "INSERT INTO counts VALUES (?, 1)"
            " ON CONFLICT (product) DO UPDATE SET pieces = pieces + 1",
            (product,),
        )

    def orders(self) -> int:
        return self._database.execute("SELECT COUNT(*) FROM processed").fetchone()[0]
