"""How much of everything: for a look (--quick), for figures, or for how it grows (--full)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of messages, seconds, and sizes to grow to."""

    many: int  # messages for what is fast
    some: int  # messages for what waits for an answer each time
    idle: float  # seconds to do nothing
    task: float  # seconds for each character of a task in fair dispatch
    calls: int  # calls of a program in each round
    waiting: tuple[int, ...]  # messages in the queue
    workers: tuple[int, ...]
    rounds: int


QUICK = Sizes(3000, 300, 0.5, 0.01, 1, (100, 1000), (1, 2), 1)
NORMAL = Sizes(20_000, 3000, 4, 0.05, 3, (100, 1000, 10_000), (1, 2, 4, 8), 5)
FULL = Sizes(
    20_000, 5000, 6, 0.1, 3, (100, 1000, 10_000, 100_000, 1_000_000), (1, 2, 4, 8, 16, 32), 5
)
