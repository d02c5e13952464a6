"""How it grows: with more workers, and with more messages waiting."""

import functools
from collections.abc import Callable

from speed import ways
from speed.bench import BODY, Bench
from speed.life import first, last, wait_for_consumers
from speed.model import RATE, Contender, Measurement, Metric, Values
from speed.send import lines
from speed.sizes import Sizes
from speed.ways import Settings
from speed.work import start

TASK = 0.02  # seconds of work
WORKER = ways.WORKERS[0]
LITTLE = 0.001  # seconds of work, so that the messages come faster than they are worked off
READ = 2000  # messages that the worker works off to show how much memory it takes
UNLIMITED = 100_000  # more than so many at once are too much for some machines

PRODUCER = Metric("producer", "MiB: producer.py", decimals=1)
LIMITED = Metric("limited", "MiB: worker, prefetch 100", decimals=1)
UNBOUND = Metric("unbound", "MiB: worker, no prefetch", decimals=1)
TOGETHER = Metric("together", "MiB: all workers", plotted=False, decimals=0)


def growing(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurements of growth; they have one contender for each size."""
    return [
        series(
            "growing-workers", f"How it grows with workers: tasks of {TASK * 1e3:g} ms, prefetch 1",
            (RATE, TOGETHER), sizes.workers, functools.partial(workers, bench), "workers",
            note="Ideal: as many times the rate of one worker as there are workers.",
        ),
        series(
            "growing-waiting", "How it grows with waiting messages: peak memory",
            (PRODUCER, LIMITED, UNBOUND), sizes.waiting, functools.partial(waiting, bench),
            "messages",
            note=f"producer.py reads them from standard input; the worker works {READ:,} off"
            f" (without a prefetch, of no more than {UNLIMITED:,}).",
        ),
    ]  # fmt: skip


def series(
    name: str, title: str, metrics, sizes, take: Callable[[int], Values], unit: str, note: str
) -> Measurement:
    """Return a measurement whose contenders differ in size."""
    titles = [f"{size:,} {unit if size > 1 else unit.rstrip('s')}" for size in sizes]
    every = tuple(
        Contender(one, ways.KIT, functools.partial(take, size))
        for one, size in zip(titles, sizes, strict=True)
    )
    return Measurement(name, title, metrics, every, titles[0], most_rounds=2, note=note)


def workers(bench: Bench, count: int) -> Values:
    """Let so many workers share a second of work each."""
    tasks = [BODY] * round(count / TASK)
    with bench.queue() as queue:
        settings = Settings(queue, 1, TASK / len(BODY))
        every = [start(bench, WORKER, settings, 0) for _ in range(count)]
        wait_for_consumers(bench, queue, count)
        bench.fill(queue, tasks)
        ended = last(every, len(tasks))
        began = min(map(first, every))
        used = [program.usage().memory for program in every]
    memory = None if None in used else sum(used)
    return {"rate": len(tasks) / (ended - began), "together": memory}


def waiting(bench: Bench, count: int) -> Values:
    """Send so many messages, then work some of them off, with a prefetch and without."""
    with lines(count) as file, bench.queue() as queue:
        command = ways.python(
            ways.ROOT / "producer.py", "--queue", queue, "--durable", "--persistent"
        )
        sent = bench.start(command, queue, stdin=file).wait(within=900, memory=True)
        limited = peak(bench, queue, 100, count)
    unbound = None
    if count <= UNLIMITED:
        with bench.queue() as queue:
            bench.fill(queue, [BODY] * count)
            unbound = peak(bench, queue, 0, count)
    return {"producer": sent.memory, "limited": limited, "unbound": unbound}


def peak(bench: Bench, queue: str, prefetch: int, count: int) -> float | None:
    """Return the peak memory in MiB of a worker that works some messages off."""
    program = start(bench, WORKER, Settings(queue, prefetch, LITTLE / len(BODY)), 0, pause=0.003)
    program.wait_for(b"Done", min(READ, count))
    return program.usage().memory
