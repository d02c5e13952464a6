#!/usr/bin/env python3
"""See a work queue in half a minute: three workers share it, one is killed, nothing is lost.

    labs/demo.py                            # on a private broker, removed at the end
    AMQP_URL=amqp://... labs/demo.py        # on a broker of your choice

Round 1 deals the tasks out in turn. Round 2 uses acknowledgements and gives each task to a free
worker; it kills a worker in the middle of a task.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from kit.broker import versions
from kit.broker.lab import BROKERS
from kit.broker.lab import Broker as LabBroker
from kit.broker.node import Node
from kit.cli import LOCALHOST, Trouble, defer_signals, requirements, run, say, stop_as_with_ctrl_c

with requirements():
    from pika.exceptions import AMQPError

    from kit.amqp import Broker, BrokerError
    from kit.cli import UNREACHABLE

ROOT = Path(__file__).resolve().parents[1]
LONG, SHORT = "dddddd", "a"
SECONDS_PER_CHARACTER = 0.5
KILL_AFTER = len(LONG) * SECONDS_PER_CHARACTER / 2  # seconds: the middle of a long task
TASKS = [LONG, SHORT, SHORT] * 4
WORKERS = ("worker-1", "worker-2", "worker-3")
DEADLINE = 60  # seconds for a round
PICTURES = ROOT / "demo"  # for the journals and their picture
NEXT = """What next?
    labs/01-hello/README.md   the first worksheet: send and receive
    labs/broker.py up         a broker of your own, for all worksheets
"""


class Round:
    """Three workers on one queue, and their output."""

    def __init__(self, queue: str, options: list[str], victim: str | None, journal: Path) -> None:
        self.queue, self.options, self.victim = queue, options, victim
        self.journal = ["--journal", str(journal)]
        self.death: threading.Timer | None = None
        self.lines: dict[str, list[str]] = {name: [] for name in WORKERS}
        self.ended: list[str] = []  # the workers that ended by themselves
        self.programs: dict[str, subprocess.Popen] = {}
        self.changed = threading.Condition()
        self.seconds = 0.0

    def run(self) -> None:
        """Start the workers, send the tasks, wait until all are done, stop the workers."""
        try:
            for count, name in enumerate(WORKERS, start=1):
                self.start("qprocessor.py", name, self.options)
                threading.Thread(target=self.listen, args=(name,), daemon=True).start()
                self.wait_for("Waiting for messages", count)  # worker-1 gets the first turn
            began = time.monotonic()
            producer = self.start("producer.py", "producer", ["--persistent", *TASKS])
            printed, _ = producer.communicate(timeout=DEADLINE)
            if producer.returncode:
                raise Trouble(f"producer.py could not send the tasks:\n{printed}", code=1)
            self.wait_for("[x] Done", len(TASKS))
            self.seconds = time.monotonic() - began
        finally:
            if self.death:
                self.death.cancel()
            for program in self.programs.values():
                program.terminate()
            for program in self.programs.values():
                program.wait(timeout=DEADLINE)

    def start(self, script: str, name: str, options: list[str]) -> subprocess.Popen:
        """Start one of the scripts on the queue, with stdout and stderr in one pipe."""
        where = ["--queue", self.queue, "--durable", "--name", name, *self.journal]
        with defer_signals():  # otherwise Ctrl-C here would orphan it
            self.programs[name] = subprocess.Popen(
                [sys.executable, ROOT / script, *where, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # only the demo gets Ctrl-C; it then stops them
                text=True,
            )
        return self.programs[name]

    def listen(self, name: str) -> None:
        """Print a worker's output; kill the victim in the middle of its first long task."""
        worker = self.programs[name]
        for line in worker.stdout:
            sys.stdout.write(f"    {name} {line.rstrip()}\n")  # one write: print() makes two
            sys.stdout.flush()
            if name == self.victim and f"Received {LONG!r}" in line and not self.death:
                self.death = threading.Timer(KILL_AFTER, self.kill, (name,))
                self.death.start()
            with self.changed:
                self.lines[name].append(line)
                self.changed.notify()
        with self.changed:
            if name != self.victim:
                self.ended.append(name)
            self.changed.notify()

    def kill(self, name: str) -> None:
        """Kill a worker, as a crash or a power cut would."""
        self.programs[name].kill()
        say("!", f"{name} is killed in the middle of a task (SIGKILL)")

    def wait_for(self, part: str, count: int) -> None:
        """Wait until the workers together have printed `count` lines with `part`."""

        def is_printed() -> bool:
            return self.count(part) >= count

        with self.changed:
            self.changed.wait_for(lambda: is_printed() or self.ended, timeout=DEADLINE)
            if is_printed():
                return
            if self.ended:
                raise Trouble(f"{self.ended[0]} ended: its last lines say why", code=1)
            raise Trouble(f"{count} x {part!r} was not printed within {DEADLINE} s", code=1)

    def count(self, part: str, *names: str) -> int:
        """Count the lines with `part`, of all workers or of some."""
        return sum(part in line for name in names or WORKERS for line in self.lines[name])

    def report(self, title: str) -> int:
        """Print the counts for each worker and for all tasks; return the number lost."""
        print(f"\n{title}: all done after {self.seconds:.1f} s")
        for name in WORKERS:
            received, done = self.count("Received", name), self.count("[x] Done", name)
            killed = "   killed in the middle of a task" if name == self.victim else ""
            print(f"    {name}   received {received:2}   done {done:2}{killed}")
        worked, redelivered = self.count("[x] Done"), self.count("redelivered)")
        lost = len(TASKS) - worked
        print(
            f"    sent {len(TASKS)}   worked {worked}   redelivered {redelivered}   lost {lost}",
            flush=True,
        )
        return lost


