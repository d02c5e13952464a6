"""Run the checks of an exercise with pytest, and collect their outcomes."""

import ast
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit.cli import KIT, Trouble
from kit.exercise.labs import Lab, relative

# Ignore the student's own pytest configuration, and silence pytest's own output.
OPTIONS = (
    "-p kit.exercise.plugin -p no:terminal -p no:cacheprovider -p no:unraisableexception "
    f"-p no:threadexception --assert=plain --import-mode=importlib --capture=no --noconftest "
    f"-c {os.devnull}"
).split()


@dataclass
class Check:
    """The outcome of one check."""

    task: int
    asks: str
    outcome: str  # passed, failed, skipped, no broker, broken
    says: str
    read: str


@dataclass
class Result:
    """The outcome of an exercise; `problem` says why its checks could not run."""

    lab: Lab
    checks: list[Check] = field(default_factory=list)
    problem: str = ""

    @property
    def done(self) -> dict[int, bool]:
        """Return for each checked task whether it is done."""
        done: dict[int, bool] = {}
        for check in self.checks:
            done[check.task] = done.get(check.task, True) and check.outcome in ("passed", "skipped")
        return done

    @property
    def passed(self) -> bool:
        return not self.problem and bool(self.done) and all(self.done.values())

    def as_json(self) -> str:
        document = {
            "lab": self.lab.number,
            "name": self.lab.name,
            "passed": self.passed,
            "problem": self.problem or None,
            "tasks": [{"task": task, "done": done} for task, done in self.done.items()],
            "checks": [vars(check) for check in self.checks],
        }
        return json.dumps(document, indent=1, ensure_ascii=False)


class Collector:
    """A pytest plugin that collects reports instead of printing them."""

    def __init__(self, task: int | None, on_check: Callable[[Check], None]) -> None:
        self.task, self.on_check = task, on_check
        self.checks: list[Check] = []
        self.error = ""  # why the checks could not be read

    def pytest_collection_modifyitems(self, config, items: list[pytest.Item]) -> None:
        """Keep only the checks of the requested task."""
        if self.task is not None:
            items[:] = [one for one in items if one.get_closest_marker("task").args[0] == self.task]

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.error = str(report.longrepr)

    def pytest_runtest_logreport(self, report) -> None:
        """Keep one report for each check: its own, or that of its failed set-up."""
        if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
            check = Check(report.task, report.asks, report.kind, report.says, report.read)
            self.checks.append(check)
            self.on_check(check)


def check_exercise(
    lab: Lab, path: Path, task: int | None, on_check: Callable[[Check], None]
) -> Result:
    """Run the checks of an exercise, or of one of its tasks, on a file. Raises Trouble."""
    result = Result(lab, problem=why_not_python(path))
    if result.problem:
        return result
    os.environ["LAB_EXERCISE"] = str(path.absolute())
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    collector = Collector(task, on_check)
    code = pytest.main([*OPTIONS, "--rootdir", str(KIT), str(lab.checks)], plugins=[collector])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    result.checks = collector.checks
    if lost := [one.says for one in result.checks if one.outcome == "no broker"]:
        raise Trouble(lost[0], "labs/broker.py status, then again")
    if not result.checks:
        result.problem = f"The checks themselves cannot be run: {collector.error or code}"
    return result


def why_not_python(path: Path) -> str:
    """Return why a file cannot be read as Python, or "" if it can."""
    try:
        ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        return f"{relative(path)} cannot be read: {error.strerror}."
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"Line {line} of {relative(path)}" if line else relative(path)
        return f"{where} is not Python yet: {getattr(error, 'msg', error)}."
    return ""
