"""What the picture in a file and the one in the terminal have in common: spans, rows and words."""

import heapq
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from kit.timeline.figures import count, in_seconds
from kit.timeline.journal import Bar
from kit.timeline.lines import plain
from kit.timeline.run import Lane, Run, Step

MANY_LANES, MANY_BARS = 40, 2000  # more are drawn without texts
WORDS = {"abandoned": "abandoned", "cut": "killed", "working": "not finished"}  # else its fate
IN_VAIN = ("lost", "abandoned", "cut", "requeued", "rejected")  # outcomes
MISHAPS = 12  # told one by one


class Wait(NamedTuple):
    """A delivery that waits at its worker, in seconds, and in which row below the lane's bars."""

    bar: Bar
    begin: float
    end: float
    row: int


def is_crowded(runs: Sequence[Run]) -> bool:
    """Tell whether there is too much for texts."""
    lanes, bars = sum(len(run.lanes) for run in runs), sum(len(run.bars) for run in runs)
    return lanes > MANY_LANES or bars > MANY_BARS


def last_moment(runs: Sequence[Run]) -> float:
    """Return where the common axis may end, in seconds; never 0."""
    return max(0.001, *(run.end for run in runs))


def work_span(bar: Bar, now: float) -> tuple[float, float] | None:
    """Return from when to when a delivery was worked on; what has no end goes on until `now`."""
    if bar.begun is not None:
        return bar.begun, max(bar.begun, now if bar.end is None else bar.end)
    if not bar.succeeded:  # it never came to its turn
        return None
    return bar.end, bar.end  # consumer.py only takes it


def word_of(bar: Bar) -> str:
    """Return what stands at the end of a bar, "" if its work was done."""
    return WORDS.get(bar.outcome, "" if bar.succeeded else bar.fate)


def style_of(bar: Bar) -> str:
    """Return the name of the style in which the work on a delivery is drawn."""
    if bar.outcome in IN_VAIN:
        return "vain"
    return "again" if bar.again else bar.outcome


def find_waits(lane: Lane, now: float, least: float, most_rows: int) -> list[Wait]:
    """Return who waited at a worker for `least` seconds or more, in rows from 0 on.

    Those that would need a row too many share the last one.
    """
    busy: list[tuple[float, int]] = []  # until when, which row
    idle: list[int] = []
    waits, rows = [], 0
    for bar in lane.bars:
        until = bar.end if bar.begun is None else bar.begun
        begin, end = bar.received, now if until is None else until
        if end - begin < least:
            continue
        while busy and busy[0][0] <= begin:
            heapq.heappush(idle, heapq.heappop(busy)[1])
        if idle:
            row = heapq.heappop(idle)
        else:
            row, rows = rows, rows + 1
        heapq.heappush(busy, (end, row))
        waits.append(Wait(bar, begin, end, min(row, most_rows - 1)))
    return waits


def calm(depth: Sequence[Step], least: float) -> list[Step]:
    """Return the steps without those that are over too soon to be seen, in seconds."""
    steps: list[Step] = []
    begin = None  # of those left out since the last one
    for step, following in itertools.zip_longest(depth, depth[1:]):
        if following is not None and following.time - step.time < least:
            begin = step.time if begin is None else begin
            if step.time - begin < 3 * least:
                continue
        steps.append(step)
        begin = None
    return steps


def thin(depth: Sequence[Step], end: float, most: int) -> list[Step]:
    """Return no more than `most` steps: the highest of each piece of time."""
    if len(depth) <= most:
        return list(depth)
    peaks: dict[int, Step] = {}
    for step in depth:
        piece = min(most - 1, int(max(0.0, step.time) / end * most))
        known = peaks.get(piece)
        if not known:
            peaks[piece] = step._replace(time=piece * end / most)
        else:
            ready = None if step.ready is None else max(step.ready, known.ready)
            peaks[piece] = known._replace(ready=ready, held=max(step.held, known.held))
    steps = [peaks[piece] for piece in sorted(peaks)]
    return [*steps, depth[-1]]


def title(run: Run) -> str:
    """Return a run's headline."""
    lanes = count(len(run.lanes), "worker") if run.lanes else "no workers"
    return f"{run.name}: {lanes}" + (f", {run.settings}" if run.settings else "")


def shorten(text: str, width: int) -> str:
    """Return a harmless text of at most so many characters."""
    text = plain(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def tell(bar: Bar, worker: str) -> str:
    """Return all that a picture knows of one bar, in a line."""
    until = bar.end if bar.begun is None else bar.begun
    parts = [f"{shorten(bar.message, 60)!r} at {worker}, received at {in_seconds(bar.received)}"]
    if until is not None:
        parts.append(f"waited {in_seconds(until - bar.received)}")
    if bar.begun is not None and bar.end is not None:
        parts.append(f"worked {in_seconds(bar.end - bar.begun)}")
    parts += ["redelivered"] * bar.redelivered + ["done again"] * bar.again
    parts += ["never begun"] * (bar.outcome == "returned")
    parts += [word for word in (WORDS.get(bar.outcome), bar.fate) if word]
    return ", ".join(parts)


def tell_mishaps(run: Run) -> list[str]:
    """Return a line for each delivery that came to nothing: when, where, and what became of it."""
    names = {id(bar): lane.worker for lane in run.lanes for bar in lane.bars}
    following = {id(link.lost): link.again for link in run.links}
    in_vain = [
        bar for bar in run.bars if bar.outcome in IN_VAIN or bar.gone or id(bar) in following
    ]
    lines = []
    for bar in sorted(in_vain, key=lambda bar: bar.end or bar.received):
        word = "never begun" if bar.begun is None else word_of(bar)
        word = "done, but the broker did not know" if bar.succeeded else word
        again = following.get(id(bar))
        if again:
            then = f"handed out again to {shorten(names[id(again)], 30)}"
            then += f", done there at {in_seconds(again.end)}" if again.succeeded else ""
        elif bar.fate == "failed":
            word, then = "failed", f"moved to {shorten(f'{bar.process.queue}.failed', 30)!r}"
        elif bar.fate == "lost":
            then = "lost for good"
        else:
            then = "returned to the queue" if bar.returned else "not handed out again"
        what = then if then.startswith(word) else f"{word}; {then}"
        who = f"{shorten(names[id(bar)], 30)}: {what}"
        when = bar.received if bar.end is None else bar.end
        lines.append(f"{in_seconds(when)}, {shorten(bar.message, 30)!r} at {who}")
    if len(lines) > MISHAPS:
        lines[MISHAPS - 1 :] = [f"... and {len(lines) - MISHAPS + 1} more that came to nothing"]
    return lines


def compare(runs: Sequence[Run]) -> str:
    """Return which run finished first, and by how much."""
    finished = [run for run in runs if run.figures.finish is not None]
    if len(finished) < 2:
        return ""
    first, *others = sorted(finished, key=lambda run: run.figures.finish)
    behind = ", ".join(
        f"{in_seconds(run.figures.finish - first.figures.finish)} before {run.name}"
        f" ({in_seconds(run.figures.finish)})"
        for run in others
    )
    return f"{first.name} ({in_seconds(first.figures.finish)}) finished {behind}"