@contextlib.contextmanager
def broker_for_demo() -> Iterator[None]:
    """Provide the broker of AMQP_URL, or a private one that ends with the block."""
    if os.environ.get("AMQP_URL"):
        try:
            Broker().connect().close()
        except BrokerError as error:
            unset = "or unset AMQP_URL: then the demo starts a broker of its own"
            hint = f"{error.hint}; {unset}" if error.code == UNREACHABLE else error.hint
            raise Trouble(str(error), hint, code=error.code) from None
        yield
        return
    try:
        prefix = versions.get(BROKERS / "unpacked")
    except Trouble as trouble:  # neither installed nor available from Debian or Ubuntu
        lab = LabBroker("lab")
        if not lab.transport():
            first = "labs/broker.py up, and then the demo again"
            raise Trouble(
                str(trouble), f"{first} ({trouble.hint or 'it knows other ways'})"
            ) from None
        say("*", f"No private broker ({trouble}): using the running one on port {lab.port}")
        os.environ["AMQP_URL"] = f"amqp://localhost:{lab.port}"
        yield
        return
    with private_node(prefix) as node:
        os.environ["AMQP_URL"] = f"amqp://{LOCALHOST}:{node.port}"
        yield


@contextlib.contextmanager
def private_node(prefix: Path | None) -> Iterator[Node]:
    """Start a broker on free ports in a folder of its own; remove both at the end."""
    folder = BROKERS / f"demo-{uuid.uuid4().hex[:8]}"
    node = Node(folder, name="demo", port=0, management_port=0, prefix=prefix, plugins=())
    began = time.monotonic()
    try:
        say("*", "Starting RabbitMQ, a private node on this machine only ...")
        node.start()
        took, version = time.monotonic() - began, ".".join(map(str, node.version))
        say("*", f"RabbitMQ {version} is up after {took:.1f} s, on port {node.port}")
        yield node
    finally:
        with defer_signals():
            node.wipe()


@contextlib.contextmanager
def fresh_queue() -> Iterator[str]:
    """Yield a new queue name; delete the queue at the end."""
    queue = f"demo-{uuid.uuid4().hex[:8]}"
    try:
        yield queue
    finally:
        with contextlib.suppress(BrokerError, AMQPError), Broker().connect() as connection:
            connection.channel().queue_delete(queue)


def draw(*journals: Path) -> None:
    """Draw the rounds one above the other, on the terminal and in a file; keep the journals."""
    title = "Three workers, twelve tasks: dealt out in turn, and fairly with a worker killed"
    timeline = [sys.executable, ROOT / "labs/timeline.py", "--compare", "--title", title, *journals]
    for where in ([], ["-o", PICTURES / "timeline.svg"]):
        if subprocess.run([*timeline, *where]).returncode:
            raise Trouble("labs/timeline.py drew no picture: its last line says why", code=1)
    for journal in journals:
        journal.replace(PICTURES / journal.name)


def demo(folder: Path) -> int:
    """Run both rounds, with the journals in a folder; return the number of lost tasks."""
    journals = [folder / "in-turn.jsonl", folder / "fair.jsonl"]
    speed = ["--seconds-per-character", str(SECONDS_PER_CHARACTER)]
    in_turn = "Round 1, tasks dealt out in turn"
    fair = "Round 2, --acknowledge --prefetch 1, a worker killed"
    say("*", f"{in_turn}: every third of {len(TASKS)} tasks is long")
    with fresh_queue() as queue:
        first = Round(queue, speed, victim=None, journal=journals[0])
        first.run()
    print()
    say("*", f"{fair} while it works")
    with fresh_queue() as queue:
        fairly = [*speed, "--acknowledge", "--prefetch", "1"]
        second = Round(queue, fairly, victim=WORKERS[0], journal=journals[1])
        second.run()
    lost = first.report(in_turn) + second.report(fair)
    lesson = (
        f"In turn, {WORKERS[0]} got all the long tasks while the others had nothing to do:"
        f" {first.seconds:.1f} s. Shared fairly it took {second.seconds:.1f} s, although one"
        " worker was killed: the broker gave its task to another, because nobody had"
        " acknowledged it."
    )
    print(f"\n{textwrap.fill(lesson, shutil.get_terminal_size().columns)}\n", flush=True)
    draw(*journals)
    print(f"\n{NEXT}", end="", flush=True)
    return lost


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="exit codes: 0 nothing was lost, 1 something was, 3 no broker, 4 broker refused,"
        " 130 Ctrl-C",
    )
    return parser.parse_args()


def main(options: argparse.Namespace) -> int:
    """Run the demo; return the exit code."""
    stop_as_with_ctrl_c()
    with broker_for_demo():
        PICTURES.mkdir(exist_ok=True)
        # Each run uses a folder of its own, as several demos may run at once.
        with tempfile.TemporaryDirectory(prefix=".", dir=PICTURES) as folder:
            return 1 if demo(Path(folder)) else 0


if __name__ == "__main__":
    run(main, parse())
