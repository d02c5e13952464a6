#!/usr/bin/env python3
"""Send the same events to two readers in five ways, and measure what each way costs.

    ./compare.py

Each way runs a publisher and two readers, A and B, as separate processes: the programs of this
folder and consumer.py. B leaves in the middle and comes back. This takes about 12 seconds.
"""

import argparse
import random
import re
import subprocess
import time
import uuid
from pathlib import Path

try:
    from exchanges import broker_of, make_parser
    from pika.adapters.blocking_connection import BlockingChannel

    from kit.amqp import Broker
    from kit.cli import OK, run, say, stop_as_with_ctrl_c, wait_until
    from kit.cli.program import Script
    from kit.web.programs import Programs
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"compare.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """what the columns say:
  requests or deliveries    how often A and B asked, or received an event
  in vain                   of these, how many brought nothing new
  delay in ms               from making an event until A, which never leaves, has it
  missed by B               events that B never gets; with a work queue, that neither gets"""
HERE = Path(__file__).resolve().parent
TITLES = [
    ["", "requests or", "in", "mean delay", "worst delay", "missed"],
    ["", "deliveries", "vain", "ms", "ms", "by B"],
]
BEFORE, AWAY, AFTER = 6, 12, 6  # events before B leaves, while it is away, and after it is back
KEEP = 8  # events kept for polling: more than between two polls, fewer than while B is away
PAUSE = (0.1, 0.3)  # seconds from one event to the next: at least, at most
DEADLINE = 30  # seconds for a step that takes about one
PUBLISHES = " event"  # "Answering at ..., newest 8 events only", or "Each event goes to ..."
READY = "To exit press CTRL+C"
EVENT = re.compile(r"event (\d+) of ([\d.]+)")  # its number, and time.monotonic() when it was made
ASKED = re.compile(r"(\d+) requests?, (\d+) of them in vain")


class Transport:
    """A transport of events to A and B: its programs, and what they have printed."""

    def __init__(self, title: str, publisher: str, reader: str, *, shared: bool = False) -> None:
        """Take two commands; {who}, {address} and {last} are filled in for the reader.

        If `shared`, each event goes to one of the readers, otherwise to both.
        """
        self.title, self.publisher, self.reader, self.shared = title, publisher, reader, shared
        self.address = ""
        self.runs: dict[str, list[Script]] = {"publisher": [], "A": [], "B": []}  # oldest first

    def start(self, who: str, programs: Programs) -> None:
        """Start a program, without waiting until it is ready."""
        command = self.publisher
        if who != "publisher":
            last = max(self.delays(who), default=0)
            command = self.reader.format(who=who, address=self.address, last=last)
        stdin = subprocess.PIPE if who == "publisher" else subprocess.DEVNULL
        self.runs[who].append(programs.start(*command.split(), stdin=stdin))

    def wait_ready(self, who: str) -> None:
        """Wait until a program that was started is ready."""
        if who == "publisher":
            said = self.runs[who][-1].wait_for(PUBLISHES, within=DEADLINE).text
            self.address = (re.findall(r"http://\S+/events", said) or [""])[0]
        else:
            self.runs[who][-1].wait_for(READY, within=DEADLINE)

    def publish(self, event: int) -> None:
        """Pass an event to the publisher."""
        pipe = self.runs["publisher"][-1].process.stdin
        pipe.write(f"event {event} of {time.monotonic():.6f}\n".encode())
        pipe.flush()

    def delays(self, who: str) -> dict[int, float]:
        """Return the delay in seconds of each event that a reader has received."""
        lines = [line for run in self.runs[who] for line in list(run.lines)]
        found = [(line, EVENT.search(line.text)) for line in lines]
        return {int(event[1]): line.time - float(event[2]) for line, event in found if event}

    def has_come(self, event: int, readers: str) -> bool:
        """Return True if an event has reached its readers."""
        have = [event in self.delays(who) for who in readers]
        return any(have) if self.shared else all(have)

    def count(self) -> tuple[int, int]:
        """Return the requests or deliveries of A and B, and how many of them were in vain."""
        text = "\n".join(run.text() for who in "AB" for run in self.runs[who])
        if asked := ASKED.findall(text):
            return sum(int(one) for one, _ in asked), sum(int(in_vain) for _, in_vain in asked)
        deliveries = len(EVENT.findall(text))
        return deliveries, deliveries - len(self.delays("A")) - len(self.delays("B"))

    def row(self, made: int) -> list[str]:
        """Return the table's row, for `made` events."""
        delays = [1000 * seconds for seconds in self.delays("A").values()]
        had = set(self.delays("B")) | (set(self.delays("A")) if self.shared else set())
        figures = [*self.count(), sum(delays) / len(delays), max(delays), made - len(had)]
        return [self.title, *(f"{figure:.0f}" for figure in figures)]


