"""The narrow pane of labs/play.py: it shows a step's text, and plays its blocks at Enter."""

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable

from kit.broker.process import alive, birth
from kit.cli import OK, UNEXPECTED
from kit.cli.terminal import keyboard
from kit.worksheet.page import Block, Worksheet
from kit.worksheet.panes import SESSION, Pane, Server, TmuxError
from kit.worksheet.player import Mismatch, Player
from kit.worksheet.render import line_of_answer, line_of_block, render

OUTCOME = "outcome"  # the file with the pane's exit code and message, for labs/play.py
SECONDS_TO_READ = 1  # before --auto goes on to the next step
ONE_HOUR = 3600  # seconds to wait for a key; the callers then wait again
KEYS = {
    "\r": "enter", "\n": "enter", "q": "q", "Q": "q", "\x04": "q", "a": "a", "s": "s",
    "\x1b[A": "up", "\x1bOA": "up", "k": "up", "\x1b[B": "down", "\x1bOB": "down", "j": "down",
    " ": "next", "\x1b[6~": "next", "b": "before", "\x1b[5~": "before",
}  # fmt: skip


class Quit(Exception):
    """Raised when the reader wants to leave."""


class Presenter:
    """Shows the steps of a page and plays them; ends when `is_watched` no longer holds."""

    def __init__(
        self,
        page: Worksheet,
        stage: dict[str, Pane],
        options: argparse.Namespace,
        is_watched: Callable[[], bool],
    ) -> None:
        self.page, self.is_watched = page, is_watched
        self.begin, self.auto = options.begin, options.auto
        self.player = Player(stage, deadline=options.wait, pause=self.pause)
        self.index, self.played = 0, 0  # the step, and its number of played blocks
        self.top, self.rows, self.answers = 0, 1, False  # the visible part of its text
        self.status, self.typed, self.drawn = "", "", ""

    def run(self) -> None:
        """Play until the reader leaves, or with `auto` to the end. Raises Mismatch, Quit."""
        while self.index < self.begin or self.auto:
            while self.blocks_to_play():
                self.play_step()
            self.status = ""
            self.read(SECONDS_TO_READ if self.auto else 0)
            if not self.next_step():
                return
        while True:
            self.status = self.hint()
            if self.read(ONE_HOUR) == "enter":
                if self.blocks_to_play():
                    self.play_step()
                elif not self.read_on():
                    self.next_step()

    def blocks_to_play(self) -> list[Block]:
        """Return the blocks of the step that have not been played yet."""
        return self.page.steps[self.index].blocks[self.played :]

    def play_step(self) -> None:
        """Play the rest of the step; after a mismatch show it, and stop at Enter."""
        for block in self.blocks_to_play():
            self.played += 1
            self.status = f"{block.pane} ..."
            self.top = line_of_block(self.lines(), self.played - 1) - 2
            self.draw()
            try:
                self.player.play(block)
            except Mismatch as mismatch:
                if self.auto:
                    raise
                self.status = f"! {mismatch}   (Enter goes on)"
                while self.read(ONE_HOUR) != "enter":
                    pass
                return

    def read_on(self) -> bool:
        """Show the next screen of the step's text; return True if there was one."""
        before = self.top
        self.top += max(self.rows - 2, 1)
        self.draw()
        return self.top > before

    def next_step(self) -> bool:
        """Go to the next step; return True if there is one."""
        if self.index + 1 == len(self.page.steps):
            return False
        self.index, self.played, self.top, self.answers = self.index + 1, 0, 0, False
        return True

    def hint(self) -> str:
        """Return the sentence that says what Enter does now."""
        typed = (block.pane for block in self.blocks_to_play() if block.kind != "text")
        if names := ", ".join(dict.fromkeys(typed)):
            return f"Enter types into {names}"
        if self.top + self.rows < len(self.lines()):
            return "Enter reads on"
        last = self.index + 1 == len(self.page.steps)
        return "The end: q leaves" if last else "Enter shows the next step"

    def pause(self, what: str) -> bool:
        """Wait a moment for the player; return True if the reader skips the wait."""
        self.status = f"waiting for {what}   (s skips)"
        return self.read(0.1) == "s"

    def read(self, seconds: float) -> str:
        """Return the next key, "" if none comes in time; obey scrolling keys. Raises Quit."""
        end = time.monotonic() + seconds
        while not self.typed:
            self.draw()
            if not self.is_watched():
                raise Quit
            remaining = end - time.monotonic()
            if select.select([sys.stdin], [], [], max(0, min(remaining, 0.5)))[0]:
                self.typed = os.read(0, 1024).decode(errors="replace") or "q"
            elif remaining <= 0:
                return ""
        size = 1
        if self.typed[0] == "\x1b":
            size = next((len(key) for key in KEYS if self.typed.startswith(key)), len(self.typed))
        key, self.typed = self.typed[:size], self.typed[size:]
        key = KEYS.get(key, key)
        if key == "q":
            raise Quit
        screen = max(self.rows - 2, 1)
        self.top += {"down": 1, "up": -1, "next": screen, "before": -screen}.get(key, 0)
        if key == "a":
            self.answers = not self.answers
            answer = line_of_answer(self.lines(), self.top)
            if answer is not None and answer > self.top + self.rows // 2:
                self.top = answer
        self.draw()
        return key

    def lines(self) -> list[str]:
        """Return the step's text, rendered for the pane's current width."""
        width = os.get_terminal_size().columns
        return render(self.page.steps[self.index].text, width, self.answers)

    def draw(self) -> None:
        """Draw the text, and below it the state and position, if anything has changed."""
        width, height = os.get_terminal_size()
        foot = self._foot(width, max(height // 2, 2))
        self.rows = max(height - len(foot), 1)
        lines = self.lines()
        self.top = max(0, min(self.top, len(lines) - self.rows))
        text = lines[self.top : self.top + self.rows]
        below = len(lines) - self.top - self.rows
        if below > 0 and self.rows > 1:
            text[-1] = f"\x1b[2m({below + 1} more lines: Space)\x1b[0m"
        text += [""] * (self.rows - len(text))
        screen = "\r\n".join(
            [f"{line}\x1b[0m\x1b[K" for line in text]
            + [f"\x1b[7m{line.ljust(width)}\x1b[0m" for line in foot]
        )
        if screen != self.drawn:
            self.drawn = screen
            sys.stdout.write(f"\x1b[?25l\x1b[H{screen}\x1b[J")
            sys.stdout.flush()

    def _foot(self, width: int, most: int) -> list[str]:
        """Return the last lines of the pane: the state, and the position in the page."""
        place = f"{self.index}/{len(self.page.steps) - 1}  q leaves, a answers"
        lines = [self.status[at : at + width] for at in range(0, len(self.status), width)]
        return [*lines[: most - 1], place[:width]]


def present(page: Worksheet, options: argparse.Namespace) -> None:
    """Run the narrow pane of a stage; write the outcome to a file, and detach the terminal.

    The parent shows the stage and ends it; if the parent was killed, this process ends it.
    """
    server, born = Server(options.tmux, options.stage), birth(options.parent)
    folder, outcome = options.stage.parent, {"code": OK, "says": ""}

    def is_watched() -> bool:
        return alive(options.parent, born)

    try:
        with keyboard():
            Presenter(page, server.panes(), options, is_watched).run()
        outcome["says"] = f"{page.title}: played to the end, all as printed"
    except (Quit, KeyboardInterrupt):
        pass
    except Mismatch as mismatch:
        outcome = {"code": UNEXPECTED, "says": str(mismatch), "screen": mismatch.screen}
    except BaseException as error:  # otherwise the reason would vanish with the pane
        outcome = {"code": UNEXPECTED, "says": f"{type(error).__name__}: {error}"}
    (folder / OUTCOME).write_text(json.dumps(outcome))
    with contextlib.suppress(TmuxError):  # the terminal has gone
        server.cmd("detach-client", "-s", SESSION)
    while is_watched():
        time.sleep(0.2)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.suppress(TmuxError):
        server.cmd("kill-server")
    shutil.rmtree(folder, ignore_errors=True)
