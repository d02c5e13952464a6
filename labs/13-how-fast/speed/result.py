"""Define measurements and targets, and compute the medians, spreads and ratios of a run.

A ratio is always that of two medians of the same run.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from speed.contenders import Contender

Values = dict[str, float | None]  # by the metric's name; None: cannot be measured here
BEST_PEER = "the best peer"


class Metric(NamedTuple):
    name: str
    unit: str
    decimals: int = 0
    more_is_better: bool = False
    plotted: bool = True

    def format(self, value: float) -> str:
        return f"{value:,.{self.decimals}f}"

    def heading(self) -> str:
        return f"{self.unit} ({'more' if self.more_is_better else 'less'} is better)"


class Target(NamedTuple):
    """A goal of the kit: a contender's metric as a multiple of another contender's.

    `than` names the other contender, or is BEST_PEER: the library with the best result in the run.
    """

    measurement: str
    metric: Metric
    contender: str
    limit: float
    than: str


class Measurement(NamedTuple):
    """The metrics to measure, the contenders, and the baseline to compare them with.

    `take(bench, contender, sizes)` measures one contender once.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    contenders: list[Contender]
    baseline: str
    take: Callable[..., Values]
    note: str = ""
    most_rounds: int = 99


class Spread(NamedTuple):
    """The median and the range of a contender's values over all rounds."""

    kind: str
    median: float
    least: float
    most: float


@dataclass
class Result:
    """The values of one measurement so far; both dicts have the contender's name as key."""

    measurement: Measurement
    values: dict[str, list[Values]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def spreads(self, metric: Metric) -> dict[str, Spread]:
        """Return the spreads, best contender first; measurements of growth stay in size order."""
        found = {}
        for contender in self.measurement.contenders:
            values = [one[metric.name] for one in self.values.get(contender.name, ())]
            if known := [value for value in values if value is not None]:
                figures = statistics.median(known), min(known), max(known)
                found[contender.name] = Spread(contender.kind, *figures)
        if self.measurement.name.startswith("growing"):
            return found
        best_first = sorted(found.items(), key=lambda item: item[1].median)
        return dict(reversed(best_first) if metric.more_is_better else best_first)

    def judge(self, target: Target) -> tuple[str, str] | None:
        """Return "pass", "behind" or "unknown" and a sentence, or None if one did not take part."""
        _, metric, contender, limit, than = target
        spreads = self.spreads(metric)
        if than == BEST_PEER:
            than = next((name for name in spreads if spreads[name].kind == "peer"), than)
        if not (reached := ratio(spreads, contender, than)):
            if not {contender, than} <= self.values.keys():
                return None
            what = f"{contender} or {than} could not be measured for noise"
            return "unknown", f"{self.measurement.name}: {what}"
        bound = f"at {'least' if metric.more_is_better else 'most'} {limit:g}"
        is_met = float(reached) >= limit if metric.more_is_better else float(reached) <= limit
        what = f"{contender} has {reached} x the {metric.unit} of {than} (wanted: {bound})"
        return "pass" if is_met else "behind", f"{self.measurement.name}: {what}"


def ratio(spreads: dict[str, Spread], contender: str, than: str) -> str:
    """Format one median as a multiple of another, with two or three digits; "" if unknown."""
    if not (contender in spreads and than in spreads and spreads[than].median):
        return ""
    quotient = spreads[contender].median / spreads[than].median
    decimals = 0 if quotient >= 99.5 else 1 if quotient >= 9.95 else 2
    return f"{quotient:.{decimals}f}"
