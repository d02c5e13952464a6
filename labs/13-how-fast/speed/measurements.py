"""Take each figure, and list all measurements and targets."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from kit.cli import wait_until
from kit.timeline.figures import time_in_turn
from speed.bench import Bench
from speed.contenders import Contender, read_contenders
from speed.program import DONE, RECEIVED, Failed, Program, Usage, wait_for
from speed.result import BEST_PEER, Measurement, Metric, Target, Values


@dataclass(frozen=True)
class Sizes:
    many: int  # messages for fast operations
    some: int  # messages for operations that each wait for an answer
    idle: float  # seconds for which a worker is idle
    task: float  # seconds for each character of a task in fair dispatch
    calls: int  # calls of a program in each round
    waiting: tuple[int, ...]  # messages in the queue
    workers: tuple[int, ...]
    rounds: int


QUICK = Sizes(3000, 300, 0.5, 0.01, 1, (100, 1000), (1, 2), 1)
NORMAL = Sizes(20_000, 3000, 4, 0.05, 3, (100, 1000, 10_000), (1, 2, 4, 8), 5)
FULL = Sizes(
    20_000, 5000, 6, 0.1, 3, (100, 1000, 10_000, 100_000, 1_000_000), (1, 2, 4, 8, 16, 32), 5
)
BODY = "hello world!"
PREFETCHES = {"1": 1, "10": 10, "100": 100, "unlimited": 0}
SETTLED = 0.5  # seconds after the last message until a worker counts as idle
TASKS = ["x" * 20, "x"] * 6  # long and short ones
TASK = 0.02  # seconds of work for each task in growing-workers
SHORT_TASK = 0.001  # seconds of work, so that messages arrive faster than they are processed
PROCESSED = 2000  # messages after which a worker's peak memory is read

RATE = Metric("rate", "messages/s", more_is_better=True)
CPU = Metric("cpu", "CPU s/10,000", 2, plotted=False)
TIME = Metric("time", "ms")
CPU_OF_CALL = Metric("cpu", "CPU ms", plotted=False)
START = Metric("start", "ms to the first message")
MEMORY = Metric("memory", "MiB at most", 1)
IDLE = Metric("idle", "CPU ms in 10 s idle", 1, plotted=False)
REDELIVERY = Metric("redelivery", "ms to the redelivery", 1)
FINISH = Metric("finish", "s to the end", 3)
TOGETHER = Metric("together", "MiB: all workers", plotted=False)
PRODUCER = Metric("producer", "MiB: producer.py", 1)
LIMITED = Metric("limited", "MiB: worker, prefetch 100", 1)
UNLIMITED = Metric("unlimited", "MiB: worker, no prefetch", 1)


# ---- sending


def send(bench: Bench, sender: Contender, queue: str, count: int) -> Usage:
    before, _ = bench.count(queue)
    usage = bench.start(sender.command, queue, [BODY] * count, count=count).run_to_end()
    arrived = bench.count(queue)[0] - before
    if "confirms" in sender.flags and arrived != count:
        raise Failed(f"{arrived} of {count} messages arrived")
    return usage


def sending(bench: Bench, sender: Contender, sizes: Sizes, queue_type=None) -> Values:
    """Measure how much longer many messages take than one, to leave out the program's start."""
    count = sizes.some if "slow" in sender.flags else sizes.many
    with bench.queue(sender, queue_type) as queue:
        one, all_of_them = send(bench, sender, queue, 1), send(bench, sender, queue, count)
    seconds = all_of_them.seconds - one.seconds
    rate = (count - 1) / seconds if seconds > 0 else None
    return {"rate": rate, "cpu": cpu_between(one.cpu, all_of_them.cpu, 10_000 / (count - 1))}


def calling(bench: Bench, sender: Contender, sizes: Sizes) -> Values:
    with bench.queue(sender) as queue:
        quickest = min(send(bench, sender, queue, 1) for _ in range(sizes.calls))
    return {"time": quickest.seconds * 1e3, "cpu": cpu_between(0, quickest.cpu, 1e3)}


def cpu_between(before: float | None, after: float | None, factor: float) -> float | None:
    """Return a difference in CPU seconds, times a factor, or None if it is unknown."""
    return None if None in (before, after) else max(after - before, 0) * factor


# ---- working


def fill(bench: Bench, worker: Contender, queue: str, bodies: list[str]) -> Usage:
    """Send messages in the format that the worker understands."""
    filler = "{python} {kit}/producer.py --queue {queue} --durable --persistent"
    if worker.needs in ("celery", "dramatiq"):
        filler = f"{{python}} {worker.needs}_send.py"
    return bench.start(filler, queue, bodies).run_to_end(within=900)


def start_workers(
    bench: Bench, worker: Contender, queue: str, number: int, seconds: float
) -> list[Program]:
    """Start workers with a prefetch of 1; return them when all are subscribed."""
    command = worker.command
    workers = [bench.start(command, queue, prefetch=1, seconds=seconds) for _ in range(number)]
    wait_until(lambda: bench.count(queue)[1] >= number, 30)
    return workers


