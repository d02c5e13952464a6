"""The figures of a run, and how quick the same work could have been."""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """What is counted; seconds from the first message sent.

    tasks = worked + lost + failed + left.
    """

    tasks: int  # distinct messages
    worked: int  # of them done
    lost: int  # gone for good, as far as the journal tells
    returned: int  # deliveries that went back to the queue
    failed: int  # moved to QUEUE.failed, as their work failed again
    left: int  # none of these: waiting or in work when the journal ends
    redelivered: int  # deliveries
    duplicates: int  # done more often than once: the extra times
    finish: float | None  # the last was done
    workers: int
    timed: int  # tasks of which we know how long they take
    bound: float | None  # no sharing among the workers can be quicker
    first_come: float | None  # each to the first free worker, in the order of sending


def figure(messages: Sequence, workers: int) -> Figures:
    """Count the messages of a run on so many workers."""
    bars = [bar for message in messages for bar in message.bars]
    ends = [bar.end for bar in bars if bar.succeeded]
    worked = sum(message.done > 0 for message in messages)
    lost = sum(message.lost for message in messages)
    failed = sum(message.failed for message in messages)
    known = [length for length in map(work_of, in_order(messages)) if length is not None]
    return Figures(
        tasks=len(messages),
        worked=worked,
        lost=lost,
        returned=sum(bar.fate == "returned" for bar in bars),
        failed=failed,
        left=len(messages) - worked - lost - failed,
        redelivered=sum(bar.redelivered for bar in bars),
        duplicates=sum(max(0, message.done - 1) for message in messages),
        finish=max(ends) if ends else None,
        workers=workers,
        timed=len(known),
        bound=shortest(known, workers) if known and workers else None,
        first_come=first_come(known, workers) if known and workers else None,
    )


def in_order(messages: Sequence) -> list:
    """Return the messages in the order of sending, or of their first delivery."""

    def time(message) -> float:
        return message.bars[0].received if message.sent is None else message.sent

    return sorted(messages, key=time)


def work_of(message) -> float | None:
    """Return the seconds that a message takes: measured where it was done, else as announced."""
    worked_on = [bar for bar in message.bars if bar.begun is not None]
    measured = [bar.end - bar.begun for bar in worked_on if bar.succeeded]
    announced = [bar.seconds for bar in message.bars if bar.seconds is not None]
    return min(measured or announced, default=None)


def shortest(seconds: Sequence[float], workers: int) -> float:
    """Return a time below which no sharing of these tasks among the workers can come.

    The longest task takes its time; all together keep the workers busy; and of the k*m + 1 longest
    some worker of the m has k + 1, which are no less than the k + 1 shortest of them.
    """
    longest = sorted(seconds, reverse=True)
    sums = [0.0, *itertools.accumulate(longest)]
    crowded = (
        sums[k * workers + 1] - sums[k * workers - k]
        for k in range(1, (len(longest) - 1) // workers + 1)
    )
    return max(longest[0], sums[-1] / workers, *crowded, 0.0)


def first_come(seconds: Sequence[float], workers: int) -> float:
    """Return the finishing time when each task in turn goes to the first worker that is free."""
    free = [0.0] * workers
    for length in seconds:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def in_seconds(time: float) -> str:
    """Return a time as people read it."""
    if abs(time) >= 0.995 or time == 0:
        return f"{time:.1f} s"
    return f"{time:.2f} s" if abs(time) >= 0.0995 else f"{time:.2g} s"


def count(number: int, what: str) -> str:
    """Return "1 task" or "2 tasks"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def in_words(figures: Figures) -> list[str]:
    """Return what stands under a picture: the counts, the finishing time, and the bound."""
    f = figures
    counts = f"tasks {f.tasks}   worked {f.worked}   lost {f.lost}   returned {f.returned}"
    counts += f"   failed {f.failed}"
    counts += f"   left {f.left}" * bool(f.left)
    lines = [f"{counts}   redelivered {f.redelivered}   duplicates {f.duplicates}"]
    if f.finish is None:
        lines.append("finishing time: none, as nothing was done")
    elif f.worked < f.tasks:
        lines.append(f"finishing time {in_seconds(f.finish)} ({f.worked} of {f.tasks} tasks)")
    else:
        lines.append(f"finishing time {in_seconds(f.finish)}")
    lines.append(bound_in_words(f))
    return [line for line in lines if line]


def bound_in_words(f: Figures) -> str:
    """Return the sentence about the shortest possible finishing time."""
    if f.bound is None:
        return "how long the tasks take is not in this journal" if f.worked else ""
    if f.timed < f.tasks:
        tasks = f"the {f.timed} of {f.tasks} tasks whose length is known"
    else:
        tasks = f"these {f.tasks} tasks" if f.tasks > 1 else "this task"
    return (
        f"no way to share {tasks} among {count(f.workers, 'worker')} can be quicker than"
        f" {in_seconds(f.bound)}; each in turn to the first free worker would take"
        f" {in_seconds(f.first_come)}"
    )
