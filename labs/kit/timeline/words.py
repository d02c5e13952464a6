"""Write the text of a picture: headline, figures, and a line for each delivery that failed."""

import re
from collections.abc import Sequence

from rich.cells import cell_len

from kit.cli import clean
from kit.timeline.replay import NEVER, Delivery
from kit.timeline.run import Lane, Run

IN_VAIN = ("lost", "abandoned", "killed", "returned", "failed")  # outcomes
MOST_MISHAPS = 12  # lines for each run


def in_seconds(time: float) -> str:
    """Format a time; a short one gets two significant digits."""
    return f"{time:.1f} s" if abs(time) >= 0.95 else f"{time:.2g} s"


def headline(run: Run) -> str:
    """Return the heading of a run."""
    options = {process.options for lane in run.lanes for process in lane.processes}
    workers = f"{len(run.lanes)} worker{'s' * (len(run.lanes) != 1)}"
    return ", ".join([f"{run.name}: {workers}", *sorted(options)])


def notes(lane: Lane, end: float) -> list[str]:
    """Return the share of its time that a worker was busy, and its options."""
    works = [one for one in lane.deliveries if one.begun < NEVER]
    present = sum(max(0.0, min(one.over, end) - max(one.first, 0.0)) for one in lane.processes)
    worked = sum(min(one.ended, end) - one.begun for one in works)
    return [f"{100 * worked / max(present, worked, 0.001):.0f}% busy", lane.processes[-1].options]


def describe(delivery: Delivery, worker: str) -> str:
    """Return one line with everything known about a delivery."""
    times = {name: getattr(delivery, name) for name in ("received", "begun", "ended")}
    parts = [f"{name} at {in_seconds(time)}" for name, time in times.items() if time < NEVER]
    parts += ["redelivered"] * delivery.redelivered + ["done again"] * delivery.again
    return f"{delivery.message.text!r} at {worker}: {', '.join([*parts, delivery.outcome])}"


def lines_below(runs: Sequence[Run]) -> list[str]:
    """Return the lines below a picture: the figures of each run, and its failed deliveries."""
    lines = []
    for run in runs:
        lines += [run.name] if len(runs) > 1 else []
        counts = [f"{name} {n}" for name, n in run.counts.items() if n or name != "left"]
        lines += ["   ".join(counts), *times_in_words(run), *mishaps(run), ""]
    return lines + compare(runs)


def times_in_words(run: Run) -> list[str]:
    """Return the sentences about the finishing time and the shortest possible one."""
    tasks, worked, lines = run.counts["tasks"], run.counts["worked"], []
    if run.finish is not None:
        some = f" ({worked} of {tasks} tasks)" if worked < tasks else ""
        lines.append(f"finishing time {in_seconds(run.finish)}{some}")
    if run.tasks:
        count, workers = len(run.tasks), len(run.lanes)
        share = f"{count} task{'s' * (count != 1)} among {workers} worker{'s' * (workers != 1)}"
        lines.append(f"no way to share {share} can be quicker than {in_seconds(run.shortest)}")
    if run.tasks and run.knows_queue:  # else we do not know when they were sent
        lines[-1] += f"; each in turn to the first free worker would take {in_seconds(run.in_turn)}"
    return lines


def mishaps(run: Run) -> list[str]:
    """Return a line for each failed delivery: its time, its worker and the consequence."""
    worker_of = {one: fitting(lane.worker, 30) for lane in run.lanes for one in lane.deliveries}
    lines = []
    for one in sorted(worker_of, key=lambda one: one.ended):
        after, end = one.after, one.outcome
        if end not in IN_VAIN and not one.is_repeated:
            continue
        if end == "done":
            end = "done, but the broker did not know"
        elif one.begun == NEVER and end != "failed":
            end = "never begun"
        then = {"lost": "lost for good", "returned": "returned to the queue"}.get(one.fate)
        if after:
            then = f"handed out again to {worker_of[after]}"
            then += f", done there at {in_seconds(after.ended)}" * (after.outcome == "done")
        elif end == "failed":
            then = f"moved to '{fitting(clean(one.process.queue), 30)}.failed'"
        when, message = in_seconds(min(one.ended, run.end)), fitting(one.message.text, 30)
        what = then if then.startswith(end) else f"{end}; {then}"
        lines.append(f"  {when}, {message!r} at {worker_of[one]}: {what}")
    if len(lines) > MOST_MISHAPS:
        lines[MOST_MISHAPS - 1 :] = [f"  ... and {len(lines) - MOST_MISHAPS + 1} more"]
    return lines


def compare(runs: Sequence[Run]) -> list[str]:
    """Return a line on which run finished first and by how much, if at least two finished."""
    finished = sorted((run.finish, run.name) for run in runs if run.finish is not None)
    if len(finished) < 2:
        return []
    (best, name), *rest = finished
    behind = [f"{in_seconds(time - best)} before {one} ({in_seconds(time)})" for time, one in rest]
    return [f"{name} ({in_seconds(best)}) finished {', '.join(behind)}"]


def wrap(text: str, width: int) -> list[str]:
    """Wrap a text to `width` columns; if it has triple spaces, break it only there."""
    indent = text[: len(text) - len(text.lstrip())]
    gap = "   " if "   " in text and not indent else " "
    # Keep a figure and its unit on one line.
    pieces = text.split(gap) if gap != " " else re.split(r"(?<!\d) | (?![a-z])", text.lstrip())
    first, *others = [fitting(piece, width - 4) for piece in pieces]
    lines = [indent + first]
    for piece in others:
        if cell_len(lines[-1] + gap + piece) > width:
            lines.append(indent * 2 + piece)
        else:
            lines[-1] += gap + piece
    return lines


def fitting(text: str, columns: float) -> str:
    """Cut a text with an ellipsis to fit `columns`; return "" if fewer than two letters fit."""
    if cell_len(text) <= columns:
        return text
    while text and cell_len(text) >= columns:
        text = text[:-1]
    return f"{text}…" if len(text) > 1 else ""
