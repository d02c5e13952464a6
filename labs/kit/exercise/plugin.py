"""The pytest plugin of the exercises: fixtures, and reports with a sentence for the student."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from kit.broker.lab import broker_url
from kit.exercise.fixture import Exercise


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "task(number): which TODO of exercise.py a check is for")


@pytest.fixture
def exercise(request: pytest.FixtureRequest) -> Iterator[Exercise]:
    """Yield the Exercise of LAB_EXERCISE, or of the exercise.py beside the check."""
    path = os.environ.get("LAB_EXERCISE") or request.path.parent / "exercise.py"
    exercise = Exercise(Path(path).absolute(), broker_url())
    yield exercise
    exercise.close()


@pytest.fixture
def when_all_else_is_right(request: pytest.FixtureRequest) -> None:
    """Skip a check that only makes sense once the checks before it have passed."""
    if request.session.testsfailed:
        pytest.skip("checked once the rest is right")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Add to a report the fields for kit.exercise.checks.Check: kind, says, task, asks, read."""
    report = yield
    report.kind, report.says = report.outcome, ""
    if call.excinfo and report.skipped:
        report.says = str(call.excinfo.value)
    elif call.excinfo:
        report.says, report.kind = explain(call.excinfo.value, item)
        report.longrepr = report.says
    asks, _, more = (item.function.__doc__ or "").partition("\n")
    read = re.search(r"Read: (\S+)", more)
    report.asks, report.read = asks, read[1] if read else ""
    report.task = item.get_closest_marker("task").args[0]
    return report


def explain(error: BaseException, item: pytest.Item) -> tuple[str, str]:
    """Return the sentence for a check that did not pass, and its outcome."""
    if isinstance(error, (pika.exceptions.AMQPError, OSError)):
        return f"The broker went away during the check ({type(error).__name__}).", "no broker"
    if not isinstance(error, AssertionError):
        return f"The check itself failed, which is our mistake: {error!r}", "broken"
    exercise = item.funcargs.get("exercise")
    return exercise.with_crash(str(error)) if exercise else str(error), "failed"
