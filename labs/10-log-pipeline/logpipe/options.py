"""The options that this lab's programs share."""

import argparse
import re

from kit.amqp import Parser, number
from kit.cli import lab_parser

SECONDS = number(float, 0)  # an argparse type


def make_parser(doc: str, examples: str, name: str, *, gives_up: bool = True) -> Parser:
    """Return a parser with the broker's options; one that `gives_up` waits only so long for it."""
    parser = lab_parser(doc, examples, name)
    add = parser.add_argument
    add("--name", default=name, help="the connection's name on the management page")
    if gives_up:
        retry_help = "keep trying to reach the broker for this long (default: %(default)s)"
        add("--retry-for", type=SECONDS, default=60, metavar="SECONDS", help=retry_help)
    return parser


def add_game_options(parser: Parser, players: int, rounds: int) -> None:
    add = parser.add_argument_group("game").add_argument
    players_help = "four to a game (default: %(default)s)"
    add("--players", type=number(int, 2, 100_000), default=players, metavar="N", help=players_help)
    rounds_help = "of a game, at most (default: %(default)s)"
    add("--rounds", type=number(int, 1, 1000), default=rounds, metavar="R", help=rounds_help)
    seed_help = "the same seed, the same games (default: %(default)s)"
    add("--seed", type=number(int, 0), default=10, metavar="S", help=seed_help)
    turn_help = "how long a player thinks (default: %(default)s)"
    add("--turn-seconds", type=SECONDS, default=0.005, metavar="SECONDS", help=turn_help)


def add_prefix(parser: Parser) -> None:
    add = parser.add_argument
    prefix_help = "prefix of the queues' names (default: %(default)s)"
    add("--prefix", type=queue_name, default="log.", metavar="TEXT", help=prefix_help)


def queue_name(text: str) -> str:
    """Check a piece of a queue's name: an argparse type."""
    if re.fullmatch(r"[\w.-]{1,100}", text, re.ASCII):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r}: letters, digits, dots, dashes, underscores, at most 100"
    )
