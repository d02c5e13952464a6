"""What a service is told: the broker, its own port, its data, and where the others are.

The site has four ports in a row, from LAB_HTTP_PORT on: the monolith, the attendees service, the
page of the mails, the mail server.
"""

import argparse
import contextlib
import math
import os
import sys
import urllib.parse
from pathlib import Path

from kit.management import lab_parser
from producer import USAGE, Parser, broker_options, broker_parameters, number

HERE = "127.0.0.1"
MONOLITH, ATTENDEES, MAIL, SMTP = range(4)  # each one's place in the row of ports


def port_of(place: int) -> int:
    """Return the port of a service, as the environment has it."""
    text = os.environ.get("LAB_HTTP_PORT") or "8011"
    with contextlib.suppress(ValueError):
        if 0 < int(text) <= 65535 - SMTP:
            return int(text) + place
    program = os.path.basename(sys.argv[0])
    print(
        f"{program}: error: LAB_HTTP_PORT is {text!r}\n  try: LAB_HTTP_PORT=8011", file=sys.stderr
    )
    raise SystemExit(USAGE)


def address_of(place: int, variable: str) -> str:
    """Return where another service is: as the environment says, or beside us."""
    return os.environ.get(variable) or f"http://{HERE}:{port_of(place)}"


def service_parser(doc: str, examples: str, name: str, place: int | None) -> Parser:
    """Return a parser with what services have in common; without a place, no HTTP."""
    parser = lab_parser(doc, examples, name)
    parser.set_defaults(retry_for=math.inf)  # services start in any order, and wait
    add = parser.add_argument
    add("--name", default=name, help="the connection's name on the management page")
    add("--prefix", default="", metavar="TEXT",
        help="what the names of exchange and queues begin with (default: nothing)")  # fmt: skip
    add("--data", type=Path, metavar="DIR",
        default=os.environ.get("LAB_DATA") or "conference-data",
        help="where our files are (default: LAB_DATA, or %(default)s)")  # fmt: skip
    if place is not None:
        add("--http-port", type=number(int, 0, 65535), metavar="PORT", default=port_of(place),
            help="0 for any that is free (default: %(default)s)")  # fmt: skip
        add("--http-bind", metavar="ADDRESS", default=HERE,
            help="answer here; 0.0.0.0 for everybody (default: %(default)s)")  # fmt: skip
    return parser


def parse(parser: Parser) -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    options = parser.parse_args()
    if len(options.prefix.encode(errors="replace")) > 100:
        parser.error("a --prefix has at most 100 bytes")
    return options, broker_options(parser, options)


def web_address(text: str) -> str:
    """Check the address of a service: an argparse type."""
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port or True):
            return text.rstrip("/")
    raise argparse.ArgumentTypeError("an address is http://HOST:PORT")


def host_and_port(text: str) -> tuple[str, int]:
    """Check the address of a mail server: an argparse type."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError("a mail server's address is HOST:PORT")
    return host, int(port)


def url_of(broker: dict) -> str:
    """Return the URL of the broker that the options name: for an environment, never for `ps`."""
    where = broker_parameters(**{key: broker[key] for key in broker if key != "retry_for"})[0]
    login, scheme = where.credentials, "amqps" if where.ssl_options else "amqp"
    parts = (login.username, login.password, where.virtual_host)
    user, password, vhost = (urllib.parse.quote(part, safe="") for part in parts)
    host = f"[{where.host}]" if ":" in where.host else where.host
    return f"{scheme}://{user}:{password}@{host}:{where.port}/{vhost}"
