"""The options of the shop's programs: the broker, the folder for data, the HTTP service."""

import argparse
import math
import os
from pathlib import Path

from kit.amqp import Parser, number, reason
from kit.cli import LOCALHOST, UNEXPECTED, Trouble, lab_parser
from kit.web.address import port_of, web_address

DELAYS = "1,4,16"
SHOP_PORT = 8009
SHOP, ERP = range(2)  # offsets from the first port


def shop_parser(doc: str, examples: str, name: str, *, stays: bool = True) -> Parser:
    """Return a parser with the broker's options; a program that `stays` waits for the broker."""
    parser = lab_parser(doc, examples, name)
    add = parser.add_argument
    exchange_help = "prefix of our names on the broker (default: %(default)s)"
    add("--exchange", type=exchange_name, default="orders", metavar="NAME", help=exchange_help)
    if stays:
        parser.set_defaults(retry_for=math.inf)
        retry_help = "keep trying to reach the broker for this long (default: for ever)"
        add("--retry-for", type=number(float, 0), metavar="SECONDS", help=retry_help)
        add("--name", default=name, help="the connection's name on the management page")
    return parser


def add_data(parser: Parser) -> None:
    data_help = "folder for the data (default: %(default)s)"
    parser.add_argument("--data", type=Path, default="orders-data", metavar="DIR", help=data_help)


def add_delays(parser: Parser) -> None:
    """Add the pauses after which a failed order is tried again."""
    retries_help = (
        "pauses before the second, third, ... try; then it is parked (default: %(default)s)"
    )
    add = parser.add_argument
    add("--retries", type=delays, default=DELAYS, metavar="SECONDS,...", help=retries_help)


def add_erp(parser: Parser) -> None:
    address = f"http://{LOCALHOST}:{port_of(ERP, SHOP_PORT)}"
    erp_help = "where the ERP is (default: %(default)s)"
    parser.add_argument("--erp", type=web_address, metavar="URL", default=address, help=erp_help)


def exchange_name(text: str) -> str:
    """Check the name of the exchange: an argparse type."""
    if not 0 < len(os.fsencode(text)) <= 200 or not text.isprintable() or text.startswith("amq."):
        raise argparse.ArgumentTypeError("a name has 1 to 200 bytes, and does not begin with amq.")
    return text


def delays(text: str) -> list[float]:
    """Read pauses such as 1,4,16: an argparse type."""
    return [number(float, 0.01, 86_400)(part) for part in text.split(",")]


def folder(path: Path) -> Path:
    """Create the folder for the data, if it is missing. Raises Trouble."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot use the folder {path} ({reason(error)})"
        raise Trouble(what, "another one: --data DIR", UNEXPECTED) from None
    return path
