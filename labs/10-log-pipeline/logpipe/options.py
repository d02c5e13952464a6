"""The options that this lab's programs have in common."""

import argparse
import re

from kit.amqp import Parser, number
from kit.cli import lab_parser


def make_parser(doc: str, examples: str, name: str, *, gives_up: bool = True) -> Parser:
    """Return a parser with the options for the broker, for which a program may wait for ever."""
    parser = lab_parser(doc, examples, name)
    add = parser.add_argument
    add("--name", default=name, help="the connection's name on the management page")
    if gives_up:
        add("--retry-for", type=number(float, 0), default=60, metavar="SECONDS",
            help="keep trying to reach the broker so long (default: %(default)s)")  # fmt: skip
    return parser


def add_game_options(parser: Parser, players: int, rounds: int) -> None:
    """Add the options that say which games are played."""
    add = parser.add_argument_group("game").add_argument
    add("--players", type=number(int, 2, 100_000), default=players, metavar="N",
        help="four to a game (default: %(default)s)")  # fmt: skip
    add("--rounds", type=number(int, 1, 1000), default=rounds, metavar="R",
        help="of a game, at most (default: %(default)s)")  # fmt: skip
    add("--seed", type=number(int, 0), default=10, metavar="S",
        help="the same seed, the same games (default: %(default)s)")  # fmt: skip
    add("--turn-seconds", type=number(float, 0), default=0.005, metavar="SECONDS",
        help="how long a player thinks (default: %(default)s)")  # fmt: skip


def add_prefix(parser: Parser) -> None:
    """Add the option that says how the names of the queues begin."""
    parser.add_argument("--prefix", type=queue_name, default="log.", metavar="TEXT",
        help="how the names of the queues begin (default: %(default)s)")  # fmt: skip


def queue_name(text: str) -> str:
    """Check a piece of a queue's name: an argparse type."""
    if re.fullmatch(r"[\w.-]{1,100}", text, re.ASCII):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r}: letters, digits, dots, dashes, underscores, at most 100"
    )
