"""The monolith's accounts and presentations.

A change and its message are stored in one transaction, the message in the outbox: whatever
crashes, there is never one without the other.
"""

import json
import sqlite3
import time
import uuid

from conference.database import Database
from conference.messages import Account, Decision, NewAccount, NewPresentation, Presentation
from conference.names import Names
from conference.web import Conflict, Missing
from kit.cli import say

TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
    email TEXT PRIMARY KEY, name TEXT, active INTEGER, version INTEGER, changed REAL);
CREATE TABLE IF NOT EXISTS presentations (
    number INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, email TEXT, status TEXT);
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, exchange TEXT, routing_key TEXT, message_id TEXT,
    body TEXT);
"""


class Site:
    """The monolith's data, and the changes to it."""

    def __init__(self, database: Database, names: Names) -> None:
        self.database, self.names = database, names

    # ---- accounts

    def accounts(self) -> list[Account]:
        """Return all accounts, the inactive ones too."""
        with self.database.reading() as db:
            return [Account(**row) for row in db.execute("SELECT * FROM accounts ORDER BY email")]

    def account(self, email: str) -> Account:
        """Return an account. Raises Missing."""
        with self.database.reading() as db:
            return _account(db, email)

    def open_account(self, new: NewAccount) -> Account:
        """Open an account. Raises Conflict if it exists."""
        with self.database.transaction() as db:
            old = db.execute("SELECT active FROM accounts WHERE email = ?", [new.email]).fetchone()
            if old:
                closed = "" if old["active"] else "; it is not active any more"
                raise Conflict(f"there is an account {new.email!r}{closed}")
            account = Account(**new.model_dump(), active=True, version=1, changed=time.time())
            self._store(db, account)
        say("x", describe(account))
        return account

    def change_account(self, email: str, **change) -> Account:
        """Change an account; if nothing changes, neither does its version. Raises Missing."""
        with self.database.transaction() as db:
            old = _account(db, email)
            new = old.model_copy(update=change)
            if new == old:
                return old
            new.version, new.changed = old.version + 1, time.time()
            self._store(db, new)
        say("x", describe(new))
        return new

    def _store(self, db: sqlite3.Connection, account: Account) -> None:
        db.execute(
            "REPLACE INTO accounts VALUES (:email, :name, :active, :version, :changed)",
            account.model_dump(),
        )
        self._enqueue(db, self.names.accounts, "", account.model_dump_json())

    # ---- presentations

    def presentations(self) -> list[Presentation]:
        with self.database.reading() as db:
            rows = db.execute("SELECT * FROM presentations ORDER BY number")
            return [Presentation(**row) for row in rows]

    def presentation(self, number: int) -> Presentation:
        """Return a presentation. Raises Missing."""
        with self.database.reading() as db:
            return _presentation(db, number)

    def propose(self, new: NewPresentation) -> Presentation:
        """Take a proposal. Raises Missing or Conflict if its speaker has no active account."""
        with self.database.transaction() as db:
            if not _account(db, new.email).active:
                raise Conflict(f"the account {new.email!r} is not active any more")
            added = db.execute(
                "INSERT INTO presentations (title, email, status) VALUES (?, ?, 'proposed')",
                [new.title, new.email],
            )
            presentation = _presentation(db, added.lastrowid)
        say("x", f"Presentation {presentation.number} proposed: {new.title!r}")
        return presentation

    def decide(self, number: int, status: str) -> Presentation:
        """Approve or reject. Raises Missing, or Conflict if it was decided the other way."""
        with self.database.transaction() as db:
            presentation = _presentation(db, number)
            if presentation.status == status:
                return presentation
            if presentation.status != "proposed":
                raise Conflict(f"presentation {number} is {presentation.status} already")
            db.execute("UPDATE presentations SET status = ? WHERE number = ?", [status, number])
            name = _account(db, presentation.email).name
            decision = Decision(**presentation.model_dump(), name=name)
            queue = {"approved": self.names.approved, "rejected": self.names.rejected}[status]
            self._enqueue(db, "", queue, decision.model_dump_json())
        say("x", f"Presentation {number} {status}")
        return presentation.model_copy(update={"status": status})

    # ---- the outbox

    def _enqueue(self, db: sqlite3.Connection, exchange: str, key: str, body: str) -> None:
        db.execute(
            "INSERT INTO outbox (exchange, routing_key, message_id, body) VALUES (?, ?, ?, ?)",
            [exchange, key, str(uuid.uuid4()), body],
        )

    def waiting(self) -> int:
        with self.database.reading() as db:
            return db.execute("SELECT count(*) FROM outbox").fetchone()[0]

    def unpublished(self) -> list[sqlite3.Row]:
        """Return the first few messages of the outbox, the oldest first."""
        with self.database.reading() as db:
            return db.execute("SELECT * FROM outbox ORDER BY number LIMIT 500").fetchall()

    def mark_published(self, number: int) -> None:
        with self.database.transaction() as db:
            db.execute("DELETE FROM outbox WHERE number = ?", [number])


def describe(account: Account) -> str:
    what = json.dumps(account.name, ensure_ascii=False) if account.active else "not active any more"
    return f"{account.email}, version {account.version}: {what}"


def _account(db: sqlite3.Connection, email: str) -> Account:
    row = db.execute("SELECT * FROM accounts WHERE email = ?", [email.lower()]).fetchone()
    if not row:
        raise Missing(f"there is no account {email!r}")
    return Account(**row)


def _presentation(db: sqlite3.Connection, number: int) -> Presentation:
    row = db.execute("SELECT * FROM presentations WHERE number = ?", [number]).fetchone()
    if not row:
        raise Missing(f"there is no presentation {number}")
    return Presentation(**row)
