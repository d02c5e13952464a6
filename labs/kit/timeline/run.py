"""A run as the pictures show it: lanes, bars, links, queue depth and figures; nothing is drawn.

Times are seconds since the first message was sent (without a producer's journal: received).
"""

import itertools
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kit.timeline.fate import judge
from kit.timeline.figures import Figures, figure
from kit.timeline.journal import Bar, Journal, Process, Sent
from kit.timeline.lines import plain

PAUSE = 60  # seconds without any work in which we wonder whether a new run begins


class Life(NamedTuple):
    """A worker's time from start to end; None: it was still there."""

    started: float
    ended: float | None
    killed: bool


@dataclass(eq=False)
class Lane:
    """One worker: when it was there, and what it got. Started again it stays in its lane."""

    worker: str
    lives: list[Life] = field(default_factory=list)
    gaps: list[tuple[float, float | None]] = field(default_factory=list)  # without a connection
    bars: list[Bar] = field(default_factory=list)


class Link(NamedTuple):
    """From the end of a delivery that came to nothing to the next one of the same message."""

    lost: Bar
    again: Bar


class Step(NamedTuple):
    """From `time` on: messages ready in the queue (None: unknown), and held by workers."""

    time: float
    ready: int | None
    held: int


@dataclass(eq=False)
class Message:
    """One task: when it reached the queue (None: unknown), and its deliveries in order of time."""

    text: str
    sent: float | None = None
    entered: float | None = None
    bars: list[Bar] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How often it was done."""
        return sum(bar.succeeded for bar in self.bars)

    @property
    def lost(self) -> bool:
        """Whether it is gone for good and was never done."""
        return bool(self.bars) and self.bars[-1].gone and not self.done

    @property
    def failed(self) -> bool:
        """Whether it was moved to QUEUE.failed, and was never done."""
        return bool(self.bars) and self.bars[-1].fate == "failed" and not self.done


@dataclass(eq=False)
class Run:
    """What a picture shows of one run."""

    name: str
    settings: str
    lanes: list[Lane]
    messages: list[Message]
    links: list[Link]
    depth: list[Step]
    figures: Figures
    end: float  # of the last that happened to a message
    notes: list[str]
    knows_queue: bool  # a producer's journal is among the files

    @property
    def bars(self) -> list[Bar]:
        """All bars, lane after lane."""
        return [bar for lane in self.lanes for bar in lane.bars]


def read_run(paths: list[Path]) -> Run:
    """Read the journals of one run. Raises Trouble."""
    journal = Journal(paths)
    name = plain(paths[0].name) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    zero = find_zero(journal)
    shift_all(journal, -zero)
    journal.bars.sort(key=lambda bar: bar.received)
    workers = find_workers(journal)
    messages = find_messages(journal)
    last = max(process.last for process in journal.processes)
    judge(workers, [message.bars for message in messages], last)
    lanes = find_lanes(workers, journal.bars)
    notes = journal.notes
    if not messages:
        notes.append(f"{name} tells of no message")
    elif not journal.sent:
        notes.append(f"{name} is without a producer's lines: what is ready in the queue is unknown")
    depth = find_depth(messages, knows_queue=bool(journal.sent))
    for step, following in itertools.pairwise(depth):
        if not step.held and not step.ready and following.time - step.time > PAUSE:
            pause = f"{following.time - step.time:.0f} s from {step.time:.0f} s on"
            notes.append(f"{name}: nothing to do for {pause}: two runs, drawn as one?")
            break
    moments = [time for bar in journal.bars for time in (bar.begun, bar.end) if time is not None]
    moments += [time for message in messages for time in (message.sent, message.entered) if time]
    open_now = any(bar.end is None for bar in journal.bars)
    end = max([*moments, *(bar.received for bar in journal.bars), *([last] if open_now else [0.0])])
    settings = sorted({describe(process) for process in workers if process.started})
    return Run(
        name=name,
        settings=", ".join(settings),
        lanes=lanes,
        messages=messages,
        links=find_links(messages),
        depth=depth,
        figures=figure(messages, len(lanes)),
        end=end,
        notes=notes,
        knows_queue=bool(journal.sent),
    )


def find_zero(journal: Journal) -> float:
    """Return when the first message was sent, or else received, or else anything happened."""
    for times in (
        [one.sent for one in journal.sent],
        [bar.received for bar in journal.bars],
        [process.first for process in journal.processes],
    ):
        if times:
            return min(times)
    return 0.0


def shift_all(journal: Journal, by: float) -> None:
    """Move all times by some seconds."""
    for process in journal.processes:
        process.shift(by)
    for one in (*journal.bars, *journal.sent):
        one.shift(by)


def describe(process: Process) -> str:
    """Return how a worker was started, in the words of its options."""
    if not process.acknowledge:
        return "automatic acknowledgement"
    return "--acknowledge" + (f" --prefetch {process.prefetch}" if process.prefetch else "")


def find_workers(journal: Journal) -> list[Process]:
    """Return the processes that have a lane: those that received something or waited for it."""
    busy = {id(bar.process) for bar in journal.bars}
    senders = {id(one.process) for one in journal.sent}
    return [
        process
        for process in journal.processes
        if id(process) in busy
        or (process.started and id(process) not in senders and "producer" not in process.script)
    ]


def find_messages(journal: Journal) -> list[Message]:
    """Put together what belongs to one message: by queue and message_id, or else by its text."""
    queues = {process.queue for process in journal.processes} - {None}
    only = queues.pop() if len(queues) == 1 else None  # for those whose `started` is missing
    telling = {id(one.process) for one in journal.sent if one.confirmed is not None}
    messages: dict[tuple, Message] = {}
    fresh: dict[tuple, deque[Message]] = defaultdict(deque)  # by their text
    failed: dict[tuple, deque[Message]] = defaultdict(deque)

    def message_of(one: Bar | Sent, candidates: dict[tuple, deque[Message]] | None) -> Message:
        queue = one.process.queue or only
        if one.message_id is not None:
            return messages.setdefault((queue, one.message_id), Message(one.message))
        if candidates and candidates[queue, one.message]:
            return candidates[queue, one.message].popleft()
        return messages.setdefault((queue, None, len(messages)), Message(one.message))

    for one in sorted(journal.sent, key=lambda one: one.sent):
        if one.refused:
            continue
        message = message_of(one, None)
        message.sent = one.sent if message.sent is None else message.sent
        if message.entered is None:
            message.entered = one.confirmed if id(one.process) in telling else one.sent
        if one.message_id is None:
            fresh[one.process.queue or only, one.message].append(message)
    for bar in journal.bars:
        message = message_of(bar, failed if bar.redelivered else fresh)
        message.bars.append(bar)
        if bar.message_id is None and not (bar.succeeded and bar.acknowledged):
            failed[bar.process.queue or only, bar.message].append(message)
    for message in messages.values():
        # The broker's confirm may reach the producer after the worker has the message.
        if message.bars and message.sent is not None:
            first = message.bars[0].received
            message.entered = first if message.entered is None else min(message.entered, first)
    return list(messages.values())


def find_lanes(workers: list[Process], bars: list[Bar]) -> list[Lane]:
    """Give each worker a lane; two at a time that share a name have one each."""
    lanes: list[Lane] = []
    lane_of: dict[int, Lane] = {}
    by_name: dict[str, list[Lane]] = defaultdict(list)
    for process in sorted(workers, key=lambda process: process.first):
        ended = process.killed if process.stopped is None else process.stopped
        same_name = by_name[process.worker]
        lane = next((lane for lane in same_name if is_free(lane, process.first)), None)
        if lane is None:
            label = plain(process.worker)
            lane = Lane(f"{label} ({process.pid})" if same_name else label)
            lanes.append(lane)
            same_name.append(lane)
        lane.lives.append(Life(process.first, ended, process.killed is not None))
        lane.gaps += process.gaps
        lane_of[id(process)] = lane
    for bar in bars:
        lane_of[id(bar.process)].bars.append(bar)
    return sorted(lanes, key=lambda lane: natural(lane.worker))


def is_free(lane: Lane, time: float) -> bool:
    """Tell whether the worker of a lane had ended by then."""
    ended = lane.lives[-1].ended
    return ended is not None and ended <= time


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts worker-10 behind worker-9."""
    parts = re.split(r"([0-9]{1,9})", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def find_links(messages: list[Message]) -> list[Link]:
    """Join each delivery that came to nothing with the next one of its message."""
    return [
        Link(lost, again)
        for message in messages
        for lost, again in itertools.pairwise(message.bars)
        if not lost.succeeded or (again.redelivered and not lost.acknowledged)
    ]


def find_depth(messages: list[Message], knows_queue: bool) -> list[Step]:
    """Count at each moment what is ready in the queue and what the workers hold."""
    changes: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for message in messages:
        if message.entered is not None:
            changes[message.entered][0] += 1
            inside = True
        else:
            inside = False
        for bar in message.bars:
            if inside:
                changes[bar.received][0] -= 1
            changes[bar.received][1] += 1
            inside = bar.released is not None and bar.returned
            if bar.released is not None:
                changes[bar.released][1] -= 1
            if inside:
                changes[bar.released][0] += 1
    steps, ready, held = [], 0, 0
    for time, (more_ready, more_held) in sorted(changes.items()):
        ready, held = ready + more_ready, held + more_held
        steps.append(Step(time, ready if knows_queue else None, held))
    return steps
