"""What a measurement consists of, and what came of it: medians, spread, ratios, targets.

All ratios are those of two medians of the same run.
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
    """What the kit wants to reach: a metric of a contender, as a multiple of another's.

    `than` is that other contender's name, or BEST_PEER: the library that came out best in the run.
    """

    measurement: str
    metric: Metric
    contender: str
    limit: float
    than: str


class Measurement(NamedTuple):
    """What is measured, of whom, and whom they are compared with.

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
    """The values of a contender in all rounds, in three figures."""

    kind: str
    median: float
    least: float
    most: float


@dataclass
class Result:
    """The values of one measurement, as they come in; both fields are by the contender's name."""

    measurement: Measurement
    values: dict[str, list[Values]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def spreads(self, metric: Metric) -> dict[str, Spread]:
        """Return the contenders that have values, best first; but sizes of growth as they are."""
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
        """Return pass or behind, and a sentence, or None if one of the two was not measured."""
        _, metric, contender, limit, than = target
        spreads = self.spreads(metric)
        if than == BEST_PEER:
            than = next((name for name in spreads if spreads[name].kind == "peer"), than)
        if not (reached := ratio(spreads, contender, than)):
            return None
        bound = f"at {'least' if metric.more_is_better else 'most'} {limit:g}"
        is_met = float(reached) >= limit if metric.more_is_better else float(reached) <= limit
        what = f"{contender} has {reached} x the {metric.unit} of {than} (wanted: {bound})"
        return "pass" if is_met else "behind", f"{self.measurement.name}: {what}"


def ratio(spreads: dict[str, Spread], contender: str, than: str) -> str:
    """Return one median as a multiple of the other, with two or three figures, "" if unknown."""
    if not (contender in spreads and than in spreads and spreads[than].median):
        return ""
    quotient = spreads[contender].median / spreads[than].median
    decimals = 0 if quotient >= 99.5 else 1 if quotient >= 9.95 else 2
    return f"{quotient:.{decimals}f}"
