"""What is measured, of whom, in which unit; and what came of it: medians, spread, ratios, targets.

A `Measurement` has several contenders, each of which gives a value for each metric in each round.
`Result` collects them; all its ratios are those of two medians of the same run.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

Values = dict[str, float | None]  # by the metric's name; None: cannot be measured on this system


@dataclass(frozen=True)
class Metric:
    """A figure that is taken, its unit, and whether more of it is better."""

    name: str
    unit: str
    more_is_better: bool = False
    decimals: int = 0
    plotted: bool = True

    def show(self, value: float | None) -> str:
        """Return a value as it is printed."""
        return "-" if value is None else f"{value:,.{self.decimals}f}"


RATE = Metric("rate", "messages/s", more_is_better=True)
CPU = Metric("cpu", "CPU s/10,000", decimals=2, plotted=False)


@dataclass(frozen=True)
class Contender:
    """One way of doing the same: its name, its kind, and a function that does it once.

    The kinds are "kit", "bare" (plain pika, as one would write it), "peer" and "bound".
    """

    name: str
    kind: str
    take: Callable[[], Values]


@dataclass(frozen=True)
class Target:
    """What the kit wants to reach: a metric of one contender, as a multiple of another's.

    `than` is a contender's name, or "the best peer": whichever library came out best in the run.
    """

    metric: str
    contender: str
    limit: float
    than: str


@dataclass(frozen=True)
class Measurement:
    """What is measured in turn of all contenders, and whom they are compared with."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    contenders: tuple[Contender, ...]
    baseline: str
    targets: tuple[Target, ...] = ()
    most_rounds: int = 99
    note: str = ""


@dataclass(frozen=True)
class Spread:
    """The values of all rounds in three figures."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Verdict:
    """A target and how far it is met; `met` is None if it cannot be told."""

    target: Target
    wanted: str
    than: str
    ratio: float | None
    met: bool | None


@dataclass
class Result:
    """The values of one measurement, as they come in."""

    measurement: Measurement
    values: dict[str, list[Values]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)  # contender -> why it has no more values

    def spread(self, contender: str, metric: str) -> Spread | None:
        """Return median and spread, or None if there are no values."""
        rounds = self.values.get(contender, ())
        known = [values[metric] for values in rounds if values.get(metric) is not None]
        return Spread(statistics.median(known), min(known), max(known)) if known else None

    def ratio(self, contender: str, metric: str, than: str | None = None) -> float | None:
        """Return the median as a multiple of another contender's, or None if one is lacking."""
        one = self.spread(contender, metric)
        other = self.spread(than or self.measurement.baseline, metric)
        return one.median / other.median if one and other and other.median else None

    def verdicts(self) -> list[Verdict]:
        """Judge the targets; one whose peer was not measured is left out."""
        judged = (self._judge(target) for target in self.measurement.targets)
        return [verdict for verdict in judged if verdict]

    def _judge(self, target: Target) -> Verdict | None:
        metric = next(m for m in self.measurement.metrics if m.name == target.metric)
        than = target.than
        if than == "the best peer":
            than = self._best_peer(metric)
        if not than or than not in self.values:
            return None
        least = metric.more_is_better
        wanted = f"at {'least' if least else 'most'} {target.limit:g}"
        ratio = self.ratio(target.contender, target.metric, than)
        met = None
        if ratio is not None:
            met = ratio >= target.limit if least else ratio <= target.limit
        return Verdict(target, wanted, than, ratio, met)

    def _best_peer(self, metric: Metric) -> str | None:
        peers = [
            c.name for c in self.measurement.contenders if c.kind == "peer" and "*" not in c.name
        ]
        medians = {name: self.spread(name, metric.name) for name in peers}
        known = {name: spread.median for name, spread in medians.items() if spread}
        if not known:
            return None
        return (max if metric.more_is_better else min)(known, key=known.get)
