"""Where an application of several programs answers: ports, and the options for them."""

import argparse
import contextlib
import os
import urllib.parse

from kit.amqp import Parser, number
from kit.cli import LOCALHOST, USAGE, Trouble, report

PORT = number(int, 0, 65535)  # an argparse type; 0 for any free one


def port_of(place: int, first: int) -> int:
    """Return a port of a lab's row of ports, which begins at LAB_HTTP_PORT, or else at `first`."""
    text = os.environ.get("LAB_HTTP_PORT") or str(first)
    if text.isdecimal() and 0 < int(text) <= 65535 - place:
        return int(text) + place
    report(Trouble(f"LAB_HTTP_PORT is {text!r}", f"export LAB_HTTP_PORT={first}"))
    raise SystemExit(USAGE)


def add_http(parser: Parser, port: int) -> None:
    add = parser.add_argument_group("web service").add_argument
    port_help = "0 for any free one (default: %(default)s)"
    add("--http-port", type=PORT, metavar="PORT", default=port, help=port_help)
    bind_help = "answer here; 0.0.0.0 for everybody (default: %(default)s)"
    add("--http-bind", metavar="ADDRESS", default=LOCALHOST, help=bind_help)


def web_address(text: str) -> str:
    """Check the address of an application: an argparse type."""
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port or True):
            return text.rstrip("/")
    raise argparse.ArgumentTypeError("an address is http://HOST:PORT")
