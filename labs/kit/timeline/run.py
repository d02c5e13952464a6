"""Prepare a run for drawing: its workers' lanes, the outcomes of its deliveries, its figures."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from kit.cli import clean
from kit.timeline.figures import count_fates, find_tasks, shortest_time, time_in_turn
from kit.timeline.journal import read_journals
from kit.timeline.replay import NEVER, Delivery, Message, Process, Replay

OVERDUE = 2.0  # seconds of delay after which we assume that the worker was killed


@dataclass(eq=False)
class Lane:
    """The processes of one worker; a restarted worker keeps its lane."""

    worker: str
    processes: list[Process] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)


class Run:
    """The data that a picture shows of one run. Raises Trouble."""

    def __init__(self, paths: list[Path]) -> None:
        events, self.warnings = read_journals(paths)
        self.name = clean(paths[0].name) + (f" and {len(paths) - 1} more" if paths[1:] else "")
        times = {event["event"]: event["time"] for event in reversed(events)}  # first of each
        self.knows_queue = "sent" in times
        zero = times.get("sent", times.get("received", events[0]["time"]))
        last = events[-1]["time"] - zero
        replay = Replay(events, zero)
        messages = [one for one in replay.messages if one.deliveries or one.sent < NEVER]
        workers = [one for one in replay.processes if not one.is_producer]
        deliveries = [delivery for process in workers for delivery in process.deliveries]
        find_killed(workers, last)
        for delivery in deliveries:
            settle(delivery)

        self.lanes = find_lanes(workers)
        self.depth = find_depth(messages)
        sent = [message.sent for message in messages if message.sent < NEVER]
        self.end = min(last, max([0.0, *sent, *(one.ended for one in deliveries)]))
        self.counts = count_fates(messages)
        self.finish = max((one.ended for one in deliveries if one.outcome == "done"), default=None)
        self.tasks, worker_count = find_tasks(messages), max(1, len(self.lanes))
        self.shortest = shortest_time(self.tasks, worker_count)
        self.in_turn = time_in_turn(self.tasks, worker_count)
        if not self.knows_queue:
            self.warnings.append(f"{self.name} has no producer's lines: 'ready' is unknown")


def find_killed(processes: list[Process], last: float) -> None:
    """Set `killed` for the workers that did not stop, but that other lines show to be gone.

    `last` is when the journal ends. Silence alone is no proof: the worker may still be working.
    """
    signs: dict[Process, list[float]] = defaultdict(list)
    for one, other in itertools.permutations(processes, 2):
        if one.worker == other.worker and other.first >= one.last:
            signs[one].append(other.first)
    for process in processes:
        for one in process.deliveries:
            after, due = one.after, one.begun + one.seconds
            if after and not one.settled and after.process is not process:
                if after.received >= process.last and time_of_gap(one) == NEVER:
                    signs[process].append(after.received)
            if one.outcome == "working" and process.last <= due < last - OVERDUE:
                signs[process].append(due)
    for process, times in signs.items():
        if process.stopped == NEVER:
            process.killed = max(process.last, min(times))


def time_of_gap(delivery: Delivery) -> float:
    """Return when the connection that brought a delivery was lost."""
    gaps = delivery.process.gaps
    return next((begin for begin, _ in gaps if begin >= delivery.received), NEVER)


def settle(one: Delivery) -> None:
    """Set the outcome of a delivery, and the time when the broker released it from its worker."""
    over, again = one.process.over, one.after.received if one.after else NEVER
    # With --acknowledge the broker keeps a message until the worker acknowledges or rejects it.
    keeps = one.process.acknowledge or again < NEVER
    gap = time_of_gap(one) if keeps else NEVER
    if one.outcome == "waiting":
        one.ended = min(over, gap, again)
        one.outcome = "waiting" if one.ended == NEVER else "lost"
    elif one.outcome == "working" and over < NEVER:
        one.ended = min(over, again, one.begun + one.seconds)
        one.outcome = "abandoned" if one.process.killed == NEVER else "killed"
    if not one.settled:
        one.returned = keeps
    if one.begun == NEVER and one.outcome == "abandoned":
        one.outcome = "lost"
    if one.outcome == "lost" and one.returned:
        one.outcome = "returned"
    one.is_repeated = bool(one.after) and (one.outcome != "done" or one.returned)
    is_held = keeps and not one.settled
    one.released = min(over, gap, again) if is_held else min(one.ended, again)


def find_lanes(processes: list[Process]) -> list[Lane]:
    """Give each worker a lane; workers that share a name at the same time get one each."""
    lanes: dict[str, Lane] = {}
    for process in processes:
        name = clean(process.worker)
        if name in lanes and lanes[name].processes[-1].over > process.first:
            name = f"{name} ({process.pid})"
        lane = lanes.setdefault(name, Lane(name))
        lane.processes.append(process)
        lane.deliveries += process.deliveries
    # worker-10 comes after worker-9
    return sorted(lanes.values(), key=lambda lane: (len(lane.worker), lane.worker))


def find_depth(messages: list[Message]) -> list[tuple[float, int, int]]:
    """Return (time, ready, held) for each change of the queue: its counts from that time on."""
    ready_changes: dict[float, int] = defaultdict(int)
    held_changes: dict[float, int] = defaultdict(int)
    for message in messages:
        # The broker's confirm may reach the producer after the worker has the message.
        sent = message.sent if message.confirmed == NEVER else message.confirmed
        enters = min([sent, *(one.received for one in message.deliveries)])
        for one in message.deliveries:
            ready_changes[enters] += 1
            ready_changes[max(enters, one.received)] -= 1
            held_changes[one.received] += 1
            held_changes[one.released] -= 1
            enters = one.released if one.returned else NEVER
        ready_changes[enters] += 1
    steps, ready, held = [], 0, 0
    for time in sorted({*ready_changes, *held_changes} - {NEVER}):
        ready, held = ready + ready_changes[time], held + held_changes[time]
        steps.append((time, ready, held))
    return steps
