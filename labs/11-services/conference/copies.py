"""The attendees service's own copy of the accounts, and the badges that refer to it.

The copy begins with all accounts, fetched over HTTP. From then on a change counts if its version is
higher than ours, so a message that comes late or twice does no harm.
"""

import time

import httpx
import pydantic

from conference.database import Database
from conference.messages import Account, Badge
from conference.site import describe
from conference.web import Conflict, Missing
from kit.cli import say

TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
    email TEXT PRIMARY KEY, name TEXT, active INTEGER, version INTEGER, changed REAL);
CREATE TABLE IF NOT EXISTS badges (number INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS complete (since REAL);
"""
PUT = """
INSERT INTO accounts VALUES (:email, :name, :active, :version, :changed)
ON CONFLICT (email) DO UPDATE SET
    name = excluded.name, active = excluded.active, version = excluded.version,
    changed = excluded.changed
WHERE excluded.version > accounts.version
"""
PATIENCE = 5  # seconds for an answer of the monolith
ALL = pydantic.TypeAdapter(list[Account])


class Copies:
    """The copy, and the badges. `monolith` is the address of the service that has the accounts."""

    def __init__(self, database: Database, monolith: str) -> None:
        self.database, self.monolith = database, monolith
        self.requests = 0  # to the monolith, since the start
        self._silent = False  # it did not answer the last request

    # ---- updates

    def fetch(self, every: float) -> None:
        """Fetch all accounts from the monolith, or print once that it does not answer.

        `every` is the caller's pause in seconds, for this message.
        """
        self.requests += 1
        address = f"{self.monolith}/accounts"
        try:
            answer = httpx.get(address, timeout=PATIENCE, trust_env=False).raise_for_status()
            accounts = ALL.validate_json(answer.content)
        except httpx.HTTPStatusError as error:
            why = f"it says {error.response.status_code}"
        except httpx.HTTPError as error:
            why = str(error).partition("] ")[2] or type(error).__name__
        except pydantic.ValidationError:
            why = "these are no accounts"
        else:
            self._silent = False
            return self._take_all(accounts)
        if not self._silent:
            say("!", f"No accounts from {address} ({why}); asking again every {every:g} s")
        self._silent = True

    def _take_all(self, accounts: list[Account]) -> None:
        first = not self.complete
        new = [account for account in accounts if self.take(account, quietly=first)]
        with self.database.transaction() as db:
            db.execute("DELETE FROM complete")
            db.execute("INSERT INTO complete VALUES (?)", [time.time()])
        if first:
            say("*", f"Copied all accounts: {len(accounts)}, {len(new)} of them new to us")

    def take(self, account: Account, *, quietly: bool = False) -> bool:
        """Store an account, unless our version is as high; return True if it was new."""
        with self.database.transaction() as db:
            is_new = db.execute(PUT, account.model_dump()).rowcount == 1
        if is_new and not quietly:
            late = max(0, time.time() - account.changed)
            say("x", f"{describe(account)} ({late:.2f} s late)")
        return is_new

    @property
    def complete(self) -> bool:
        """Return True if all accounts were fetched once, and no change was missed since."""
        with self.database.reading() as db:
            return db.execute("SELECT 1 FROM complete").fetchone() is not None

    def mark_incomplete(self) -> None:
        """Remember that we may have missed changes."""
        with self.database.transaction() as db:
            db.execute("DELETE FROM complete")

    # ---- requests

    def accounts(self) -> list[Account]:
        with self.database.reading() as db:
            return [Account(**row) for row in db.execute("SELECT * FROM accounts ORDER BY email")]

    def account(self, email: str) -> Account:
        """Return our copy of an account. Raises Missing."""
        with self.database.reading() as db:
            row = db.execute("SELECT * FROM accounts WHERE email = ?", [email.lower()]).fetchone()
        if not row:
            raise Missing(f"no account {email!r} is known here")
        return Account(**row)

    def make_badge(self, email: str) -> Badge:
        """Make a badge, one for each account. Raises Missing, or Conflict if it is not active."""
        account = self.account(email)
        if not account.active:
            raise Conflict(f"the account {email!r} is not active any more")
        with self.database.transaction() as db:
            db.execute("INSERT OR IGNORE INTO badges (email) VALUES (?)", [account.email])
        return next(badge for badge in self.badges() if badge.email == account.email)

    def badges(self) -> list[Badge]:
        """Return the badges of those whose accounts are active."""
        with self.database.reading() as db:
            rows = db.execute(
                "SELECT number, email, name FROM badges JOIN accounts USING (email) WHERE active "
                "ORDER BY number"
            )
            return [Badge(**row) for row in rows]
