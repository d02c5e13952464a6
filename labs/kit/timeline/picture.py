"""Draw a scene with matplotlib into a file: SVG, PNG or HTML.

Lengths are in inches. Hatching, outlines, marks and words carry the meaning; colour only helps.
"""

import html
import io
import re
import warnings
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from kit.cli import Trouble, clean
from kit.timeline.scene import LEGEND, Panel, Scene, Shape
from kit.timeline.words import fitting, headline, lines_below, notes, wrap

WIDTH, LEFT, RIGHT = 11.0, 1.8, 0.3
HEAD, DEPTH, GAP, AXIS, LINE = 0.75, 0.95, 0.14, 0.35, 0.18
ROWS = {"work": 0.45, "wait": 0.14, "arrows": 0.2}
BOX = {"work": 0.27, "wait": 0.12}  # heights of boxes, which sit at the bottom of their rows
LETTER, SMALL = 0.078, 0.061  # width of a letter at 9 and at 7 points
LEGEND_COLUMNS = 4
STEPS = 600  # samples of the queue's depth along the axis
RED, DARK = "#a63c00", "#222222"
DONE = {"facecolor": "#9fd0f0", "edgecolor": DARK, "linewidth": 0.8}
STYLES = {
    "done": DONE,
    "again": {**DONE, "hatch": "|||", "linewidth": 1.0},
    "vain": {"facecolor": "white", "edgecolor": RED, "hatch": "/////", "linewidth": 1.0},
    "working": {"facecolor": "white", "edgecolor": DARK, "linestyle": "--", "linewidth": 1.0},
    "waiting": {"facecolor": "#d5d5d5", "edgecolor": "#707070", "linewidth": 0.5},
    "cross": {"color": RED, "marker": "x", "markersize": 8, "mew": 2, "linestyle": ""},
    "redelivered": {"color": DARK, "marker": ">", "markersize": 7, "mec": "white", "linestyle": ""},
    "idle": {"color": "#8a8a8a", "linewidth": 0.9, "zorder": 0.7},  # matplotlib draws boxes at 1
    "gap": {"color": RED, "linewidth": 1.4, "linestyle": ":", "zorder": 0.8},
    "arrow": {"color": DARK, "linewidth": 1.3, "zorder": 0.9},
    "ready": {"facecolor": "#ececec", "edgecolor": DARK, "hatch": "\\\\\\", "linewidth": 0},
    "held": {"color": "#0059a8", "linewidth": 1.5, "linestyle": (0, (4, 2))},
}
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # the background of a text
SETTINGS = {
    "svg.fonttype": "none",  # keep texts as text, so that they can be searched and copied
    "svg.hashsalt": "timeline",  # the same journal gives the same file
    "text.parse_math": False,  # a message may contain dollar signs
    "font.size": 9,
    "hatch.linewidth": 0.6,
}


