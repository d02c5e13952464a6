"""The options of a service: the broker, its own port, its data, and the addresses of the others.

The site has four ports in a row, from LAB_HTTP_PORT on: the monolith, the attendees service, the
page of the mails, the mail server.
"""

import argparse
import math
from pathlib import Path

from kit.amqp import Parser, number
from kit.cli import LOCALHOST, lab_parser
from kit.web.address import add_http, port_of

FIRST_PORT = 8011
MONOLITH, ATTENDEES, MAIL, SMTP = range(4)  # offsets from the first port
EVERY = number(float, 0.05, 86_400)  # seconds


def address_of(place: int) -> str:
    """Return the address of another service on this machine."""
    return f"http://{LOCALHOST}:{port_of(place, FIRST_PORT)}"


def add_data(parser: Parser) -> None:
    add = parser.add_argument
    data_help = "folder for our files (default: %(default)s)"
    add("--data", type=Path, metavar="DIR", default="conference-data", help=data_help)


def add_via(parser: Parser) -> None:
    via_help = "how the attendees service learns of changes (default: %(default)s)"
    every_help = "with --via polling: pause between requests (default: %(default)s)"
    add = parser.add_argument_group("changes of accounts").add_argument
    add("--via", choices=["messages", "polling"], default="messages", help=via_help)
    add("--every", type=EVERY, default=5, metavar="SECONDS", help=every_help)


def site_parser(doc: str, examples: str, name: str) -> Parser:
    """Return a parser with the options of the whole site."""
    parser = lab_parser(doc, examples, name)
    parser.set_defaults(retry_for=math.inf)  # services start in any order, and wait
    prefix_help = "prefix of the names of exchange and queues (default: nothing)"
    parser.add_argument("--prefix", default="", metavar="TEXT", help=prefix_help)
    add_data(parser)
    return parser


def service_parser(doc: str, examples: str, name: str, place: int | None) -> Parser:
    """Return a parser with the options that services share; with no `place`, it has no HTTP."""
    parser = site_parser(doc, examples, name)
    parser.add_argument("--name", default=name, help="the connection's name on the management page")
    if place is not None:
        add_http(parser, port_of(place, FIRST_PORT))
    return parser


def parse(parser: Parser) -> argparse.Namespace:
    """Return the options, after checking --prefix."""
    options = parser.parse_args()
    if len(options.prefix.encode(errors="replace")) > 100:
        parser.error("a --prefix has at most 100 bytes")
    return options


def host_and_port(text: str) -> tuple[str, int]:
    """Check the address of a mail server: an argparse type."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError("a mail server's address is HOST:PORT")
    return host, int(port)
