"""The figures for a series of requests, as a row of a table."""

import statistics
from dataclasses import dataclass

TITLES = [
    ["", "orders", "requests", "mean", "95 %", "all done"],
    ["", "taken", "a second", "ms", "below ms", "after s"],
]


@dataclass
class Figures:
    """The measurements of one way to process orders."""

    title: str
    answers: list[tuple[bool, float]]  # per request: was the order taken; seconds to the answer
    seconds: float  # until all were answered
    done: float  # seconds until all orders that were taken were done

    def row(self) -> list[str]:
        took = [1000 * seconds for _, seconds in self.answers]
        taken = sum(ok for ok, _ in self.answers)
        # The cut points between 20 parts of equal size: the last has 95 % below it.
        slow = statistics.quantiles(took, n=20, method="inclusive")[-1]
        return [
            self.title,
            f"{taken} of {len(took)}",
            f"{len(took) / self.seconds:.1f}",
            f"{statistics.fmean(took):.0f}",
            f"{slow:.0f}",
            f"{self.done:.1f}",
        ]


def table(rows: list[Figures]) -> list[str]:
    cells = [*TITLES, *(one.row() for one in rows)]
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "   ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in cells
    ]
