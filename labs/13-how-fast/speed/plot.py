"""The figures as one SVG: horizontal bars with spread, readable in print and without colour."""

from html import escape

from speed.model import Contender, Metric, Result
from speed.report import heading, order, significant

WIDTH, LEFT, BARS = 900, 220, 500  # all, names, bars; the figures have the rest
FIGURES, RATIOS = 810, 885  # where the columns of figures end
ROW, BAR = 22, 14
FILLS = {"kit": "#1f4e79", "bare": "#8fa9c4", "peer": "#ffffff", "bound": "url(#hatch)"}
LEGEND = {"kit": "the kit", "bare": "bare pika", "peer": "other libraries", "bound": "a bound"}
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">
<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">
<path d="M0 6L6 0" stroke="#444" stroke-width="1"/></pattern></defs>
<rect width="{width}" height="{height}" fill="white"/>
"""


class Page:
    """An SVG that grows downwards."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 10

    def text(self, x: float, y: float, text: str, **style: object) -> None:
        """Write a line of text."""
        more = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>')

    def bar(self, x: float, y: float, width: float, kind: str) -> None:
        """Draw a bar."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{BAR}" '
            f'fill="{FILLS[kind]}" stroke="#222" stroke-width="1"/>'
        )

    def whisker(self, least: float, most: float, y: float) -> None:
        """Draw the spread over a bar: light below, so that it shows on a dark bar too."""
        line = f"M{least:.1f} {y:.1f}H{most:.1f}M{least:.1f} {y - 4:.1f}v8M{most:.1f} {y - 4:.1f}v8"
        for colour, width in (("#fff", 3.5), ("#000", 1.3)):
            self.parts.append(
                f'<path d="{line}" stroke="{colour}" stroke-width="{width}" fill="none"/>'
            )

    def svg(self) -> str:
        """Return the whole file."""
        head = HEAD.format(width=WIDTH, height=round(self.y + 10))
        return head + "\n".join(self.parts) + "\n</svg>\n"


def as_svg(machine: dict[str, str], how: str, results: list[Result]) -> str:
    """Return all that is to be plotted, one panel below the other."""
    page = Page()
    page.y += 14
    page.text(12, page.y, "How fast: one run on one machine", font_size=17, font_weight="bold")
    versions = [f"{key} {value}" for key, value in machine.items() if key != "Date"]
    for line in (how, *wrapped(versions, 125)):
        page.y += 17
        page.text(12, page.y, line, fill="#444", font_size=11)
    page.y += 17
    page.text(12, page.y, "Each panel has a scale of its own: compare its bars with each other. "
              "Processor time is not plotted.", fill="#444", font_size=11)  # fmt: skip
    legend(page)
    for result in results:
        for metric in result.measurement.metrics:
            shown = [c for c in order(result, metric) if result.spread(c.name, metric.name)]
            if metric.plotted and shown:
                panel(page, result, metric, shown)
        if note := result.measurement.note:
            page.y += 16
            page.text(12, page.y, note, fill="#444", font_size=11)
    return page.svg()


def wrapped(words: list[str], width: int) -> list[str]:
    """Return words in lines, with commas between."""
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f", {word}" if lines[-1] else word
    return lines


def legend(page: Page) -> None:
    """Say what the bars stand for."""
    page.y += 14
    x = 12
    for kind, name in LEGEND.items():
        page.bar(x, page.y, 24, kind)
        page.text(x + 30, page.y + 11, name)
        x += 50 + 7.2 * len(name)
    page.whisker(x + 4, x + 34, page.y + 7)
    page.text(x + 42, page.y + 11, "smallest to largest; the bar is the median")
    page.y += BAR + 6


def panel(page: Page, result: Result, metric: Metric, shown: list[Contender]) -> None:
    """Draw one metric of one measurement."""
    measurement = result.measurement
    page.y += 30
    page.text(12, page.y, f"{measurement.name}: {measurement.title}", font_weight="bold",
              font_size=13)  # fmt: skip
    page.y += 16
    page.text(12, page.y, heading(measurement, metric), fill="#444", font_size=11)
    page.y += 8
    spreads = {c.name: result.spread(c.name, metric.name) for c in shown}
    scale = BARS / max(max(spread.most for spread in spreads.values()), 1e-9)
    baseline = spreads.get(measurement.baseline)
    if baseline:  # so that the eye finds what is more and what is less than the baseline
        x, bottom = LEFT + baseline.median * scale, page.y + ROW * len(shown)
        page.parts.append(
            f'<path d="M{x:.1f} {page.y}V{bottom}" stroke="#222" stroke-dasharray="2 3"/>'
        )
    for contender in shown:
        spread, middle = spreads[contender.name], page.y + ROW / 2
        style = {"font_weight": "bold"} if contender.kind == "kit" else {}
        page.text(LEFT - 8, middle + 4, contender.name, text_anchor="end", **style)
        page.bar(LEFT, middle - BAR / 2, spread.median * scale, contender.kind)
        if spread.most > spread.least:
            page.whisker(LEFT + spread.least * scale, LEFT + spread.most * scale, middle)
        page.text(FIGURES, middle + 4, metric.show(spread.median), text_anchor="end", **style)
        ratio = result.ratio(contender.name, metric.name)
        if ratio is not None:
            page.text(RATIOS, middle + 4, f"{significant(ratio)} x", text_anchor="end", **style)
        page.y += ROW
