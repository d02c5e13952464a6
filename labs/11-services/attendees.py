#!/usr/bin/env python3
"""The attendees service: badges, and a copy of the monolith's accounts.

    ./attendees.py --via polling --every 5     # ask the monolith for all accounts, again and again
    ./attendees.py                             # get every change as a message

Either way this service has a copy: it answers every request without the monolith.
"""

import argparse
import threading

try:
    import pydantic
    from fastapi import FastAPI

    from conference.copies import TABLES, Copies
    from conference.database import Database
    from conference.messages import Account, Badge, NewBadge
    from conference.names import Names
    from conference.options import (
        ATTENDEES,
        MONOLITH,
        add_via,
        address_of,
        parse,
        service_parser,
    )
    from conference.web import new_application
    from kit.amqp import Broker, show
    from kit.cli import run_lab, say
    from kit.web.address import web_address
    from kit.web.consumer import Consumer, Message
    from kit.web.serving import listen, serve
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"attendees.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./attendees.py --monolith http://monolith:8011     # where the accounts are

http://127.0.0.1:8012/docs shows the requests that it takes."""
PAUSE = 1  # seconds between requests for all accounts, which must come before the messages


class Polling:
    """Asks the monolith for all accounts every few seconds; runs in a thread of its own."""

    connected = False  # it has nothing to finish

    def __init__(self, copies: Copies, every: float) -> None:
        self.copies, self.every = copies, every
        self._stopped = threading.Event()

    def run(self) -> None:
        say("*", f"Asking {self.copies.monolith} for all accounts every {self.every:g} s")
        while not self._stopped.is_set():
            self.copies.fetch(self.every)
            self._stopped.wait(self.every)

    def stop(self) -> None:
        self._stopped.set()


class Listening(Consumer):
    """Gets every change from a durable queue; runs in a thread of its own."""

    prefetch = 100

    def __init__(self, copies: Copies, names: Names, broker: Broker) -> None:
        super().__init__(broker)
        self.copies, self.names = copies, names

    def declare(self, channel) -> list[str]:
        """Make sure that all changes so far are in the copy, and all later ones in our queue."""
        if not self.names.has_copy(channel.connection):
            self.copies.mark_incomplete()  # first, so that we still know after a crash
        self.names.declare_copy(channel)
        while not (self.copies.complete or self.stopping):
            self.copies.fetch(PAUSE)
            if not self.copies.complete:
                channel.connection.sleep(PAUSE)
        return [self.names.copy]

    def handle(self, message: Message) -> None:
        """Apply a change to the copy, then acknowledge."""
        try:
            self.copies.take(Account.model_validate_json(message.body))
        except pydantic.ValidationError:
            say("!", f"This is no account, and thrown away: {show(message.body)}")
        message.acknowledge()


def application(copies: Copies, via: str) -> FastAPI:
    app = new_application("Conference: attendees")

    @app.get("/health")
    def health() -> dict:
        return {
            "status": "ok",
            "via": via,
            "accounts": len(copies.accounts()),
            "requests to the monolith": copies.requests,
        }

    @app.get("/accounts")
    def accounts() -> list[Account]:
        return copies.accounts()

    @app.get("/accounts/{email}")
    def account(email: str) -> Account:
        return copies.account(email)

    @app.post("/attendees", status_code=201)
    def make_badge(new: NewBadge) -> Badge:
        return copies.make_badge(new.email)

    @app.get("/attendees")
    def badges() -> list[Badge]:
        return copies.badges()

    return app


def main(options: argparse.Namespace, broker: Broker) -> int:
    copies = Copies(Database(options.data, "attendees.sqlite3", TABLES), options.monolith)
    if options.via == "polling":
        source = Polling(copies, options.every)
    else:
        source = Listening(copies, Names(options.prefix), broker)
    listener = listen(options.http_bind, options.http_port)
    code = serve(application(copies, options.via), listener, source)
    say("*", f"Stopped; requests to the monolith: {copies.requests}")
    return code


def options() -> argparse.Namespace:
    parser = service_parser(__doc__, EXAMPLES, "attendees.py", ATTENDEES)
    add = parser.add_argument
    monolith_help = "where the accounts are (default: %(default)s)"
    address = address_of(MONOLITH)
    add("--monolith", type=web_address, metavar="URL", default=address, help=monolith_help)
    add_via(parser)
    return parse(parser)


if __name__ == "__main__":
    run_lab(main, options())