def working(bench: Bench, worker: Contender, sizes: Sizes, prefetch: int, mark=DONE) -> Values:
    """Let a worker empty a queue; measure from its first printed line to the last one."""
    count = sizes.some if prefetch == 1 or "slow" in worker.flags else sizes.many
    is_silent = "silent" in worker.flags
    with bench.queue(worker) as queue:
        fill(bench, worker, queue, [BODY] * count)
        program = bench.start(worker.command, queue, count=count, prefetch=prefetch)
        wait_for(mark, 1, program)
        before = program.cpu()
        wait_for(mark, 2 if is_silent else count, program)
        after = program.cpu()
    (began, first), (ended, last) = program.seen[mark][0], program.seen[mark][-1]
    if began == ended:  # all lines came in one batch
        return {"rate": None, "cpu": None}
    done = count - 1 if is_silent else last - first
    return {"rate": done / (ended - began), "cpu": cpu_between(before, after, 10_000 / done)}


def living(bench: Bench, worker: Contender, sizes: Sizes) -> Values:
    with bench.queue(worker) as queue:
        fill(bench, worker, queue, [BODY] * sizes.some)
        program = bench.start(worker.command, queue, prefetch=100)
        wait_for(DONE, sizes.some, program)
        memory = program.memory()
        time.sleep(SETTLED)
        before = program.cpu()
        time.sleep(sizes.idle)
        idle = cpu_between(before, program.cpu(), 1e3 * 10 / sizes.idle)
    seconds = first_received(program) - program.started
    return {"start": seconds * 1e3, "memory": memory, "idle": idle}


def redelivering(bench: Bench, worker: Contender, sizes: Sizes) -> Values:
    with bench.queue(worker) as queue:
        fill(bench, worker, queue, [BODY])
        victim, heir = start_workers(bench, worker, queue, 2, seconds=5)
        wait_until(lambda: victim.count(RECEIVED) or heir.count(RECEIVED), 30)
        if heir.count(RECEIVED):
            victim, heir = heir, victim
        killed = victim.kill()
        received = wait_for(RECEIVED, 1, heir)
    return {"redelivery": (received - killed) * 1e3}


def sharing(bench: Bench, worker: Contender, sizes: Sizes) -> Values:
    if worker.kind == "bound":
        return {"finish": first_come_first_served(TASKS, sizes.task)}
    with bench.queue(worker) as queue:
        pair = start_workers(bench, worker, queue, 2, sizes.task)
        fill(bench, worker, queue, TASKS)
        ended = wait_for(DONE, len(TASKS), *pair)
    return {"finish": ended - first_received(*pair)}


def first_come_first_served(tasks: list[str], seconds: float, workers: int = 2) -> float:
    """Return the seconds that waiting tasks take if each goes to the first free worker."""
    return time_in_turn([(0.0, len(task) * seconds) for task in tasks], workers)


def first_received(*workers: Program) -> float:
    return min(worker.seen[RECEIVED][0][0] for worker in workers if worker.seen[RECEIVED])


# ---- growing


def growing_workers(bench: Bench, worker: Contender, sizes: Sizes) -> Values:
    tasks = [BODY] * round(worker.size / TASK)  # one second of work for each worker
    with bench.queue(worker) as queue:
        workers = start_workers(bench, worker, queue, worker.size, TASK / len(BODY))
        fill(bench, worker, queue, tasks)
        seconds = wait_for(DONE, len(tasks), *workers) - first_received(*workers)
        memory = [program.memory() for program in workers]
    together = None if None in memory else sum(memory)
    return {"rate": len(tasks) / seconds, "together": together}


def growing_waiting(bench: Bench, worker: Contender, sizes: Sizes) -> Values:
    values: Values = {}
    for name, prefetch in ("limited", 100), ("unlimited", 0):
        with bench.queue(worker) as queue:
            values["producer"] = fill(bench, worker, queue, [BODY] * worker.size).memory
            seconds = SHORT_TASK / len(BODY)
            program = bench.start(worker.command, queue, prefetch=prefetch, seconds=seconds)
            wait_for(DONE, min(PROCESSED, worker.size), program)
            values[name] = program.memory()
    return values


# ---- the table

WORKER, BARE, TWO_THREADS = "qprocessor.py", "bare pika", "bare pika, two threads"
SENDER, UNCONFIRMED = "producer.py", "bare pika, unconfirmed"
IDEAL = Contender("first come, first served", "bound")
SILENT = "* silent: prints only the first and the last task, the others two lines a task."
CONFIRMS = "producer.py confirms every message; the rate is without the program's start."

