"""Read the table of contenders, labs/13-how-fast/contenders.txt."""

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parents[1] / "contenders.txt"


@dataclass(frozen=True)
class Contender:
    """A program that is measured. Its kind is "kit", "bare", "peer" or "bound".

    `size` is for measurements of growth; the table explains the other fields.
    """

    name: str
    kind: str
    needs: str = "pika"
    flags: str = ""
    command: str = ""
    size: int = 0


def read_contenders() -> dict[str, list[Contender]]:
    """Return the contenders of the table by group."""
    groups: dict[str, list[Contender]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            group = groups[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            group.append(Contender(*(cell.strip() for cell in line.split("|"))))
    return groups


def is_installed(needs: str) -> bool:
    """Return True if a program (a name with a hyphen) or else a Python package is installed."""
    return bool(shutil.which(needs) if "-" in needs else importlib.util.find_spec(needs))
