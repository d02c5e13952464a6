#!/usr/bin/env python3
"""Play superhero combats, and ship their log to RabbitMQ.

    ./simulator.py --players 12 --rounds 10 --seed 7
    ./simulator.py --no-shipping                   # the same games, without shipping the log

Each logger has a durable queue: log.lobby and log.combat. worker.py makes tables of them.
"""

import argparse
import contextlib
import json
import logging
import time
from pathlib import Path

try:
    from kit.amqp import Broker, number, reason
    from kit.cli import OK, run_lab, say, stop_as_with_ctrl_c
    from logpipe.combat import Arena
    from logpipe.options import SECONDS, add_game_options, add_prefix, make_parser, queue_name
    from rabbit_logging import RabbitHandler
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"simulator.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./simulator.py --turn-seconds 0 --players 400   # as fast as it can
  ./simulator.py --truth truth.json               # write what tables.py should print to a file"""


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLES, "simulator.py", gives_up=False)
    add_game_options(parser, players=12, rounds=10)
    add_prefix(parser)
    add = parser.add_argument_group("log").add_argument
    add("--no-shipping", action="store_true", help="ship no log records")
    fanout_help = "ship to this fanout exchange, not to queues"
    add("--fanout", type=queue_name, metavar="EXCHANGE", help=fanout_help)
    buffer_help = "at most N records wait for the broker (default: %(default)s)"
    add("--buffer", type=number(int, 1), default=10_000, metavar="N", help=buffer_help)
    flush_help = "at the end, ship the rest for this long (default: %(default)s)"
    add("--flush-seconds", type=SECONDS, default=10, metavar="SECONDS", help=flush_help)
    add("--truth", type=Path, metavar="FILE", help="write the expected tables, as JSON")
    options = parser.parse_args()
    try:
        if options.truth:
            options.truth.open("a").close()
    except OSError as error:
        parser.error(f"--truth: cannot write {options.truth} ({reason(error)})")
    return options


def play(arena: Arena) -> dict:
    """Play all games, printing a line for each; return the tables that are expected."""
    truth = {"participants": [], "podium": []}
    for game in arena.play():
        winner = game.podium[0]
        say("x", f"Game {game.number}: {winner.hero} wins, {winner.health} health left")
        truth["participants"] += [
            {"run": arena.run, "game": game.number, "player": one.player, "hero": one.hero}
            for one in sorted(game.podium, key=lambda one: one.player)
        ]
        truth["podium"] += [
            {
                "run": arena.run,
                "game": game.number,
                "rank": rank,
                "hero": one.hero,
                "rounds": one.rounds,
                "dealt": one.dealt,
                "taken": one.taken,
            }
            for rank, one in enumerate(game.podium, 1)
        ]
    return truth | {"records": dict(arena.logged)}


def main(options: argparse.Namespace, broker: Broker) -> int:
    stop_as_with_ctrl_c()
    arena = Arena(options.players, options.rounds, options.seed, options.turn_seconds)
    log, code = logging.getLogger("arena"), OK
    log.setLevel(logging.INFO)
    log.propagate = False  # with --verbose the screen is for pika's log
    say("*", f"{options.players} players, {len(arena.groups)} games")
    with contextlib.ExitStack() as at_the_end:
        if options.no_shipping:
            log.addHandler(logging.NullHandler())
        else:
            handler = RabbitHandler(
                fanout=options.fanout or "",
                prefix=options.prefix,
                capacity=options.buffer,
                flush_seconds=options.flush_seconds,
                broker=broker,
            )
            log.addHandler(handler)
            at_the_end.callback(handler.close)
        begun = time.perf_counter()
        try:
            truth = play(arena)
        except KeyboardInterrupt:
            at_the_end.close()
            shipped = 0 if options.no_shipping else handler.shipper.shipped
            say("*", f"Stopped: {arena.logged.total()} records logged, {shipped} shipped")
            raise
        seconds = time.perf_counter() - begun
        counts = ", ".join(f"{channel} {count}" for channel, count in arena.logged.items())
        say("*", f"{arena.logged.total()} records logged in {seconds:.1f} s: {counts}")
    if not options.no_shipping:
        code = handler.code
    if options.truth:
        options.truth.write_text(json.dumps(truth, indent=1) + "\n")
    return code


if __name__ == "__main__":
    run_lab(main, parse())
