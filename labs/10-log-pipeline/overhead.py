#!/usr/bin/env python3
"""Measure what shipping the log costs the game, and how fast the workers are.

    ./overhead.py --quick
    ./overhead.py

The game is played without shipping, with the RabbitHandler, and with a handler that publishes each
record and waits for its confirm, in turn and several times. The figures are medians.
"""

import argparse
import contextlib
import json
import logging
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

try:
    import pika

    from kit.amqp import Broker, BrokerError
    from kit.cli import OK, run_lab, stop_as_with_ctrl_c
    from kit.web.programs import Programs
    from logpipe.combat import Arena
    from logpipe.options import make_parser
    from rabbit_logging import RabbitHandler, as_message
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"overhead.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """what the figures say:
  ... s      that the games take, until the last one is over
  ... %      how much slower they are than without shipping; below 0 it is noise
  dropped    records that found the buffer full"""
HERE = Path(__file__).resolve().parent
DEADLINE = 120  # seconds for the workers


class Size(NamedTuple):
    """How much to measure: (seconds a turn, players) of each game, records, and repetitions."""

    games: tuple[tuple[float, int], ...]
    times: int
    records: int
    records_times: int


QUICK = Size(games=((0.005, 12), (0, 100)), times=3, records=5_000, records_times=1)
FULL = Size(games=((0.005, 60), (0.001, 100), (0, 400)), times=5, records=30_000, records_times=3)


class OneByOne(logging.Handler):
    """Publishes a record and waits for its confirm, in the middle of the game."""

    def __init__(self, prefix: str, broker: Broker) -> None:
        super().__init__()
        self._prefix = prefix
        self._connection = broker.connect()
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        for channel in ("lobby", "combat"):
            self._channel.queue_declare(prefix + channel, durable=True)

    def emit(self, record: logging.LogRecord) -> None:
        channel, record_id, body = as_message(record)
        properties = pika.BasicProperties(delivery_mode=2, message_id=record_id)
        self._channel.basic_publish("", self._prefix + channel, body, properties)

    def close(self) -> None:
        interrupted = sys.exc_info()[0] is KeyboardInterrupt  # then closing may fail or hang
        if self._connection.is_open and not interrupted:
            self._connection.close()
        super().close()


def play(handler: logging.Handler, players: int, turn_seconds: float) -> float:
    """Play the games with a handler; return the seconds, without the flush at the end."""
    log = logging.getLogger("arena")
    log.addHandler(handler)
    try:
        arena = Arena(players, rounds=10, seed=10, turn_seconds=turn_seconds)
        begun = time.perf_counter()
        for _ in arena.play():
            pass
        return time.perf_counter() - begun
    finally:
        log.removeHandler(handler)
        handler.close()


def measure_game(
    prefix: str, broker: Broker, players: int, turn_seconds: float, times: int
) -> tuple[list[float], int]:
    """Return the median seconds with each handler, and the most records that were dropped."""
    handlers: list[Callable[[], logging.Handler]] = [
        logging.NullHandler,
        lambda: RabbitHandler(prefix=prefix, flush_seconds=60, broker=broker),
        lambda: OneByOne(prefix, broker),
    ]
    seconds: list[list[float]] = [[] for _ in handlers]
    dropped = 0
    for _ in range(times):
        for make, taken in zip(handlers, seconds, strict=True):
            handler = make()
            taken.append(play(handler, players, turn_seconds))
            if isinstance(handler, RabbitHandler):
                dropped = max(dropped, handler.dropped.total())
    return list(map(statistics.median, seconds)), dropped


def fill(queue: str, body: str, count: int, broker: Broker) -> None:
    connection = broker.connect()
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    persistent = pika.BasicProperties(delivery_mode=2)
    for _ in range(count):
        channel.basic_publish("", queue, body, persistent)
    connection.close()  # the broker answers this when it has taken all


def measure_workers(prefix: str, broker: Broker, workers: int, records: int) -> float:
    """Return how many records a second the workers take from a full queue."""
    fields = {"event": "hit", "run": "1", "game": 1, "player": 1, "target": 2, "damage": 10}
    body = json.dumps({"logger": "arena.combat", "message": "A hits B: 10", "fields": fields})
    fill(f"{prefix}combat", body, records, broker)
    options = ["--prefix", prefix, "--channel", "combat", "--exit-when-empty"]
    with (
        tempfile.TemporaryDirectory(prefix="log-pipeline-") as folder,
        Programs("a worker", HERE, broker) as programs,
    ):
        for _ in range(workers):
            programs.start("worker.py", *options, "--output", folder)
        starts = [one.wait_for("Waiting", within=DEADLINE).time for one in programs.scripts]
        for one in programs.scripts:
            one.wait_for("Stopped", within=DEADLINE)
        ends = [line.time for one in programs.scripts for line in one.find("records in ")]
    return records / (max(ends) - min(starts))


def print_game(title: str, seconds: list[float], dropped: int) -> None:
    print(title, flush=True)
    for name, taken in zip(("not shipped", "RabbitHandler", "one by one"), seconds, strict=True):
        slower = f"{100 * (taken / seconds[0] - 1):+.1f} %" if name != "not shipped" else ""
        lost = f"   {dropped} records dropped" if dropped and name == "RabbitHandler" else ""
        print(f"  {name:<14}{taken:>8.2f} s{slower:>12}{lost}".rstrip(), flush=True)


def clean_up(prefix: str, broker: Broker) -> None:
    with contextlib.suppress(BrokerError, pika.exceptions.AMQPError):
        connection = broker.connect()
        for name in ("lobby", "combat"):
            connection.channel().queue_delete(prefix + name)
        connection.close()


def main(options: argparse.Namespace, broker: Broker) -> int:
    stop_as_with_ctrl_c()
    broker.keep_trying(broker.connect).close()
    log = logging.getLogger("arena")
    log.setLevel(logging.INFO)
    log.propagate = False
    prefix = f"overhead-{uuid.uuid4().hex[:8]}."
    size = QUICK if options.quick else FULL
    try:
        for turn_seconds, players in size.games:
            pace = f"{1000 * turn_seconds:g} ms a turn" if turn_seconds else "nothing but logging"
            print_game(
                f"The game, {pace}",
                *measure_game(prefix, broker, players, turn_seconds, size.times),
            )
        clean_up(prefix, broker)
        print("The workers, records a second", flush=True)
        for workers in (1, 4):
            rates = [
                measure_workers(prefix, broker, workers, size.records)
                for _ in range(size.records_times)
            ]
            print(f"  {workers} at work{statistics.median(rates):>15,.0f}", flush=True)
    finally:
        clean_up(prefix, broker)
    return OK


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLES, "overhead.py")
    parser.add_argument("--quick", action="store_true", help="rougher figures, within seconds")
    return parser.parse_args()


if __name__ == "__main__":
    run_lab(main, parse())
