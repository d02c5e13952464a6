"""The screen of chat.py: who is here, what was said, and the input line.

Only the main thread draws it and reads the keys, so incoming messages cannot garble the line.
"""

import errno
import os
import queue
import signal
import sys

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from chatroom.alarm import REDRAW, Alarm
from chatroom.conversation import Conversation, Notice, Said
from chatroom.line import Line
from chatroom.room import Ended, Room
from kit.cli.terminal import keyboard

PROMPT = "> "
HELP = "Enter says it, Ctrl-C leaves"
ERASE_ROW = Control((ControlType.ERASE_IN_LINE, 2))
# rich cannot send these. They turn line wrapping off, so that a letter wider than we think does not
# push the lines below, and bracketed paste on, so that a pasted line end is not the Enter key.
BEGIN, END = "\x1b[?7l\x1b[?2004h", "\x1b[?2004l\x1b[?7h"


def fall_silent() -> None:
    """Discard all output from now on: the terminal is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


class Screen:
    """Shows a conversation and lets the person take part in it until they leave."""

    def __init__(
        self,
        title: str,
        room: Room,
        conversation: Conversation,
        events: queue.SimpleQueue,
        alarm: Alarm,
    ) -> None:
        self.title, self.room, self.conversation = title, room, conversation
        self.events, self.alarm = events, alarm
        self.line = Line(room.say)
        self.console = Console(highlight=False)
        self.over = False
        self.error: BaseException | None = None

    def wait_for_first_event(self) -> object:
        """Wait until we have joined, failed to join, or are stopped; return the event."""
        while self.events.empty() and not self.alarm.stopped:
            self.alarm.wait(REDRAW)
        if self.events.empty():
            return Ended(None)
        event = self.events.get()
        self._take(event)
        return event

    def show(self) -> None:
        """Show the screen until the person leaves; pause at Ctrl-Z."""
        self.alarm.catch_terminal()
        try:
            while not self._is_over():
                self._show_once()
                if self.alarm.suspended:
                    self.alarm.suspended = False
                    os.kill(os.getpid(), signal.SIGSTOP)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            fall_silent()

    def _is_over(self) -> bool:
        return self.over or self.alarm.stopped or self.line.wants_to_leave

    def _show_once(self) -> None:
        out = self.console.file
        with keyboard() as keys, self.console.screen(hide_cursor=False):
            try:
                out.write(BEGIN)
                self._show_and_read(keys)
            finally:
                out.write(END)
                out.flush()

    def _show_and_read(self, keys: int) -> None:
        before = None
        while not self._is_over() and not self.alarm.suspended:
            while not self.events.empty():
                self._take(self.events.get())
            self.conversation.miss()
            now = self.console.size, self.rows(*self.console.size), self._typed()
            if now != before:
                self._draw(now[1], *now[2])
                before = now
            typed = self.alarm.wait(REDRAW, keys)
            if typed is None:
                fall_silent()
                self.over = True
            else:
                self.line.feed(typed)

    def _take(self, event: object) -> None:
        if isinstance(event, Ended):
            self.over, self.error = True, event.error
        self.conversation.take(event)

    # ---- layout

    def rows(self, width: int, height: int) -> list[Text]:
        """Return all rows but the last, which is the input line."""
        room_for = max(height - 3, 0)
        said: list[Text] = []
        for line in reversed(self.conversation.lines):
            said = self._wrapped(line, width) + said
            if len(said) >= room_for:
                break
        said = said[len(said) - room_for :] if len(said) > room_for else said
        empty = [Text()] * (room_for - len(said))
        rows = [self._header(width), *empty, *said, self._footer()]
        for row in rows:
            row.truncate(width, overflow="ellipsis")
        return rows[-(height - 1) :] if height > 1 else []

    def _header(self, width: int) -> Text:
        names = self.conversation.names()
        header = Text(f" {self.title}, {len(names)} here: {', '.join(names)}", "reverse")
        header.truncate(width, overflow="ellipsis", pad=True)
        return header

    def _footer(self) -> Text:
        waiting = len(self.room.unsent)
        if self.conversation.away:
            kept = f"; {waiting} to say then" if waiting else ""
            return Text(f"No connection, coming back{kept} ({self.conversation.away})", "red")
        return Text(f"{waiting} on the way" if waiting else HELP, "dim")

    def _wrapped(self, line: Said | Notice, width: int) -> list[Text]:
        """Return a line as rows: the time once, the words beside it."""
        when = f"{line.when} "
        beside = max(width - len(when), 10)
        rows = line.words().wrap(self.console, beside)
        return [Text(when if not n else " " * len(when), "dim") + row for n, row in enumerate(rows)]

    def _typed(self) -> tuple[str, str]:
        return self.line.visible(self.console.width - len(PROMPT))

    def _draw(self, rows: list[Text], before: str, after: str) -> None:
        """Draw the whole screen at once; leave the cursor in the input line."""
        bottom = len(rows)
        with self.console as console:
            console.control(Control.show_cursor(False))
            for y, row in enumerate([*rows, Text(f"{PROMPT}{before}{after}")]):
                console.control(Control.move_to(0, y), ERASE_ROW)
                console.print(row, end="", no_wrap=True, overflow="ignore", crop=False)
            # Print once more up to the cursor: only the terminal knows how wide its letters are.
            console.control(Control.move_to(0, bottom))
            console.print(Text(f"{PROMPT}{before}"), end="", no_wrap=True, overflow="ignore")
            console.control(Control.show_cursor(True))
