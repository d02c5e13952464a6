"""Make the tables from all the rows in a folder, counting each record once."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from logpipe.sink import read_rows
from logpipe.transforms import Row


@dataclass
class Tables:
    """The contents of a folder: the rows of each table, and how many were duplicates."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    records: int = 0  # with different ids
    twice: int = 0  # surplus rows, of records that had one already

    def participants(self) -> list[Row]:
        """Return who played, by run, game and player."""
        names = ("run", "game", "player", "hero")
        rows = sorted(self.rows["participants"], key=by_game("player"))
        return [{name: row[name] for name in names} for row in rows]

    def podium(self) -> list[Row]:
        """Return how everybody did, by run, game and rank: the places, and the sums of all hits."""
        heroes = {(*game(row), row["player"]): row["hero"] for row in self.rows["participants"]}
        dealt, taken = Counter(), Counter()
        for hit in self.rows["hits"]:
            dealt[(*game(hit), hit["player"])] += hit["damage"]
            taken[(*game(hit), hit["target"])] += hit["damage"]
        podium = []
        for row in sorted(self.rows["places"], key=by_game("rank")):
            key = *game(row), row["player"]
            podium.append(
                {name: row[name] for name in ("run", "game", "rank")}
                | {"hero": heroes.get(key, "?"), "rounds": row["rounds"]}
                | {"dealt": dealt[key], "taken": taken[key]}
            )
        return podium


def game(row: Row) -> tuple:
    """Return the run and the game of a row: each run has a game 1."""
    return row["run"], row["game"]


def by_game(column: str):
    """Return a key to sort rows by run, game and a column."""
    return lambda row: (*game(row), row[column])


def read_tables(folder: Path) -> Tables:
    """Read a folder. Raises OSError and ValueError if no worker wrote it."""
    tables, seen = Tables(), set()
    for row in read_rows(folder):
        if row["id"] in seen:
            tables.twice += 1
            continue
        seen.add(row["id"])
        tables.rows[row["table"]].append(row)
    tables.records = len(seen)
    return tables
