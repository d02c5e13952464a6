"""Lay out runs on a common scale, for the terminal and for files.

A lane has a row for the work, a few for tasks that wait at the worker, and a last one for arrows.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from kit.cli import clean
from kit.timeline.replay import NEVER, Delivery, Process
from kit.timeline.run import Lane, Run
from kit.timeline.words import IN_VAIN, describe, in_seconds

LEGEND = {  # the kinds of shapes: boxes, marks, lines
    "done": "working, done",
    "again": "done once more",
    "vain": "worked on in vain",
    "working": "not finished",
    "waiting": "waiting at the worker",
    "cross": "lost, returned, failed or killed",
    "redelivered": "redelivered",
    "arrow": "to the next delivery",
    "idle": "nothing to do",
    "gap": "no connection",
    "ready": "ready in the queue",
    "held": "held by workers",
}
WORDS = {"done": "", "again": "again", "working": "not finished"}
WAITING_ROWS = 3  # for waiting tasks drawn one by one; the others share one more row
SHORTEST_DRAWN = 1 / 200  # of the axis; anything shorter cannot be seen
TRACKS = (0.3, 0.5, 0.7)  # fractions of a row's height, so that arrows run side by side


class Shape(NamedTuple):
    """A box, a mark or a line in one row; a mark has no length."""

    kind: str
    begin: float
    end: float
    row: int
    text: str = ""
    word: str = ""  # outcome label
    tooltip: str = ""


class Panel:
    """A run on an axis from 0 to `end`."""

    def __init__(self, run: Run, end: float) -> None:
        self.run, self.end = run, end
        self.strips: list[tuple[Lane, int, int]] = []  # lane, first row, last row
        self.shapes: list[Shape] = []
        self.rows: list[str] = []  # the kind of each row: work, wait or arrows
        self._places: dict[Delivery, tuple[int, int]] = {}  # strip and row
        for lane in run.lanes:
            self._add_lane(lane)
        self.arrows = self._find_arrows()
        processes = [process for lane in run.lanes for process in lane.processes]
        self.outages = find_outages(processes, end)
        done = "all done" if run.counts["worked"] == run.counts["tasks"] else "last done"
        self.limits = []  # vertical lines: time and label
        for time, what in ((run.shortest, "shortest possible"), (run.finish, done)):
            if time and time <= end:
                self.limits.append((time, f"{what} {in_seconds(time)}"))

    def depth(self, columns: int) -> list[tuple[int, int]]:
        """Return the most ready and the most held messages in each column of the axis."""
        depth, steps, ready, held = [], self.run.depth[::-1], 0, 0
        for column in range(1, columns + 1):
            most_ready, most_held = ready, held
            while steps and steps[-1][0] < self.end * column / columns:
                _, ready, held = steps.pop()
                most_ready, most_held = max(ready, most_ready), max(held, most_held)
            depth.append((most_ready, most_held))
        return depth

    def _add_lane(self, lane: Lane) -> None:
        top = len(self.rows)
        for process in lane.processes:
            self._add_line("idle", process.first, process.over, top)
            for lost, back in process.gaps:
                self._add_line("gap", lost, back, top)
            if process.killed <= self.end:
                self.shapes.append(Shape("cross", process.killed, process.killed, top))
        rows = self._add_waiting(lane, top)
        for delivery in lane.deliveries:
            if delivery.begun == NEVER and delivery.outcome != "done":
                continue
            begin, end = min(delivery.begun, delivery.ended), min(delivery.ended, self.end)
            kind = "again" if delivery.again else delivery.outcome
            kind, word = ("vain", kind) if kind in IN_VAIN else (kind, WORDS[kind])
            self._add_box(delivery, lane, Shape(kind, begin, end, top, word=word))
        self.strips.append((lane, top, top + rows + 1))
        self.rows += ["work", *["wait"] * rows, "arrows"]

    def _add_line(self, kind: str, begin: float, end: float, row: int) -> None:
        if max(0.0, begin) < min(end, self.end):
            self.shapes.append(Shape(kind, max(0.0, begin), min(end, self.end), row))

    def _add_waiting(self, lane: Lane, top: int) -> int:
        """Add the tasks that wait at a worker; return the number of rows that they need."""
        free_at = [0.0] * WAITING_ROWS
        crowd = []  # begin and end of the tasks for which no row is free
        for delivery in lane.deliveries:
            begin, end = delivery.received, min(delivery.begun, delivery.ended, self.end)
            if end - begin < SHORTEST_DRAWN * self.end:
                continue
            row = next((row for row in range(WAITING_ROWS) if free_at[row] <= begin), None)
            if row is None:
                crowd += [begin, end]
                continue
            free_at[row] = end
            word = "" if delivery.begun < NEVER or delivery.outcome == "done" else delivery.fate
            self._add_box(delivery, lane, Shape("waiting", begin, end, top + 1 + row, word=word))
        rows = sum(time > 0 for time in free_at)
        if crowd:
            rows, text = rows + 1, f"{len(crowd) // 2} more"
            self.shapes.append(Shape("waiting", min(crowd), max(crowd), top + rows, text))
        return rows

    def _add_box(self, delivery: Delivery, lane: Lane, box: Shape) -> None:
        text, tooltip = delivery.message.text, describe(delivery, lane.worker)
        self.shapes.append(box._replace(text=text, tooltip=tooltip))
        self._places[delivery] = len(self.strips), box.row
        if delivery.redelivered and box.kind != "waiting":
            self.shapes.append(Shape("redelivered", box.begin, box.begin, box.row))
        if box.word in IN_VAIN:
            self.shapes.append(Shape("cross", box.end, box.end, box.row))

    def _find_arrows(self) -> list[list[tuple[float, float]]]:
        """For each failed delivery, return the path to the next delivery of the same message."""
        arrows = []
        drawn = self._places  # those long enough to have a box
        pairs = [(one, one.after) for one in drawn if one.is_repeated and one.after in drawn]
        for before, after in pairs:
            (one, origin), (other, target) = self._places[before], self._places[after]
            begin = min(before.ended, before.released)
            end = after.received if after.begun == NEVER else after.begun
            if origin == target and end - begin < SHORTEST_DRAWN * self.end:
                continue  # the redelivery mark is enough
            via = self.strips[min(one, other)][2] + TRACKS[len(arrows) % len(TRACKS)]
            arrows.append([(begin, origin), (begin, via), (end, via), (end, target)])
        return arrows


class Scene:
    """Some runs, one above the other, on the same scales."""

    def __init__(self, runs: Sequence[Run], title: str = "") -> None:
        self.runs, self.title = runs, clean(title)
        self.end = max(0.001, *(run.end for run in runs))
        self.most_messages = max([1, *(max(step[1:]) for run in runs for step in run.depth)])
        self.panels = [Panel(run, self.end) for run in runs]
        used = {shape.kind for panel in self.panels for shape in panel.shapes}
        used |= {"arrow"} if any(panel.arrows for panel in self.panels) else set()
        self.kinds = [kind for kind in LEGEND if kind in used | {"ready", "held"}]


def find_outages(processes: list[Process], end: float) -> list[tuple[float, float]]:
    """Return the periods in which no running worker had a connection."""
    moments = sorted({min(time, end) for one in processes for gap in one.gaps for time in gap})
    outages = []
    for lost, back in itertools.pairwise(moments):
        running = [one for one in processes if one.first <= lost < one.over]
        if running and all(any(gap[0] <= lost < gap[1] for gap in one.gaps) for one in running):
            outages.append((lost, back))
    return outages
