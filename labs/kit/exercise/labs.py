"""The labs that have an exercise: their files, their hints, and the student's progress."""

import contextlib
import hashlib
import itertools
import json
import os
import re
from pathlib import Path

from kit.cli import KIT, UNEXPECTED, Trouble

LABS = KIT / "labs"
PROGRESS = KIT / ".progress.json"  # not in git: it belongs to one student


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
        """Make exercise.py from the starter; return False if it exists. Raises Trouble."""
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
        """Restore the starter; return where the student's file is kept if it was changed."""
        kept = None
        if self.is_changed():
            endings = itertools.chain([".bak"], (f".bak{number}" for number in itertools.count(2)))
            names = (self.exercise.with_name(f"exercise.py{ending}") for ending in endings)
            kept = self.exercise.rename(next(name for name in names if not name.exists()))
        self.exercise.write_bytes(self.starter.read_bytes())
        self.save({})
        return kept

    def hints(self) -> dict[int, str]:
        """Return the worksheet's hints by task number."""
        with contextlib.suppress(OSError):
            text = self.page.read_text(encoding="utf-8")
            folded = r"<details>\s*<summary>Hint (\d+)</summary>(.*?)</details>"
            found = re.findall(folded, text, re.DOTALL)
            return {int(number): hint.strip() for number, hint in found}
        return {}

    # ---- progress: the results of the last check of exercise.py

    def tasks_done(self) -> dict[str, bool]:
        """Return for each task whether it is done; the keys are text, as in JSON."""
        return self._saved()["tasks"]

    def count_done(self) -> int:
        return sum(self.tasks_done().values())

    def is_as_checked(self) -> bool:
        """Return True if exercise.py has not changed since it was last checked."""
        return self._saved()["hash"] == self._fingerprint()

    def save(self, done: dict[int, bool]) -> None:
        """Save which tasks are done; an empty `done` marks them all as not done."""
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
    """Return the labs that have an exercise, by number."""
    folders = sorted(path.parent for path in LABS.glob("[0-9][0-9]-*/test_exercise.py"))
    return {lab.number: lab for lab in map(Lab, folders)}


def relative(path: Path) -> str:
    """Return a path as the student would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _read_progress() -> dict:
    """Return the saved progress of all labs; an unreadable file counts as empty."""
    try:
        progress = json.loads(PROGRESS.read_text())
        return progress if isinstance(progress, dict) else {}
    except (OSError, ValueError):
        return {}
