#!/usr/bin/env python3
"""A mail server for the lab: takes every mail by SMTP, and shows it instead of passing it on.

    ./mail.py

It prints a line for each mail, and shows them on a page and, as JSON, at /mails. A mail that comes
again, with the same Message-ID, is not delivered again.
"""

import argparse
import asyncio
import contextlib
import email
import email.policy
import hashlib
import html
import mailbox
import socket
from pathlib import Path

try:
    from aiosmtpd.smtp import SMTP as SmtpServer
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    from conference.database import Database
    from conference.options import FIRST_PORT, MAIL, SMTP, add_data
    from kit.amqp import reason
    from kit.cli import UNEXPECTED, Trouble, plain_parser, run, say
    from kit.web.address import PORT, add_http, port_of
    from kit.web.serving import address_of, listen, serve
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"mail.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./mail.py --refuse nobody@example.com     # 550 for this address: there is no such mailbox
  ./mail.py --busy ada@example.com          # 450 for this one: try later
  ./mail.py --forget                        # keep nothing on disk

exit codes: 0 stopped, 1 unexpected, 2 usage"""
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width"><title>Mails</title>
<style>body {{ font: 16px sans-serif; margin: 2em }} pre {{ white-space: pre-wrap }}
article {{ border-left: 4px solid #69c; padding-left: 1em; margin: 1em 0 }}</style>
<h1>Mails: {count}</h1>{mails}</html>"""
MAIL_ON_PAGE = "<article><b>{to}</b>: {subject}<pre>{text}</pre></article>"


class Mails:
    """The mails received; aiosmtpd calls its handle_ methods."""

    def __init__(self, folder: Path | None, refuse: list[str], busy: list[str]) -> None:
        self.refuse, self.busy = set(refuse), set(busy)
        self.box = mailbox.Maildir(folder) if folder else None
        self.repeated = 0
        kept = [self.box.get_bytes(key) for key in sorted(self.box.keys())] if self.box else []
        self.mails = {one["id"]: one for one in map(read, kept)}

    async def handle_RCPT(self, server, session, envelope, address: str, options) -> str:  # noqa: N802
        """Accept a recipient, unless the options refuse it."""
        if address in self.refuse:
            return "550 no such mailbox here"
        if address in self.busy:
            return "450 mailbox busy, try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802
        """Take a mail; our answer is the sender's proof that we have it."""
        mail = read(envelope.content)
        what = f"{mail['to']}: {mail['subject']!r}"
        if mail["id"] in self.mails:
            self.repeated += 1
            say("!", f"The same mail again, not delivered twice: {what}")
            return "250 OK, known already"
        if self.box is not None:
            try:
                self.box.add(envelope.content)  # on disk before we confirm it
            except OSError as error:
                say("!", f"Cannot keep a mail to {what} ({reason(error)})")
                return "451 cannot keep it now"
        self.mails[mail["id"]] = mail
        say("x", f"Mail to {what}")
        return "250 OK"


def read(content: bytes) -> dict[str, str]:
    """Return the parts of a mail that the page shows."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    body = mail.get_body(("plain",))
    return {
        "id": str(mail["Message-ID"] or hashlib.sha256(content).hexdigest()),
        "to": str(mail["To"]),
        "subject": str(mail["Subject"]),
        "text": body.get_content().replace("\r\n", "\n") if body else "",
    }


def application(mails: Mails, smtp: socket.socket) -> FastAPI:
    """Return the web application; it serves SMTP too, for as long as it runs."""

    @contextlib.asynccontextmanager
    async def with_smtp(app: FastAPI):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SmtpServer(mails, hostname="localhost", loop=loop), sock=smtp
        )
        yield
        server.close()

    app = FastAPI(title="Conference: mails", lifespan=with_smtp)

    @app.get("/health")
    def health() -> dict:
        return {"status": "ok", "mails": len(mails.mails), "repeated": mails.repeated}

    @app.get("/mails")
    def every() -> list[dict[str, str]]:
        return list(mails.mails.values())

    @app.get("/")
    def page() -> HTMLResponse:
        escaped = [{key: html.escape(text) for key, text in mail.items()} for mail in every()]
        parts = [MAIL_ON_PAGE.format(**mail) for mail in reversed(escaped)]
        return HTMLResponse(PAGE.format(count=len(parts), mails="".join(parts)))

    return app


def main(options: argparse.Namespace) -> int:
    folder = None if options.forget else options.data / "mail"
    lock = None if options.forget else Database(options.data, "mail.sqlite3", "")
    try:
        mails = Mails(folder, options.refuse, options.busy)
    except OSError as error:
        what = f"cannot keep mails in {folder} ({reason(error)})"
        raise Trouble(what, "another folder: --data DIR", UNEXPECTED) from None
    smtp = listen(options.http_bind, options.smtp_port, "--smtp-port")
    page = listen(options.http_bind, options.http_port)
    say("*", f"Taking mails at {address_of(smtp)}; {len(mails.mails)} are here")
    code = serve(application(mails, smtp), page)
    say("*", f"Stopped; mails here: {len(mails.mails)}")
    if lock:
        lock.close()
    return code


def parse() -> argparse.Namespace:
    parser = plain_parser(__doc__, EXAMPLES)
    add_data(parser)
    add_http(parser, port_of(MAIL, FIRST_PORT))
    add = parser.add_argument_group("mail").add_argument
    port = port_of(SMTP, FIRST_PORT)
    port_help = "0 for any free one (default: %(default)s)"
    add("--smtp-port", type=PORT, metavar="PORT", default=port, help=port_help)
    add("--refuse", action="append", default=[], metavar="ADDRESS", help="refuse its mail: 550")
    add("--busy", action="append", default=[], metavar="ADDRESS", help="defer its mail: 450")
    add("--forget", action="store_true", help="do not keep mails in the folder of --data")
    return parser.parse_args()


if __name__ == "__main__":
    run(main, parse())
