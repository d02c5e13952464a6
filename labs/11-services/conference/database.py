"""A service's own SQLite file: no other service ever opens it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from producer import UNEXPECTED, BrokerError

PATIENCE = 20  # seconds to wait for another transaction


class Database:
    """An SQLite file in a folder, with its tables."""

    def __init__(self, folder: Path, name: str, tables: str) -> None:
        self.path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=PATIENCE)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(tables)
            connection.close()
        except (OSError, sqlite3.Error) as error:
            what = f"cannot keep data in {self.path} ({error})"
            raise BrokerError(what, "another folder: --data DIR", UNEXPECTED) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done with the connection happens, or none of it."""
        connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("BEGIN IMMEDIATE")
            with connection:  # commits, or rolls back
                yield connection
        finally:
            connection.close()
