"""A service's own SQLite file: no other service ever opens it."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from kit.cli import UNEXPECTED, Trouble

PATIENCE = 1  # seconds for a service that is ending to release its file


class Database:
    """An SQLite file in a folder, with its tables; locked for as long as this program runs."""

    def __init__(self, folder: Path, name: str, tables: str) -> None:
        self._ours = threading.Lock()  # all threads share the connection, one at a time
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                folder / name, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {tables}; COMMIT")
        except (OSError, sqlite3.Error) as error:
            what, hint = f"cannot keep data in {folder / name} ({error})", "another folder"
            if "locked" in str(error):
                what = f"another {name.partition('.')[0]} uses the folder {folder}"
                hint = "end that one, in another pane perhaps; or another folder"
            raise Trouble(what, f"{hint}: --data DIR", UNEXPECTED) from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; nothing changes meanwhile."""
        with self._ours:
            yield self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; all changes made with it are stored, or none."""
        with self._ours, self._connection:  # which commits, or rolls back
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection

    def close(self) -> None:
        self._connection.close()
