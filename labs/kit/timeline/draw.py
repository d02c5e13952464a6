"""Draw runs with matplotlib, on one axis: lanes above, queue depth below, figures underneath.

All heights are inches. What a bar means is told by hatch, outline, marker and word: colour only
helps.
"""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from kit.timeline import scene as scene
from kit.timeline.figures import in_seconds, in_words
from kit.timeline.journal import Bar
from kit.timeline.run import Lane, Run
from kit.timeline.style import DARK, LEGEND, LETTER, LINE, RED, SMALL, STYLES, fitting, merged

WIDTH, RIGHT = 11.0, 0.3
WORD, BAR, ROW, PAD, ROWS = 0.17, 0.27, 0.065, 0.1, 6  # of a lane; at most so many waiting rows
HEAD, DEPTH, GAP, AXIS, LEGENDS = 0.75, 0.95, 0.14, 0.3, 1.0
ARC = 0.24  # how high a link within a lane rises
CROWDED_LANE, TALLEST = 0.16, 40.0


class Picture:
    """A figure of some runs; `told` has a line for each bar that can be pointed at, by its id."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.crowded = scene.is_crowded(runs)
        self.now = scene.last_moment(runs)
        self.until = self.now * 1.02
        names = [len(lane.worker) for run in runs for lane in run.lanes]
        self.left = 0.45 + LETTER * min(24, max([8, *names]))
        self.wide = WIDTH - self.left - RIGHT
        self.waits = {id(lane): self._waits(lane) for run in runs for lane in run.lanes}
        self.told: dict[str, str] = {}
        self.used: dict[str, object] = {}  # what the legend has to explain
        self.written: dict[float, float] = {}  # how far to the right there are words, by height
        self.texts = self._texts()
        heights = [sum(map(self.height_of, run.lanes)) or LINE for run in runs]
        self.scale = min(1.0, TALLEST / sum(heights))
        self.heights = [height * self.scale for height in heights]
        under = LEGENDS + LINE * (1 + len(self.texts))
        self.height = sum(self.heights) + len(runs) * (HEAD + GAP + DEPTH + AXIS) + under
        self.figure = Figure(figsize=(WIDTH, self.height), facecolor="white")
        self._draw()

    def height_of(self, lane: Lane) -> float:
        """Return how high a lane is."""
        if self.crowded:
            return CROWDED_LANE
        rows = 1 + max((wait.row for wait in self.waits[id(lane)]), default=-1)
        return WORD + BAR + ROW * rows + PAD

    def _waits(self, lane: Lane) -> list[scene.Wait]:
        least = self.until / 300  # less cannot be seen
        return [] if self.crowded else scene.find_waits(lane, self.now, least, ROWS)

    def _texts(self) -> list[tuple[str, bool]]:
        """Return the lines under the picture, and whether each is bold."""
        lines = [(scene.compare(self.runs), True)] if len(self.runs) > 1 else []
        for run in self.runs:
            lines += [(run.name, True)] if len(self.runs) > 1 else []
            for line in in_words(run.figures):
                lines += [(part, False) for part in textwrap.wrap(line, 155) if part]
        return [(line, bold) for line, bold in lines if line]

    def _draw(self) -> None:
        top = self.height
        for run, height in zip(self.runs, self.heights, strict=True):
            top -= HEAD
            lanes = self._axes(top, height)
            self._draw_head(lanes, run, height)
            self._draw_lanes(lanes, run, height)
            top -= height + GAP
            depth = self._axes(top, DEPTH)
            self._draw_depth(depth, run)
            for axes in (lanes, depth):
                self._draw_limits(axes, run)
            top -= DEPTH + AXIS
        since = "sent" if all(run.knows_queue for run in self.runs) else "received"
        depth.set_xlabel(f"seconds since the first message was {since}")
        top -= LINE
        self._draw_legend(top)
        top -= LEGENDS
        for number, (line, bold) in enumerate(self.texts):
            self.figure.text(
                0.3 / WIDTH, (top - LINE * number) / self.height, line,
                fontweight="bold" if bold else "normal", va="bottom",
            )  # fmt: skip

    def _axes(self, top: float, height: float) -> Axes:
        place = self.left / WIDTH, (top - height) / self.height
        axes = self.figure.add_axes((*place, self.wide / WIDTH, height / self.height))
        axes.set_xlim(-self.until * 0.008, self.until)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        return axes

    def inches(self, seconds: float) -> float:
        """Return how wide so many seconds are drawn."""
        return seconds / (self.until * 1.008) * self.wide

    def _draw_head(self, axes: Axes, run: Run, height: float) -> None:
        """Write the run's name, and what the two upright lines are, above them."""

        def above(x: float, inches: float, text: str, **more) -> None:
            axes.annotate(text, (x, 1), xycoords=("data", "axes fraction"),
                          xytext=(0, 72 * inches), textcoords="offset points", va="bottom",
                          annotation_clip=False, **more)  # fmt: skip

        place = 0.3 / WIDTH, axes.get_position().y1 + 0.44 / self.height
        self.figure.text(*place, scene.shorten(scene.title(run), 100), fontweight="bold", size=11)
        finish, bound = run.figures.finish, run.figures.bound
        if finish is not None:
            side = "right" if self.inches(finish) > 1.5 else "left"
            every = run.figures.worked == run.figures.tasks
            what = "all done" if every else "last done"
            above(finish, 0.03, f"{what} {in_seconds(finish)}", ha=side, fontweight="bold")
        if bound is not None and bound < self.until:
            side = "right" if self.inches(bound) > 2.2 else "left"
            near = finish is not None and abs(self.inches(finish - bound)) < 1.5
            above(bound, 0.2 if near else 0.03, f"shortest possible {in_seconds(bound)}", ha=side)

    def _draw_limits(self, axes: Axes, run: Run) -> None:
        if run.figures.finish is not None:
            line = {"color": DARK, "linewidth": 1.3}
            axes.axvline(run.figures.finish, gid="finish", **line)
            self.used["finish"] = Line2D([], [], label="finishing time", **line)
        if run.figures.bound is not None and run.figures.bound < self.until:
            line = {"color": DARK, "linewidth": 1, "linestyle": ":"}
            axes.axvline(run.figures.bound, gid="bound", zorder=3.5, **line)
            self.used["bound"] = Line2D([], [], label="shortest possible time", **line)

    def _draw_lanes(self, axes: Axes, run: Run, height: float) -> None:
        axes.set_ylim(height / self.scale, 0)
        axes.tick_params(labelbottom=False, left=False, bottom=False)
        ticks, top, middle = [], 0.0, {}
        for lane in run.lanes:
            centre = top + (CROWDED_LANE / 2 if self.crowded else WORD + BAR / 2)
            ticks.append(centre)
            self._draw_life(axes, lane, centre)
            if self.crowded:
                self._draw_crowded(axes, lane, centre)
            else:
                self._draw_waits(axes, lane, centre + BAR / 2 + 0.02, middle)
                for bar in lane.bars:
                    self._draw_bar(axes, lane, bar, centre)
                    middle.setdefault(id(bar), centre)
            top += self.height_of(lane)
            self.written.clear()
        if not run.lanes:
            axes.text(0.01, 0.5, "no worker's journal here", transform=axes.transAxes, va="center")
        step = max(1, round(0.13 / (CROWDED_LANE * self.scale))) if self.crowded else 1
        labels = [scene.shorten(lane.worker, 24) for lane in run.lanes]
        axes.set_yticks(ticks[::step], labels[::step], size=7 if self.crowded else 9)
        if not self.crowded:
            self._draw_links(axes, run, middle)

    def _draw_life(self, axes: Axes, lane: Lane, y: float) -> None:
        """Draw when a worker was there: a line, with a piece left out without a connection."""
        for life in lane.lives:
            end = self.until if life.ended is None else life.ended
            axes.plot([life.started, end], [y, y], color="#8a8a8a", linewidth=0.9, zorder=1)
            if life.killed and life.ended <= self.until:
                axes.plot([end], [y], "x", color=RED, markersize=9, mew=2.4, zorder=6, gid="killed")
                self.used["killed"] = Line2D([], [], color=RED, marker="x", mew=2, linestyle="",
                                             label="the worker was killed by then")  # fmt: skip
        for begin, end in lane.gaps:
            piece = [begin, self.until if end is None else end]
            axes.plot(piece, [y, y], color="white", linewidth=2.5, zorder=1.1)
            axes.plot(piece, [y, y], color=RED, linewidth=1.4, linestyle=":", zorder=1.2, gid="gap")
            self.used["gap"] = Line2D([], [], color=RED, linestyle=":", label="no connection")

    def _draw_waits(self, axes: Axes, lane: Lane, top: float, middle: dict[int, float]) -> None:
        for wait in self.waits[id(lane)]:
            y = top + ROW * wait.row
            name = "returned" if wait.bar.outcome in ("returned", "lost") else "waiting"
            name = name if wait.bar.begun is None else "waiting"
            width = wait.end - wait.begin
            self._box(axes, wait.bar, lane, name, (wait.begin, y), width, ROW * 0.75)
            if wait.bar.begun is None:
                middle[id(wait.bar)] = y + ROW * 0.4
        lost = [w for w in self.waits[id(lane)] if w.bar.begun is None and w.bar.outcome == "lost"]
        lost.sort(key=lambda wait: wait.end)
        while lost:  # each has its own moment, if only by microseconds: one word for all
            near = [wait for wait in lost if self.inches(wait.end - lost[0].end) < 0.1]
            lost = [wait for wait in lost if wait not in near]
            rows, end = [wait.row for wait in near], max(wait.end for wait in near)
            y = top + ROW * (sum(rows) / len(rows) + 0.4)
            self._write_end(axes, end, y, f"{len(rows)} lost, never begun", behind=True)

    def _box(self, axes: Axes, bar: Bar, lane: Lane, name: str, corner, width, height) -> None:
        box = Rectangle(corner, width, height, gid=f"bar-{len(self.told)}", zorder=3, label=name,
                        **STYLES[name])  # fmt: skip
        self.told[box.get_gid()] = scene.tell(bar, lane.worker)
        self.used[name] = Patch(label=LEGEND[name], **STYLES[name])
        axes.add_patch(box)

    def _draw_bar(self, axes: Axes, lane: Lane, bar: Bar, y: float) -> None:
        span = scene.work_span(bar, self.now)
        if not span:
            return
        name, (begin, end) = scene.style_of(bar), span
        self._box(axes, bar, lane, name, (begin, y - BAR / 2), end - begin, BAR)
        room = self.inches(end - begin) - 0.06
        if bar.redelivered:
            axes.plot([begin], [y], ">", color=DARK, markersize=7, mec="white", mew=0.8, zorder=6,
                      gid="redelivered")  # fmt: skip
            self.used["redelivered"] = Line2D([], [], color=DARK, marker=">", linestyle="",
                                              label="redelivered: handed out again")  # fmt: skip
            room -= 0.14
        text = fitting(bar.message, room)
        if text:
            on = {"facecolor": "white", "edgecolor": "none", "pad": 1.2} if name != "done" else None
            shift = 0.07 * self.until / self.wide * bar.redelivered
            axes.text((begin + end) / 2 + shift, y, text, ha="center", va="center", bbox=on,
                      zorder=5, clip_on=True, gid="message")  # fmt: skip
        word = "again" if bar.again else scene.word_of(bar)
        if bar.outcome in scene.IN_VAIN and bar.outcome != "cut":
            axes.plot([end], [y], "x", color=RED, markersize=7, mew=1.8, zorder=6, gid="vain")
        if word:
            self._write_end(axes, end, y - BAR / 2 - 0.03, word)

    def _write_end(self, axes: Axes, x: float, y: float, word: str, behind: bool = False) -> None:
        """Write a word at the end of a bar, above it or (of a waiting one) behind it."""
        width = SMALL * len(word) / self.inches(1)
        wanted = x + 0.05 / self.inches(1) if behind else max(0.0, x - width)
        left = max(wanted, self.written.get(y, 0.0))
        if left - wanted > 0.6 / self.inches(1):
            return  # its marker has to do
        self.written[y] = left + width + 0.06 / self.inches(1)
        va = "center" if behind else "bottom"
        axes.text(left, y, word, size=8, color=RED, zorder=7, gid="word", va=va, ha="left",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4})  # fmt: skip

    def _draw_links(self, axes: Axes, run: Run, middle: dict[int, float]) -> None:
        for lost, again in run.links:
            begin = lost.released if lost.end is None else lost.end
            end = again.received if again.begun is None else again.begun
            points = (begin, middle[id(lost)]), (end, middle[id(again)])
            bend = "arc3,rad=0"
            if points[0][1] == points[1][1]:  # in one lane: over the bars, not through them
                bend = f"arc3,rad={-min(0.6, 2 * ARC / max(0.1, self.inches(end - begin))):.3f}"
            halo = FancyArrowPatch(*points, arrowstyle="-", connectionstyle=bend, linewidth=3.2,
                                   color="white", zorder=4, shrinkA=0, shrinkB=0)  # fmt: skip
            line = FancyArrowPatch(*points, arrowstyle="-|>", connectionstyle=bend, linewidth=1.3,
                                   color=DARK, mutation_scale=10, zorder=5.5, gid="link",
                                   shrinkA=2, shrinkB=5)  # fmt: skip
            axes.add_patch(halo)
            axes.add_patch(line)
            self.used["link"] = Line2D([], [], color=DARK, linewidth=1.3,
                                       label="from loss to who got it next")  # fmt: skip

    def _draw_crowded(self, axes: Axes, lane: Lane, y: float) -> None:
        """Draw a lane of very many bars, those that touch as one."""
        least = self.until / min(1500, max(100, 60_000 // sum(len(run.lanes) for run in self.runs)))
        height = CROWDED_LANE * 0.75
        for name, pieces in merged(lane, self.now, least).items():
            style = {**STYLES[name], "linewidth": 0.3}
            axes.broken_barh(pieces, (y - height / 2, height), label=name, zorder=3, **style)
            label = f"{LEGEND[name]} (what touches is drawn as one)"
            self.used[name] = Patch(label=label, **STYLES[name])

    def _draw_depth(self, axes: Axes, run: Run) -> None:
        if len(run.depth) > 1500:
            steps = scene.thin(run.depth, self.until, 700)
        else:
            steps = scene.calm(run.depth, self.until / 700)
        times = [0.0, *(step.time for step in steps), self.until]
        held = [0, *(step.held for step in steps), steps[-1].held if steps else 0]
        most = max(held)
        if run.knows_queue:
            ready = [0, *(step.ready for step in steps), steps[-1].ready if steps else 0]
            most = max(most, *ready)
            axes.fill_between(times, ready, step="post", facecolor="#ececec", edgecolor="#909090",
                              hatch="\\\\\\", linewidth=0, gid="ready-area")  # fmt: skip
            axes.step(times, ready, where="post", color=DARK, linewidth=1.4, gid="ready")
            self.used["ready"] = Patch(facecolor="#ececec", edgecolor=DARK, hatch="\\\\\\",
                                       label="ready in the queue")  # fmt: skip
        else:
            axes.text(0.995, 0.93, "without a producer's journal: what is ready is unknown",
                      transform=axes.transAxes, ha="right", va="top", size=8)  # fmt: skip
        axes.step(times, held, where="post", color="#0059a8", linewidth=1.5, linestyle=(0, (4, 2)),
                  gid="held")  # fmt: skip
        self.used["held"] = Line2D([], [], color="#0059a8", linestyle=(0, (4, 2)), linewidth=1.5,
                                   label="held by workers")  # fmt: skip
        axes.set_ylim(0, max(1, most) * 1.12)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylabel("messages")

    def _draw_legend(self, top: float) -> None:
        order = [
            *LEGEND,
            "redelivered",
            "killed",
            "link",
            "gap",
            "ready",
            "held",
            "finish",
            "bound",
        ]
        handles = [self.used[name] for name in order if name in self.used]
        place = 0.22 / WIDTH, top / self.height
        self.figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=4,
                           frameon=False, fontsize=8.5, handlelength=2.6, handleheight=1.1,
                           columnspacing=1.4)  # fmt: skip