def all_transports(name: str) -> list[Transport]:
    """Return the transports; all names on the broker begin with `name`."""
    board = f"publisher.py --http --http-port 0 --keep {KEEP}"
    poll = "poll.py {address} --after {last} --every"
    jobs, news, kept = f"{name}-jobs", f"{name}-news", f"{name}-kept"
    return [
        Transport("polling, every 0.1 s", board, f"{poll} 0.1"),
        Transport("polling, every second", board, f"{poll} 1"),
        Transport("work queue", f"publisher.py --queue {jobs} --durable",
            f"../../consumer.py --queue {jobs} --durable --acknowledge", shared=True),
        Transport("publish/subscribe", f"publisher.py --exchange {news}",
            f"subscribe.py --exchange {news}"),
        Transport("  with durable queues", f"publisher.py --exchange {kept}",
            f"subscribe.py --exchange {kept} --queue {kept}-{{who}} --durable"),
    ]  # fmt: skip


class Comparison:
    """All transports at the same time, with the same events."""

    def __init__(self, transports: list[Transport], programs: Programs) -> None:
        self.transports, self.programs, self.made = transports, programs, 0
        self.random = random.Random(7)  # the same pauses in every run

    def run(self) -> None:
        """Run the whole comparison."""
        for who in ("publisher", "A", "B"):
            self.enter(who)
        say("*", f"{BEFORE} events for A and B")
        self.publish(BEFORE, "AB")
        self.leave("B")
        say("*", f"B is away, {AWAY} events for A")
        self.publish(AWAY, "A")
        self.enter("B")
        say("*", f"B is back, {AFTER} events for A and B")
        self.publish(AFTER, "AB")
        for who in "AB":
            self.leave(who)

    def enter(self, who: str) -> None:
        """Start the publisher, A or B of every transport, and wait until all are ready."""
        for transport in self.transports:
            transport.start(who, self.programs)
        for transport in self.transports:
            transport.wait_ready(who)

    def leave(self, who: str) -> None:
        """Stop the publisher, A or B of every transport, and wait until all have ended."""
        for transport in self.transports:
            transport.runs[who][-1].terminate()
        for transport in self.transports:
            transport.runs[who][-1].wait(DEADLINE)

    def publish(self, count: int, readers: str) -> None:
        """Publish `count` events, and wait until the readers have the last of them."""
        for _ in range(count):
            time.sleep(self.random.uniform(*PAUSE))
            self.made += 1
            for transport in self.transports:
                transport.publish(self.made)
        wait_until(lambda: all(t.has_come(self.made, readers) for t in self.transports), DEADLINE)

    def print(self) -> None:
        rows = [*TITLES, *(transport.row(self.made) for transport in self.transports)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for title, *cells in rows:
            figures = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            print(title.ljust(widths[0]), *figures, sep="   ", flush=True)


def main(options: argparse.Namespace, broker: Broker) -> int:
    stop_as_with_ctrl_c()
    broker.keep_trying(broker.connect).close()
    name = f"compare-{uuid.uuid4().hex[:8]}"
    transports = all_transports(name)

    def delete(channel: BlockingChannel) -> None:
        for queue in ("jobs", "kept-A", "kept-B"):
            channel.queue_delete(f"{name}-{queue}")
        for exchange in ("news", "kept"):
            channel.exchange_delete(f"{name}-{exchange}")

    say("*", f"{len(transports)} ways, each with a publisher and two readers: starting them")
    with Programs("the comparison", HERE, broker, delete=delete) as programs:
        comparison = Comparison(transports, programs)
        comparison.run()
    comparison.print()
    return OK


if __name__ == "__main__":
    chosen = make_parser(__doc__, EXAMPLES, "compare.py").parse_args()
    run(lambda options: main(options, broker_of(options)), chosen)
