"""What became of workers and deliveries whose end nobody wrote down, as far as the others tell."""

import itertools
import math

from kit.timeline.journal import Bar, Process

OVERDUE = 2.0  # seconds by which work may be late before we believe that its worker is dead
NEVER = math.inf


def judge(workers: list[Process], deliveries: list[list[Bar]], last: float) -> None:
    """Find the killed workers, and the end of each bar; `deliveries` has a list for each message.

    `last` is when the journal ends. A worker without a `stopped` may simply go on working: it
    counts as killed only where something tells so.
    """
    open_bars: dict[int, list[Bar]] = {}
    for bars in deliveries:
        for bar, following in itertools.zip_longest(bars, bars[1:]):
            if bar.end is None or bar.outcome == "lost":
                open_bars.setdefault(id(bar.process), []).append(bar)
                if following and was_taken_away(bar, following):
                    kill(bar.process, following.received)
    for process in (process for process in workers if process.stopped is None):
        successors = [
            other.first
            for other in workers
            if other.worker == process.worker and other is not process
            if other.first >= process.last and other.first > process.first
        ]
        if successors:
            kill(process, min(successors))
        for bar in open_bars.get(id(process), ()):
            if bar.begun is not None and bar.end is None and bar.seconds is not None:
                due = bar.begun + bar.seconds
                if process.last <= due and last > due + bar.seconds / 5 + OVERDUE:
                    kill(process, due)
    silent = [p for p in workers if p.stopped is None and p.killed is None]
    if len(silent) == 1 < len(workers):  # all others have ended: the run is over
        for bar in open_bars.get(id(silent[0]), ()):
            if bar.begun is not None and bar.end is None:
                kill(silent[0], min(last, bar.begun + (bar.seconds or NEVER)))
    for bars in deliveries:
        done_before = False
        for bar, following in itertools.zip_longest(bars, bars[1:]):
            end_bar(bar, following.received if following else NEVER)
            release_bar(bar, following.received if following else NEVER)
            bar.again, done_before = done_before and bar.succeeded, done_before or bar.succeeded


def was_taken_away(bar: Bar, following: Bar) -> bool:
    """Tell whether another worker got a message because the process that had it is dead."""
    process, time = bar.process, following.received
    return (
        process.stopped is None
        and process.acknowledge is not False
        and following.process is not process
        and time >= process.last
        and time_of_gap(bar) == NEVER
    )


def kill(process: Process, by: float) -> None:
    """Note that a process was dead by then; the earliest counts."""
    by = max(by, process.last)
    process.killed = by if process.killed is None else min(by, process.killed)


def time_of_gap(bar: Bar) -> float:
    """Return when the connection that brought a delivery was lost."""
    return next((begin for begin, _ in bar.process.gaps if begin >= bar.received), NEVER)


def end_bar(bar: Bar, again: float) -> None:
    """Give a bar its end where none is written; `again` is when the message came to the next."""
    if bar.end is not None:
        if bar.begun is None and bar.outcome == "abandoned":  # it stopped with this one waiting
            bar.outcome = "returned" if bar.returned else "lost"
        return
    process = bar.process
    kept = again < NEVER if process.acknowledge is None else process.acknowledge
    over = NEVER if process.killed is None else process.killed
    over = over if process.stopped is None else process.stopped
    if bar.begun is None:
        end = min(over, again, time_of_gap(bar) if kept else NEVER)
        if end < NEVER:
            bar.end = max(end, bar.received)
            bar.outcome = "returned" if kept or again < NEVER else "lost"
    elif over < NEVER:
        bar.outcome = "abandoned" if process.killed is None else "cut"
        bar.returned = kept
        due = bar.begun + (NEVER if bar.seconds is None else bar.seconds)
        bar.end = max(bar.begun, min(over, again, due))


def release_bar(bar: Bar, again: float) -> None:
    """Find when the broker took a delivery off its worker, and whether it went back."""
    process, gap = bar.process, time_of_gap(bar)
    kept = again < NEVER if process.acknowledge is None else process.acknowledge
    if not kept:
        gap = NEVER
    released, back = bar.end, False
    if bar.outcome == "done":
        back = not bar.acknowledged
        released = min(gap, bar.end, again) if back else bar.end
    elif bar.outcome in ("requeued", "returned"):
        back = True
    elif bar.outcome == "abandoned":
        back = bar.returned or again < NEVER
        released = min(gap, bar.end)
    elif kept and bar.outcome != "rejected":  # lost, cut, working, waiting: held while it lives
        ends = [process.stopped, process.killed, gap, again]
        released, back = min(end for end in ends if end is not None), True
    bar.released = None if released in (None, NEVER) else max(bar.received, min(released, again))
    bar.kept, bar.returned = back, back and bar.released is not None
    bar.gone = again == NEVER and bar.fate == "lost"
