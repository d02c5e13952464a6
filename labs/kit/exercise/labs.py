"""The labs that have an exercise: their files, their hints, and what a student has done."""

import contextlib
import hashlib
import itertools
import json
import os
import re
from pathlib import Path

from kit.cli import UNEXPECTED, Trouble

LABS = Path(__file__).resolve().parents[2]
PROGRESS = LABS.parent / ".progress.json"  # not in git: it is one student's


class Lab:
    """A lab with an exercise."""

    def __init__(self, folder: Path) -> None:
        number, _, self.name = folder.name.partition("-")
        self.number = int(number)
        self.page, self.solution = folder / "README.md", folder / "solution.py"
        self.starter, self.exercise = folder / "starter.py", folder / "exercise.py"
        self.checks = folder / "test_exercise.py"
        self.tasks = sorted(set(map(int, re.findall(r"TODO\((\d+)\)", self.starter.read_text()))))

    def make_exercise(self) -> bool:
        """Make exercise.py from the starter unless it exists; return True if so. Raises Trouble."""
        try:
            with self.exercise.open("xb") as file:
                file.write(self.starter.read_bytes())
        except FileExistsError:
            return False
        except OSError as error:
            what = f"{relative(self.exercise)} cannot be made: {error.strerror}"
            raise Trouble(what, "a folder of your own: git clone, or cp -r", UNEXPECTED) from error
        return True

    def is_changed(self) -> bool:
        """Return True if there is an exercise.py that differs from the starter."""
        path = self.exercise
        return path.exists() and path.read_bytes() != self.starter.read_bytes()

    def reset(self) -> Path | None:
        """Bring the starter back; return where the student's file is kept, if it was changed."""
        kept = None
        if self.is_changed():
            endings = itertools.chain([".bak"], (f".bak{number}" for number in itertools.count(2)))
            names = (self.exercise.with_name(f"exercise.py{ending}") for ending in endings)
            kept = self.exercise.rename(next(name for name in names if not name.exists()))
        self.exercise.write_bytes(self.starter.read_bytes())
        self.save({})
        return kept

    def hints(self) -> dict[int, str]:
        """Return the worksheet's hints by their tasks."""
        with contextlib.suppress(OSError):
            text = self.page.read_text(encoding="utf-8")
            folded = r"<details>\s*<summary>Hint (\d+)</summary>(.*?)</details>"
            found = re.findall(folded, text, re.DOTALL)
            return {int(number): hint.strip() for number, hint in found}
        return {}

    # ---- progress: what the last check of exercise.py has found

    def tasks_done(self) -> dict[str, bool]:
        """Return for each task (its number as text, as JSON has it) whether it is done."""
        return self._saved()["tasks"]

    def count_done(self) -> int:
        return sum(self.tasks_done().values())

    def is_as_checked(self) -> bool:
        """Return True if exercise.py is as it was when it was last checked."""
        return self._saved()["hash"] == self._fingerprint()

    def save(self, done: dict[int, bool]) -> None:
        """Save which tasks are done; if none could be checked, none is."""
        done = done or dict.fromkeys(self.tasks, False)
        tasks = self.tasks_done() | {str(task): value for task, value in done.items()}
        progress = _read_progress() | {
            str(self.number): {"tasks": tasks, "hash": self._fingerprint()}
        }
        new = PROGRESS.with_name(PROGRESS.name + ".new")
        new.write_text(json.dumps(progress, indent=1) + "\n")
        new.replace(PROGRESS)

    def _saved(self) -> dict:
        return _read_progress().get(str(self.number), {"tasks": {}, "hash": ""})

    def _fingerprint(self) -> str:
        try:
            return hashlib.sha256(self.exercise.read_bytes()).hexdigest()
        except OSError:
            return ""


def all_labs() -> dict[int, Lab]:
    """Return the labs that have an exercise, by their numbers."""
    folders = sorted(path.parent for path in LABS.glob("[0-9][0-9]-*/test_exercise.py"))
    return {lab.number: lab for lab in map(Lab, folders)}


def relative(path: Path) -> str:
    """Return a path as the student would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _read_progress() -> dict:
    """Return what is saved for all labs; a file that cannot be read counts as none."""
    try:
        progress = json.loads(PROGRESS.read_text())
        return progress if isinstance(progress, dict) else {}
    except (OSError, ValueError):
        return {}
