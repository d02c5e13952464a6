#!/usr/bin/env python3
"""Run the log pipeline in one of several ways, and check its tables.

    ./experiment.py away               # or one, four, killed
    ./experiment.py away --fanout      # the same without queues that stay

The simulator and the workers are separate processes. Their queues are deleted at the end.
"""

import argparse
import contextlib
import json
import tempfile
import time
import uuid
from pathlib import Path

try:
    from kit.amqp import Broker
    from kit.cli import OK, UNEXPECTED, run_lab, say, stop_as_with_ctrl_c, wait_until
    from kit.cli.program import Script
    from kit.web.programs import Programs
    from logpipe.options import add_game_options, make_parser
    from logpipe.reader import read_tables
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"experiment.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """experiments:
  one       one worker
  four      four workers
  away      no worker while the games run, four afterwards
  killed    two workers, killed and restarted while the games run

what the columns say:
  logged      records that the simulator has logged
  in files    rows that the workers have written, for these records
  twice       surplus rows, which tables.py leaves out
  missing     records without a row
  seconds     from the start of the games until the workers have stopped"""
HERE = Path(__file__).resolve().parent
WAITING = "Waiting for records"
CHANNELS = ("lobby", "combat")
DEADLINE = 60  # seconds for a step that takes a few
TITLES = ["", "logged", "in files", "twice", "missing", "seconds"]


class Pipeline:
    """A simulator, workers, and the folder with their files."""

    def __init__(self, options: argparse.Namespace, broker: Broker, folder: Path) -> None:
        self.options, self.broker = options, broker
        self.name = f"experiment-{uuid.uuid4().hex[:8]}"
        self.rows, self.truth = folder / "rows", folder / "truth.json"
        self.programs = Programs("the experiment", HERE, broker, delete=self.delete)
        self.workers: list[Script] = []
        self.rows.mkdir()

    def start_workers(self, count: int) -> None:
        """Start workers, and wait until they are ready for records."""
        source = ["--prefix", f"{self.name}.", "--channel", *CHANNELS]
        if self.options.fanout:
            source = ["--fanout", self.name]
        more = ["--output", self.rows, "--batch-seconds", "0.2"]
        self.workers = [self.programs.start("worker.py", *source, *more) for _ in range(count)]
        for worker in self.workers:
            worker.wait_for(WAITING, within=DEADLINE)

    def start_simulator(self) -> None:
        options = self.options
        games = ["--players", options.players, "--rounds", options.rounds, "--seed", options.seed]
        games += ["--turn-seconds", options.turn_seconds, "--truth", self.truth]
        where = ["--fanout", self.name] if options.fanout else ["--prefix", f"{self.name}."]
        self.begun = time.monotonic()
        self.simulator = self.programs.start("simulator.py", *games, *where)

    def play(self) -> None:
        """Play the games to the end."""
        self.start_simulator()
        self.simulator.wait_for("records logged", within=DEADLINE + self.options.players)
        self.simulator.wait(DEADLINE)

    def kill_workers(self) -> None:
        """Kill all workers with SIGKILL, and start as many new ones."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait(DEADLINE)
        self.start_workers(len(self.workers))

    def waiting(self) -> int:
        connection = self.broker.connect()
        channel = connection.channel()
        queues = [] if self.options.fanout else [f"{self.name}.{name}" for name in CHANNELS]
        counts = [channel.queue_declare(q, passive=True).method.message_count for q in queues]
        connection.close()
        return sum(counts)

    def finish(self, logged: int) -> None:
        """Wait until the workers have written all their records, and stop them."""
        if not self.options.fanout:  # with --fanout they stop when their own queues are empty
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: read_tables(self.rows).records >= logged, DEADLINE)
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(DEADLINE)
        self.seconds = time.monotonic() - self.begun

    def delete(self, channel) -> None:
        """Delete the queues and the exchange."""
        for name in CHANNELS:
            channel.queue_delete(f"{self.name}.{name}")
        channel.exchange_delete(self.name)


# ---- the experiments


def one(pipeline: Pipeline) -> None:
    pipeline.start_workers(1)
    pipeline.play()


def four(pipeline: Pipeline) -> None:
    pipeline.start_workers(4)
    pipeline.play()


def away(pipeline: Pipeline) -> None:
    """Use no worker while the games run, and four afterwards."""
    pipeline.play()
    say("*", f"The games are over, {pipeline.waiting()} records wait; now the workers")
    pipeline.start_workers(4)


def killed(pipeline: Pipeline) -> None:
    """Kill two workers again and again while the games run, and start two new ones."""
    pipeline.start_workers(2)
    pipeline.start_simulator()
    kills = 0
    while True:
        files = len(list(pipeline.rows.iterdir()))
        wait_until(
            lambda files=files: (
                len(list(pipeline.rows.iterdir())) > files or pipeline.simulator.has_ended()
            ),
            DEADLINE,
        )
        if pipeline.simulator.has_ended():
            break
        pipeline.kill_workers()
        kills += 1
    say("*", f"The games are over, both workers were killed {kills} times")


EXPERIMENTS = {"one": one, "four": four, "away": away, "killed": killed}


# ---- results


def count_alike(known: list[dict], found: list[dict]) -> int:
    """Return how many of the known rows are among those found."""
    return len({tuple(row.values()) for row in known} & {tuple(row.values()) for row in found})


def report(pipeline: Pipeline, title: str) -> bool:
    """Print the figures, and whether the tables are right; return True if they are."""
    truth, tables = json.loads(pipeline.truth.read_text()), read_tables(pipeline.rows)
    logged = sum(truth["records"].values())
    rows = tables.records + tables.twice
    missing = logged - tables.records
    cells = [title, *map(str, (logged, rows, tables.twice, missing)), f"{pipeline.seconds:.1f}"]
    for first, *rest in (TITLES, cells):
        figures = (cell.rjust(len(title)) for cell, title in zip(rest, TITLES[1:], strict=True))
        print(first.ljust(14), *figures, sep="   ", flush=True)
    right = {
        "participants": count_alike(truth["participants"], tables.participants()),
        "on the podium": count_alike(truth["podium"], tables.podium()),
    }
    players = len(truth["participants"])
    if all(count == players for count in right.values()) and not missing:
        say("x", f"The tables are right: {players} participants, {players} on the podium")
        return True
    counts = ", ".join(f"{count} of {players} {what}" for what, count in right.items())
    say("!", f"The tables are wrong. Right are {counts}")
    return False


def main(options: argparse.Namespace, broker: Broker) -> int:
    stop_as_with_ctrl_c()
    broker.keep_trying(broker.connect).close()
    with tempfile.TemporaryDirectory(prefix="log-pipeline-") as folder:
        pipeline = Pipeline(options, broker, Path(folder))
        with pipeline.programs:
            EXPERIMENTS[options.experiment](pipeline)
            if pipeline.simulator.wait(DEADLINE) != OK:
                raise AssertionError("the simulator could not ship all records")
            pipeline.finish(sum(json.loads(pipeline.truth.read_text())["records"].values()))
        source = "fanout" if options.fanout else "queues"
        right = report(pipeline, f"{options.experiment}, {source}")
    return OK if right or options.fanout else UNEXPECTED


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLES, "experiment.py")
    parser.add_argument("experiment", choices=list(EXPERIMENTS), help="which one")
    fanout_help = "use only queues that the workers make for themselves"
    parser.add_argument("--fanout", action="store_true", help=fanout_help)
    add_game_options(parser, players=40, rounds=10)
    return parser.parse_args()


if __name__ == "__main__":
    run_lab(main, parse())
