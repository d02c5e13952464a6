"""A terminal in tmux for a full-screen program."""

import contextlib
from collections.abc import Callable, Iterator

from conftest import DEADLINE, wait_until
from kit.worksheet.panes import Stage, tmux
from test_worksheets import ROOT, UNPACKED


@contextlib.contextmanager
def stages() -> Iterator[Callable[[dict[str, str], tuple[int, int]], Stage]]:
    """Yield a function that opens a terminal of some size and environment; close all in the end."""
    opened: list[Stage] = []

    def open_stage(environment: dict[str, str], size: tuple[int, int]) -> Stage:
        opened.append(Stage(tmux(UNPACKED), ["t"], environment, cwd=ROOT, size=size))
        return opened[-1]

    try:
        yield open_stage
    finally:
        for one in opened:
            one.close()


class Screen:
    """A terminal in which `command` is typed."""

    command = ""
    patience: float = DEADLINE  # seconds

    def __init__(self, stage: Stage) -> None:
        self.stage, self.pane = stage, stage.panes["t"]

    def start(self, *arguments: object) -> None:
        """Type the command, followed by one that prints its exit code."""
        self.pane.type(f"clear; {self.command} {' '.join(map(str, arguments))}; echo code $?")
        self.pane.press("Enter")

    def rows(self) -> list[str]:
        """Return the visible rows."""
        view = self.pane.look()
        return view.lines[view.top :]

    def shows(self, *parts: str) -> bool:
        """Return True if all these texts are visible."""
        text = "\n".join(self.rows())
        return all(part in text for part in parts)

    def wait(self, *parts: str, within: float | None = None) -> None:
        """Wait until all these texts are visible."""
        try:
            wait_until(lambda: self.shows(*parts), within=within or self.patience)
        except AssertionError:
            raise AssertionError(f"no {parts}:\n" + "\n".join(self.rows())) from None
