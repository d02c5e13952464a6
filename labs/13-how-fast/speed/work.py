"""Reading and working: how many messages a second, and what the work costs."""

from speed import ways
from speed.bench import BODY, Bench
from speed.model import CPU, RATE, Contender, Measurement, Target, Values
from speed.program import Failed, Program
from speed.sizes import Sizes
from speed.ways import Settings, Worker

PREFETCHES = {"1": 1, "10": 10, "100": 100, "unlimited": 0}
WATCH = 0.003  # seconds between two looks at what a worker prints


def start(bench: Bench, worker: Worker, settings: Settings, count: int, pause=0.0) -> Program:
    """Start a worker; it may be told by default how many messages it may hold."""
    names = () if worker.default_prefetch else ("PREFETCH", "dramatiq_queue_prefetch")
    prefetch = dict.fromkeys(names, settings.prefetch)
    return bench.start(
        worker.command(settings), settings.queue, pause=pause, both=worker.both, **prefetch,
        SECONDS_PER_CHARACTER=settings.seconds, QUIET=count if worker.quiet else 0,
    )  # fmt: skip


def fill(bench: Bench, worker: Worker, queue: str, bodies: list[str]) -> None:
    """Send messages of the kind that the worker understands."""
    if not worker.sender:
        bench.fill(queue, bodies)
        return
    alike = len(set(bodies)) == 1 and bodies[0] == BODY
    texts = [len(bodies)] if alike else bodies
    bench.start(ways.python(ways.PEERS / worker.sender, *texts), queue).wait()


def rate(bench: Bench, worker: Worker, prefetch: int, count: int, word: bytes) -> Values:
    """Let a worker empty a queue; measure from its first printed task to the last one."""
    for _ in range(3):
        with bench.queue(worker.queue) as queue:
            fill(bench, worker, queue, [BODY] * count)
            program = start(bench, worker, Settings(queue, prefetch), count, WATCH)
            began, first = program.wait_for(word)
            before = program.usage().cpu
            ended, last = program.wait_for(word, 2 if worker.quiet else count)
            after = program.usage().cpu
        if ended > began:  # else the machine was so busy that we saw nothing but the end
            done = count - 1 if worker.quiet else last - first
            cpu = None if after is None else (after - before) * 10_000 / done
            return {"rate": done / (ended - began), "cpu": cpu}
    raise Failed("it was over before it was seen to begin")


def reading(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurements of consumer.py."""
    return [
        measurement(bench, sizes, f"reading-{name}", "Reading", prefetch, ways.READERS, b"Received")
        for name, prefetch in PREFETCHES.items()
    ]


def working(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurements of qprocessor.py."""
    found = []
    for name, prefetch in PREFETCHES.items():
        workers, targets = [*ways.WORKERS], []
        if prefetch in (1, 100):
            workers += [ways.TWO_THREADS, ways.SILENT]
            targets.append(Target("rate", "qprocessor.py", 0.8, ways.TWO_THREADS.name))
        if peers and prefetch in (1, 100):
            every = (*ways.PEER_WORKERS, *ways.SILENT_PEERS)
            workers += [worker for worker in every if ways.has(worker.needs)]
        if peers and prefetch == 1:
            targets.append(Target("rate", "qprocessor.py", 1.2, "dramatiq"))
            targets.append(Target("rate", "qprocessor.py", 1.5, "Celery"))
        found.append(
            measurement(
                bench, sizes, f"working-{name}", "Working", prefetch, workers, b"Done", targets
            )
        )
    return found


def measurement(
    bench: Bench, sizes: Sizes, name: str, verb: str, prefetch: int, workers, word: bytes,
    targets=(),
) -> Measurement:  # fmt: skip
    """Return the measurement of workers with one prefetch."""
    count = sizes.some if prefetch == 1 else sizes.many

    def contender(worker: Worker) -> Contender:
        slow = worker.needs in ("celery", "dramatiq", "amqp-consume")
        size = min(count, sizes.some) if slow else count
        return Contender(
            worker.name, worker.kind, lambda: rate(bench, worker, prefetch, size, word)
        )

    doing = "tasks that take no time" if verb == "Working" else "messages"
    limit = f"prefetch {prefetch}" if prefetch else "no prefetch limit"
    silent = any(worker.quiet for worker in workers)
    return Measurement(
        name, f"{verb}: {doing}, {limit}, each acknowledged", (RATE, CPU),
        tuple(map(contender, workers)), ways.BARE_WORKER, tuple(targets),
        note="* silent: prints only the first and the last task, the others two lines a task."
        if silent else "",
    )  # fmt: skip
