"""Plot the figures as an SVG: bars with their spread, readable in print and without colour."""

import textwrap
from html import escape

from speed.result import Metric, Result, ratio

WIDTH, LEFT, BARS = 900, 220, 500  # all, names, bars; the rest is for figures
FIGURES, RATIOS = 810, 885  # right edges of the columns of figures
ROW, BAR = 22, 14
FILLS = {"kit": "#1f4e79", "bare": "#8fa9c4", "peer": "#ffffff", "bound": "url(#hatch)"}
LEGEND = {"kit": "the kit", "bare": "bare pika", "peer": "other libraries", "bound": "a bound"}
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">
<style>.title {{ font-size: 17px; font-weight: bold }} .kit {{ font-weight: bold }}
.panel {{ font-size: 13px; font-weight: bold }} .small {{ font-size: 11px; fill: #444 }}</style>
<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">
<path d="M0 6L6 0" stroke="#444" stroke-width="1"/></pattern></defs>
<rect width="{width}" height="{height}" fill="white"/>
"""


class Page:
    """An SVG that grows downwards."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 10.0

    def text(self, x: float, y: float, text: str, style: str = "", anchor: str = "start") -> None:
        attributes = f'x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}"'
        self.parts.append(f"<text {attributes}>{escape(text)}</text>")

    def line(self, text: str, style: str, height: int = 17) -> None:
        self.y += height
        self.text(12, self.y, text, style)

    def bar(self, x: float, y: float, width: float, kind: str) -> None:
        size = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{BAR}"'
        self.parts.append(f'<rect {size} fill="{FILLS[kind]}" stroke="#222"/>')

    def whisker(self, least: float, most: float, y: float) -> None:
        """Draw the spread over a bar, with a white outline so that it shows on a dark bar."""
        line = f"M{least:.1f} {y:.1f}H{most:.1f}M{least:.1f} {y - 4:.1f}v8M{most:.1f} {y - 4:.1f}v8"
        for colour, width in ("#fff", 3.5), ("#000", 1.3):
            style = f'stroke="{colour}" stroke-width="{width}" fill="none"'
            self.parts.append(f'<path d="{line}" {style}/>')


def as_svg(machine: dict[str, str], command: str, results: list[Result]) -> str:
    """Return the SVG of all plotted metrics, one panel below the other."""
    page = Page()
    page.line("How fast: one run on one machine", "title", 14)
    versions = ", ".join(f"{key} {value}" for key, value in machine.items() if key != "Date")
    for line in (command, *textwrap.wrap(versions, 125)):
        page.line(line, "small")
    scales = "Each panel has a scale of its own: compare its bars with each other."
    page.line(f"{scales} Processor time is not plotted.", "small")
    legend(page)
    for result in results:
        for metric in result.measurement.metrics:
            if metric.plotted and result.spreads(metric):
                panel(page, result, metric)
        if result.measurement.note:
            page.line(result.measurement.note, "small", 16)
    head = HEAD.format(width=WIDTH, height=round(page.y + 10))
    return head + "\n".join(page.parts) + "\n</svg>\n"


def legend(page: Page) -> None:
    page.y += 14
    x = 12.0
    for kind, name in LEGEND.items():
        page.bar(x, page.y, 24, kind)
        page.text(x + 30, page.y + 11, name)
        x += 50 + 7.2 * len(name)
    page.whisker(x + 4, x + 34, page.y + 7)
    page.text(x + 42, page.y + 11, "smallest to largest; the bar is the median")
    page.y += BAR + 6


def panel(page: Page, result: Result, metric: Metric) -> None:
    measurement, spreads = result.measurement, result.spreads(metric)
    page.line(f"{measurement.name}: {measurement.title}", "panel", 30)
    page.line(f"{metric.heading()}; ratio to: {measurement.baseline}", "small", 16)
    page.y += 8
    scale = BARS / max(max(spread.most for spread in spreads.values()), 1e-9)
    if measurement.baseline in spreads:  # a line that marks the baseline
        x = LEFT + spreads[measurement.baseline].median * scale
        line = f"M{x:.1f} {page.y}v{ROW * len(spreads)}"
        page.parts.append(f'<path d="{line}" stroke="#222" stroke-dasharray="2 3"/>')
    for name, (kind, median, least, most) in spreads.items():
        middle = page.y + ROW / 2
        page.text(LEFT - 8, middle + 4, name, kind, "end")
        page.bar(LEFT, middle - BAR / 2, median * scale, kind)
        if most > least:
            page.whisker(LEFT + least * scale, LEFT + most * scale, middle)
        page.text(FIGURES, middle + 4, metric.format(median), kind, "end")
        if times := ratio(spreads, name, measurement.baseline):
            page.text(RATIOS, middle + 4, f"{times} x", kind, "end")
        page.y += ROW