class Picture:
    """A figure of a scene; `tooltips` has the tooltip of each box, by the id of the box."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.end = scene.end * 1.02
        self.inch = self.end * 1.008 / (WIDTH - LEFT - RIGHT)  # in seconds
        self.tooltips: dict[str, str] = {}
        text = [line for text in lines_below(scene.runs) for line in wrap(text, 150)]
        lanes = [sum(ROWS[row] for row in panel.rows) or LINE for panel in scene.panels]
        legend = LINE * (2 + (len(scene.kinds) + 3) // LEGEND_COLUMNS)
        title = LINE * 2 * bool(scene.title)
        self.height = title + sum(lanes) + len(lanes) * (HEAD + GAP + DEPTH + AXIS)
        self.height += LINE * (2 + len(text)) + legend
        self.figure = Figure(figsize=(WIDTH, self.height), facecolor="white")
        top = self.height - title
        self._write(top - 0.05, scene.title, size=13, weight="bold")
        for panel, height in zip(scene.panels, lanes, strict=True):
            self._write(top - 0.32, headline(panel.run), size=11, weight="bold")
            top -= HEAD
            axes = self._axes(top, height)
            axes.set_ylim(height, 0)
            self._draw_lanes(axes, panel)
            top -= height + GAP
            below = self._axes(top, DEPTH)
            self._draw_depth(below, panel)
            self._draw_times(axes, below, panel)
            top -= DEPTH + AXIS
        first = "sent" if all(run.knows_queue for run in scene.runs) else "received"
        below.set_xlabel(f"seconds since the first message was {first}")
        self._draw_legend(top - LINE)
        self._write(top - LINE - legend, "\n".join(text), va="top", linespacing=1.45)

    def with_title(self, group: re.Match) -> str:
        return f"{group[0]}<title>{html.escape(self.tooltips[group[1]])}</title>"

    def _write(self, bottom: float, text: str, **style) -> None:
        self.figure.text(0.3 / WIDTH, bottom / self.height, text, **style)

    def _axes(self, top: float, height: float) -> Axes:
        wide = (WIDTH - LEFT - RIGHT) / WIDTH
        place = LEFT / WIDTH, (top - height) / self.height, wide, height / self.height
        axes = self.figure.add_axes(place)
        axes.set_xlim(-self.end * 0.008, self.end)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        return axes

    def _draw_lanes(self, axes: Axes, panel: Panel) -> None:
        axes.tick_params(labelbottom=False, bottom=False, labelleft=False, left=False)
        for lane, first, _ in panel.strips:
            label = [fitting(lane.worker, 20), *notes(lane, panel.run.end)]
            axes.text(-self.end * 0.015, middle(panel, first), "\n".join(label), size=7.5,
                      ha="right", va="center", gid="label")  # fmt: skip
        written_until: dict[int, float] = {}  # by row
        for shape in panel.shapes:
            y = middle(panel, shape.row)
            if "facecolor" in STYLES[shape.kind]:
                self._draw_box(axes, shape, y, BOX[panel.rows[shape.row]])
                self._write_word(axes, shape, y, written_until)
            else:
                axes.plot([shape.begin, shape.end], [y, y], gid=shape.kind, **STYLES[shape.kind])
        for places in panel.arrows:
            self._draw_arrow(axes, panel, places)

    def _draw_box(self, axes: Axes, box: Shape, y: float, height: float) -> None:
        identifier, length = f"bar-{len(self.tooltips)}", box.end - box.begin
        self.tooltips[identifier] = box.tooltip
        corner = box.begin, y - height / 2
        axes.add_patch(Rectangle(corner, length, height, gid=identifier, **STYLES[box.kind]))
        letter, size, margin = (LETTER, 9, 0.2) if height > BOX["wait"] else (SMALL, 7, 0.06)
        text = fitting(box.text, (length / self.inch - margin) / letter)
        paper = PAPER if text and "hatch" in STYLES[box.kind] else None
        axes.text(box.begin + length / 2, y, text, size=size, ha="center", va="center_baseline",
                  gid="message", bbox=paper)  # fmt: skip

    def _write_word(self, axes: Axes, box: Shape, y: float, written_until: dict) -> None:
        """Write the outcome of a task: above the end of its box, or behind a waiting box."""
        wide = SMALL * 1.1 * len(box.word) * self.inch
        left, up, va = max(0.0, box.end - wide), BOX["work"] / 2 + 0.03, "bottom"
        if box.kind == "waiting":
            left, up, va = box.end + 0.08 * self.inch, 0, "center_baseline"
        if box.word and left >= written_until.get(box.row, 0.0):  # else only its cross is drawn
            written_until[box.row] = left + wide
            axes.text(left, y - up, box.word, size=8, color=RED, va=va, gid="word", bbox=PAPER)

    def _draw_arrow(self, axes: Axes, panel: Panel, places: list[tuple[float, float]]) -> None:
        """Draw an arrow from row to row, whose head touches the box that it points to."""
        times, rows = zip(*places, strict=True)
        heights = [middle(panel, row) for row in rows]
        is_down = heights[-1] > heights[-2]
        half = BOX[panel.rows[rows[-1]]] / 2 + 0.045
        heights[-1] += -half if is_down else half
        axes.plot(times, heights, marker="v" if is_down else "^", markevery=[-1], markersize=5,
                  gid="arrow", **STYLES["arrow"])  # fmt: skip

    def _draw_times(self, lanes: Axes, below: Axes, panel: Panel) -> None:
        """Draw outages as bands, and limits as vertical lines with labels above the lanes."""
        for axes in (lanes, below):
            for begin, end in panel.outages:
                axes.axvspan(begin, end, gid="outage", color="#f6ddd0", zorder=0.5)
            for time, text in panel.limits:
                style = "-" if "done" in text else ":"
                axes.axvline(time, color=DARK, zorder=0.6, linewidth=1.2, linestyle=style)
        for number, (time, text) in enumerate(reversed(panel.limits)):
            lanes.annotate(text, (time, 1), xycoords=("data", "axes fraction"),
                           xytext=(0, 2 + 13 * number), textcoords="offset points",
                           ha="right" if time / self.inch > 2.2 else "left",
                           weight="bold" if "done" in text else "normal")  # fmt: skip

    def _draw_depth(self, axes: Axes, panel: Panel) -> None:
        depth = panel.depth(STEPS)
        changes = [step for step in range(1, STEPS) if depth[step] != depth[step - 1]]
        times = [self.scene.end * step / STEPS for step in [0, *changes, STEPS]]
        ready, held = zip(*(depth[step] for step in [0, *changes, STEPS - 1]), strict=True)
        if panel.run.knows_queue:
            axes.fill_between(times, ready, step="post", gid="ready", **STYLES["ready"])
            axes.step(times, ready, where="post", color=DARK, linewidth=1.4)
        axes.step(times, held, where="post", gid="held", **STYLES["held"])
        axes.set_ylim(0, self.scene.most_messages * 1.12)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylabel("messages")

    def _draw_legend(self, top: float) -> None:
        handles = []
        for kind in self.scene.kinds:
            is_patch = "facecolor" in STYLES[kind]
            handles.append(Patch(**STYLES[kind]) if is_patch else Line2D([], [], **STYLES[kind]))
            handles[-1].set_label(LEGEND[kind])
        self.figure.legend(handles=handles, loc="upper left", ncols=LEGEND_COLUMNS, frameon=False,
                           bbox_to_anchor=(0.22 / WIDTH, top / self.height), fontsize=8.5,
                           handlelength=2.6, handleheight=1.1)  # fmt: skip


def middle(panel: Panel, row: float) -> float:
    """Return the y of the middle of a row's boxes; for a fractional row, the y at that fraction."""
    number, part = divmod(row, 1)
    above = sum(ROWS[kind] for kind in panel.rows[: int(number)])
    kind = panel.rows[int(number)]
    return above + (ROWS[kind] * part if part else ROWS[kind] - BOX[kind] / 2)


def write_picture(scene: Scene, path: Path) -> None:
    """Draw a scene into a file. Raises Trouble."""
    kind, buffer = path.suffix.lower().lstrip("."), io.BytesIO()
    title = html.escape(scene.title or "Who worked on what, when")
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font may lack a letter
        picture = Picture(scene)
        if kind == "png":
            picture.figure.savefig(buffer, format="png", dpi=120)
        else:
            picture.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    data = buffer.getvalue()
    if kind != "png":
        svg = re.sub(r'<g id="(bar-\d+)">', picture.with_title, data.decode())
        svg = svg.replace("<metadata>", f"<title>{title}</title>\n <metadata>", 1)
        data = svg.encode()
    if kind == "html":
        head = f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        data = (head + svg[svg.index("<svg") :]).encode()
    try:
        path.write_bytes(data)
    except OSError as error:
        what = f"cannot write {clean(str(path))}: {error.strerror.lower()}"
        raise Trouble(what, code=1) from error