TARGETS = (
    Target("sending", RATE, SENDER, 10, "bare pika, one by one"),
    Target("sending", RATE, SENDER, 0.8, UNCONFIRMED),
    Target("sending", RATE, SENDER, 1, "aio-pika, 1,000 at a time"),
    Target("sending", RATE, SENDER, 1, "aio-pika, one by one"),
    Target("sending", RATE, SENDER, 1, "kombu, confirmed"),
    Target("sending", RATE, SENDER, 1, "dramatiq, confirmed"),
    Target("sending", RATE, SENDER, 1, "Celery, confirmed"),
    Target("reading-unlimited", RATE, "consumer.py, limited", 0.8, BARE),
    Target("reading-unlimited", RATE, "consumer.py, until empty", 0.7, BARE),
    Target("working-1", RATE, WORKER, 0.8, TWO_THREADS),
    Target("working-1", RATE, WORKER, 1.2, "dramatiq"),
    Target("working-1", RATE, WORKER, 1.5, "Celery"),
    Target("working-100", RATE, WORKER, 0.8, TWO_THREADS),
    Target("living", START, WORKER, 1.3, BARE),
    Target("living", START, WORKER, 0.1, "Celery, default"),
    Target("living", MEMORY, WORKER, 1.3, BARE),
    Target("redelivering", REDELIVERY, WORKER, 2, BEST_PEER),
    Target("sharing", FINISH, WORKER, 1.01, IDEAL.name),
)


def measurements(sizes: Sizes) -> Iterator[Measurement]:
    """Yield all measurements, each with all its possible contenders."""
    table = read_contenders()
    senders = table["senders"] + table["peer senders"]
    workers = table["workers"] + table["peer workers"]
    for name, what, group, queue_type in (
        ("sending", "persistent messages to a classic", senders, None),
        ("sending-transient", "transient messages to a classic", table["transient senders"], None),
        ("sending-quorum", "persistent messages to a quorum", table["senders"], "quorum"),
    ):
        take = partial(sending, queue_type=queue_type)
        title = f"Sending {what} queue"
        yield Measurement(name, title, (RATE, CPU), group, UNCONFIRMED, take, CONFIRMS)

    for name, prefetch in PREFETCHES.items():
        group = table["readers"] if prefetch else table["readers"] + table["readers to the end"]
        take = partial(working, prefetch=prefetch, mark=RECEIVED)
        title = f"Reading: messages, {limit(prefetch)}, each acknowledged"
        yield Measurement(f"reading-{name}", title, (RATE, CPU), group, BARE, take)

    for name, prefetch in PREFETCHES.items():
        group, note = table["workers"], ""
        if prefetch in (1, 100):
            group, note = workers + table["bare workers"] + table["silent peers"], SILENT
        take = partial(working, prefetch=prefetch)
        title = f"Working: tasks that take no time, {limit(prefetch)}, each acknowledged"
        yield Measurement(f"working-{name}", title, (RATE, CPU), group, BARE, take, note)

    group = senders + table["starts"]
    title = "One call: a program starts, sends one message, and ends"
    note = f"The best of {sizes.calls} calls in each round."
    yield Measurement("calling", title, (TIME, CPU_OF_CALL), group, UNCONFIRMED, calling, note)

    group = workers + table["default peers"]
    title = "A worker's start, its peak memory, and what it takes when idle"
    note = f"Memory of all its processes, after {sizes.some:,} messages with prefetch 100."
    yield Measurement("living", title, (START, MEMORY, IDLE), group, BARE, living, note)

    title = "From SIGKILL of a worker in a task until another one has the task"
    note = "All processes of the worker are killed."
    yield Measurement("redelivering", title, (REDELIVERY,), workers, BARE, redelivering, note)

    group = [*workers, *table["untuned peers"], IDEAL]
    title = "Twelve tasks, long and short in turn, for two workers with prefetch 1"
    note = f"Long: {20 * sizes.task:g} s, short: {sizes.task:g} s; the bound is computed."
    yield Measurement("sharing", title, (FINISH,), group, IDEAL.name, sharing, note, 3)

    group = of_sizes(table["workers"][0], sizes.workers, "worker")
    title = f"How it grows with workers: tasks of {TASK * 1e3:g} ms, prefetch 1"
    note = "Ideal: as many times the rate of one worker as there are workers."
    metrics, first = (RATE, TOGETHER), group[0].name
    yield Measurement("growing-workers", title, metrics, group, first, growing_workers, note, 2)

    group = of_sizes(table["workers"][0], sizes.waiting, "message")
    title = "How it grows with waiting messages: peak memory"
    note = (
        f"producer.py reads them from standard input; the worker processes {PROCESSED:,} of them."
    )
    metrics, first = (PRODUCER, LIMITED, UNLIMITED), group[0].name
    yield Measurement("growing-waiting", title, metrics, group, first, growing_waiting, note, 2)


def limit(prefetch: int) -> str:
    return f"prefetch {prefetch}" if prefetch else "no prefetch limit"


def of_sizes(worker: Contender, sizes: tuple[int, ...], what: str) -> list[Contender]:
    names = [f"{size:,} {what}{'s' if size > 1 else ''}" for size in sizes]
    return [replace(worker, name=name, size=size) for name, size in zip(names, sizes, strict=True)]
