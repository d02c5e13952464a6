"""How bars look in a file: fills, hatches, outlines, and what fits where. Lengths in inches."""

import unicodedata

from kit.timeline import scene as scene
from kit.timeline.run import Lane

LINE, LETTER, SMALL = 0.19, 0.078, 0.066  # height of a line, width of a letter (9, 8 points)
BLUE, RED, GREY, DARK = "#9fd0f0", "#a63c00", "#d5d5d5", "#222222"
DONE = {"facecolor": BLUE, "edgecolor": DARK, "linewidth": 0.8}
STYLES = {
    "done": DONE,
    "again": {**DONE, "hatch": "|||", "linewidth": 1.0},
    "vain": {"facecolor": "white", "edgecolor": RED, "hatch": "/////", "linewidth": 1.0},
    "working": {"facecolor": "white", "edgecolor": DARK, "linestyle": "--", "linewidth": 1.0},
    "waiting": {"facecolor": GREY, "edgecolor": "#707070", "linewidth": 0.5},
    "returned": {"facecolor": "white", "edgecolor": RED, "linestyle": "--", "linewidth": 0.7},
}
LEGEND = {
    "done": "working, done",
    "again": "done once more (duplicate)",
    "vain": "worked on in vain: lost, returned, failed",
    "working": "not finished",
    "waiting": "waiting its turn at the worker",
    "returned": "waited, never begun",
}


def fitting(message: str, room: float) -> str:
    """Return as much of a message as there is room for (inches), "" if that says nothing."""
    text = scene.plain(message)
    letters = [1.7 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in text]
    if sum(letters) * LETTER <= room:
        return text
    space, size = room / LETTER - 1, 0.0
    for number, letter in enumerate(letters):
        size += letter
        if size > space:
            return f"{text[:number]}…" if number >= 2 else ""
    return ""


def merged(lane: Lane, now: float, least: float) -> dict[str, list[tuple[float, float]]]:
    """Return pieces (begin, width) by style, with gaps of less than `least` seconds closed."""
    pieces: dict[str, list[list[float]]] = {}
    spans = [(scene.work_span(bar, now), scene.style_of(bar)) for bar in lane.bars]
    for (begin, end), name in sorted(pair for pair in spans if pair[0]):
        known = pieces.setdefault(name, [])
        if known and begin - known[-1][1] < least:
            known[-1][1] = max(known[-1][1], end)
        else:
            known.append([begin, end])
    return {
        name: [(begin, max(end - begin, least / 2)) for begin, end in known]
        for name, known in pieces.items()
    }
