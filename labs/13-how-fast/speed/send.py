"""Sending: how many messages a second, confirmed or not, and how long one call takes."""

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from speed import ways
from speed.bench import BODY, Bench
from speed.model import CPU, RATE, Contender, Measurement, Metric, Target, Values
from speed.program import Failed, Usage
from speed.sizes import Sizes
from speed.ways import Sender

WALL = Metric("time", "ms", decimals=0)
CPU_CALL = Metric("cpu", "CPU ms", decimals=0, plotted=False)


@contextlib.contextmanager
def lines(count: int) -> Iterator[Path]:
    """Give a file with so many messages, one a line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "messages"
        file.write_text(f"{BODY}\n" * count)
        yield file


def send(bench: Bench, sender: Sender, queue: str, count: int) -> Usage:
    """Send messages and see that they are all there; return what the whole program took."""
    before = bench.count(queue)[0]
    with lines(count) if sender.stdin else contextlib.nullcontext() as stdin:
        program = bench.start(
            sender.command(queue, count), queue, stdin=stdin, **dict(sender.environment)
        )
        used = program.wait()
    if (arrived := bench.count(queue)[0] - before) != count and sender.confirmed:
        raise Failed(f"{arrived} of {count} messages arrived")
    return used


def rate(bench: Bench, sender: Sender, count: int, kind: str | None) -> Values:
    """Measure one program: what `count` messages take longer than one, so without its start."""
    with bench.queue(kind) as queue:
        one = send(bench, sender, queue, 1)
        all_of_them = send(bench, sender, queue, count)
    seconds = max(all_of_them.seconds - one.seconds, 1e-3)
    cpu = None if one.cpu is None else max(all_of_them.cpu - one.cpu, 0)
    per = 10_000 / (count - 1)
    return {"rate": (count - 1) / seconds, "cpu": None if cpu is None else cpu * per}


def contender(bench: Bench, sender: Sender, sizes: Sizes, kind: str) -> Contender:
    """Return a sender as a contender."""
    count = sizes.some if sender.slow else sizes.many
    kind = kind if kind == "quorum" else sender.queue
    return Contender(sender.name, sender.kind, lambda: rate(bench, sender, count, kind))


def sending(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurements of sending many messages."""
    senders = [*ways.SENDERS]
    targets = [
        Target("rate", ways.KIT_SENDER, 10, ways.ONE_BY_ONE),
        Target("rate", ways.KIT_SENDER, 0.8, ways.UNCONFIRMED),
    ]
    if peers:
        found = [sender for sender in ways.PEER_SENDERS if ways.has(sender.needs)]
        senders += found
        confirmed = [sender.name for sender in found if sender.confirmed]
        targets += [Target("rate", ways.KIT_SENDER, 1, name) for name in confirmed]
    every = [
        ("sending", "Sending persistent messages to a classic queue", "classic", senders, targets),
        ("sending-transient", "Sending transient messages to a classic queue", "classic",
         ways.TRANSIENT, ()),
        ("sending-quorum", "Sending persistent messages to a quorum queue", "quorum",
         ways.SENDERS, ()),
    ]  # fmt: skip
    return [
        Measurement(
            name, title, (RATE, CPU),
            tuple(contender(bench, sender, sizes, kind) for sender in those),
            ways.UNCONFIRMED, tuple(wanted),
            note="producer.py confirms every message; the rate is without the program's start.",
        )
        for name, title, kind, those, wanted in every
    ]  # fmt: skip


def best(calls: list[Usage]) -> Values:
    """Return time and CPU of the quickest of some calls, in ms."""
    quickest = min(calls, key=lambda used: used.seconds)
    return {"time": quickest.seconds * 1e3, "cpu": quickest.cpu and quickest.cpu * 1e3}


def calling(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurement of a program that sends one message and ends."""

    def one(sender: Sender) -> Values:
        with bench.queue(sender.queue) as queue:
            return best([send(bench, sender, queue, 1) for _ in range(sizes.calls)])

    def floor(command: list[str]) -> Values:
        return best([bench.start(command, "").wait() for _ in range(sizes.calls)])

    senders = [*ways.SENDERS]
    if peers:
        senders += [sender for sender in ways.PEER_SENDERS if ways.has(sender.needs)]
    contenders = [Contender(s.name, s.kind, partial(one, s)) for s in senders]
    for name, program in (("python, nothing else", "pass"), ("import pika", "import pika")):
        command = ways.python("-c", program)
        contenders.append(Contender(name, "bound", partial(floor, command)))
    return [
        Measurement(
            "calling", "One call: a program starts, sends one message, and ends",
            (WALL, CPU_CALL), tuple(contenders), ways.UNCONFIRMED,
            note=f"The best of {sizes.calls} calls in each round.",
        )
    ]  # fmt: skip
