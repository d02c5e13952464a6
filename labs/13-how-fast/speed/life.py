"""A worker's life: its start, memory, idle time, its death, and its fair share of the work."""

import time

from speed import ways
from speed.bench import BODY, Bench
from speed.model import Contender, Measurement, Metric, Target, Values
from speed.program import Failed, Program
from speed.sizes import Sizes
from speed.ways import Settings, Worker
from speed.work import fill, start

START = Metric("start", "ms to the first message")
MEMORY = Metric("memory", "MiB at most", decimals=1)
IDLE = Metric("idle", "CPU ms in 10 s idle", decimals=1, plotted=False)
REDELIVERY = Metric("redelivery", "ms to the redelivery", decimals=1)
FINISH = Metric("finish", "s to the end", decimals=3)
KIT_WORKER = "qprocessor.py"
SETTLED = 0.5  # seconds after the last message until a worker counts as idle
TASKS = ["x" * 20, "x"] * 6  # long and short ones


def taking_part(peers: bool, *more: Worker) -> list[Worker]:
    """Return the workers to be measured, of those that are installed."""
    every = [*ways.WORKERS, *(ways.PEER_WORKERS if peers else ()), *(more if peers else ())]
    return [worker for worker in every if ways.has(worker.needs)]


def living(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurement of start, memory and idleness."""

    def life(worker: Worker) -> Values:
        with bench.queue(worker.queue) as queue:
            fill(bench, worker, queue, [BODY] * sizes.some)
            program = start(bench, worker, Settings(queue, 100), sizes.some)
            first, _ = program.wait_for(b"Received")
            program.pause = 0.003
            program.wait_for(b"Done", sizes.some)
            memory = program.usage().memory
            time.sleep(SETTLED)
            before = program.usage().cpu
            time.sleep(sizes.idle)
            after = program.usage().cpu
        idle = None if after is None else (after - before) * 1e3 * 10 / sizes.idle
        return {"start": (first - program.started) * 1e3, "memory": memory, "idle": idle}

    workers = taking_part(peers, *ways.DEFAULT_PEERS)
    targets = [
        Target("start", KIT_WORKER, 1.3, ways.BARE_WORKER),
        Target("start", KIT_WORKER, 0.1, "Celery, default"),
        Target("memory", KIT_WORKER, 1.3, ways.BARE_WORKER),
    ]
    return [
        Measurement(
            "living", "A worker's start, its peak memory, and what it takes when idle",
            (START, MEMORY, IDLE), contenders(workers, life), ways.BARE_WORKER, tuple(targets),
            note=f"Memory of all its processes, after {sizes.some:,} messages with prefetch 100.",
        )
    ]  # fmt: skip


def contenders(workers: list[Worker], take) -> tuple[Contender, ...]:
    """Return workers as contenders of which `take` measures one."""
    return tuple(Contender(w.name, w.kind, lambda w=w: take(w)) for w in workers)


def redelivering(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurement of a worker's death."""

    def death(worker: Worker) -> Values:
        with bench.queue(worker.queue) as queue:
            fill(bench, worker, queue, [BODY])
            victim = start(bench, worker, Settings(queue, 1, seconds=5), 0)
            victim.wait_for(b"Received")
            heir = start(bench, worker, Settings(queue, 1, seconds=5), 0)
            wait_for_consumers(bench, queue, 2)
            killed = victim.kill()
            received, _ = heir.wait_for(b"Received", within=30)
        return {"redelivery": (received - killed) * 1e3}

    return [
        Measurement(
            "redelivering", "From SIGKILL of a worker in a task until another one has the task",
            (REDELIVERY,), contenders(taking_part(peers), death), ways.BARE_WORKER,
            (Target("redelivery", KIT_WORKER, 2, "the best peer"),),
            note="All processes of the worker are killed.",
        )
    ]  # fmt: skip


def wait_for_consumers(bench: Bench, queue: str, count: int) -> None:
    """Wait until so many consumers are on a queue. Raises Failed."""
    end = time.monotonic() + 30
    while bench.count(queue)[1] < count:
        if time.monotonic() > end:
            raise Failed(f"no {count} workers within 30 s")
        time.sleep(0.02)


def bound(tasks: list[str], seconds: float, workers: int = 2) -> float:
    """Return when the tasks are done, in seconds, if each goes to the first worker that is free."""
    free = [0.0] * workers
    for task in tasks:
        free[free.index(min(free))] += len(task) * seconds
    return max(free)


def sharing(bench: Bench, sizes: Sizes, peers: bool) -> list[Measurement]:
    """Return the measurement of fair dispatch."""
    best = bound(TASKS, sizes.task)

    def share(worker: Worker) -> Values:
        with bench.queue(worker.queue) as queue:
            pair = [start(bench, worker, Settings(queue, 1, sizes.task), 0) for _ in range(2)]
            wait_for_consumers(bench, queue, 2)
            fill(bench, worker, queue, TASKS)
            began = min(first(program) for program in pair)
            ended = last(pair, len(TASKS))
        return {"finish": ended - began}

    workers = taking_part(peers, *ways.UNTUNED_PEERS)
    ideal = Contender("first come, first served", "bound", lambda: {"finish": best})
    return [
        Measurement(
            "sharing", "Twelve tasks, long and short in turn, for two workers with prefetch 1",
            (FINISH,), (*contenders(workers, share), ideal), ideal.name,
            (Target("finish", KIT_WORKER, 1.01, ideal.name),), most_rounds=3,
            note=f"Long: {20 * sizes.task:g} s, short: {sizes.task:g} s; the bound is computed.",
        )
    ]  # fmt: skip


def first(program: Program) -> float:
    """Return when a program got its first message; infinity if it has got none."""
    return program.first_at.get(b"Received", float("inf"))


def last(programs: list[Program], count: int) -> float:
    """Wait until programs have done so many tasks together; return when the last one was done."""
    end = time.monotonic() + 60
    while sum(program.counts[b"Done"] for program in programs) < count:
        if time.monotonic() > end:
            raise Failed(f"{count} tasks were not done within 60 s")
        time.sleep(0.002)
    return max(program.last_at[b"Done"] for program in programs)
