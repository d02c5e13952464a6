"""What a room shows: what was said, who is here, and the state of the connection."""

import collections
import itertools
import time
from dataclasses import dataclass, field

from rich.text import Text

from chatroom.message import HERE, JOINED, LEFT, SAID, Message
from chatroom.room import BEAT, Back, Entered, Heard, Lost

SILENT = 3 * BEAT  # seconds of silence after which somebody counts as gone
KEPT_LINES = 500
COLOURS = "cyan green yellow magenta blue bright_red bright_cyan bright_green".split()


@dataclass(frozen=True)
class Said:
    """A line that somebody said, in the colour of their name."""

    message: Message
    colour: str

    @property
    def when(self) -> str:
        """The local time of day."""
        return time.strftime("%H:%M", time.localtime(self.message.time))

    def plain(self) -> str:
        """Return the line without colours."""
        return f" [x] {self.when} {self.message.shown_name}: {self.message.text}"

    def words(self) -> Text:
        """Return the name, in its colour, and the text."""
        name = self.message.shown_name
        return Text.assemble((name, f"bold {self.colour}"), ": ", self.message.text)


@dataclass(frozen=True)
class Notice:
    """A line about the room; `trouble` if it is about the connection."""

    text: str
    trouble: bool = False
    time: float = field(default_factory=time.time)

    @property
    def when(self) -> str:
        """The local time of day."""
        return time.strftime("%H:%M", time.localtime(self.time))

    def plain(self) -> str:
        """Return the line without colours."""
        return f" [{'!' if self.trouble else '*'}] {self.text}"

    def words(self) -> Text:
        """Return the text in a colour."""
        return Text(self.text, "red" if self.trouble else "dim")


@dataclass
class Person:
    """Somebody who is here, and when we last heard of them."""

    name: str
    heard: float


class Conversation:
    """Applies the events of a room; keeps its lines, its people and the state of the connection."""

    def __init__(self) -> None:
        self.lines: collections.deque[Said | Notice] = collections.deque(maxlen=KEPT_LINES)
        self.people: dict[str, Person] = {}
        self.away = ""  # why there is no connection
        self._palette = itertools.cycle(COLOURS)
        self._colours: dict[str, str] = {}
        self._looked = time.monotonic()  # when we last looked for silent people

    def take(self, event: object) -> list[Said | Notice]:
        """Apply an event; return the new lines."""
        lines: list[Said | Notice] = []
        if isinstance(event, Entered):
            lines = [self._said(message) for message in event.old]
        elif isinstance(event, Heard):
            lines = self._heard(event.message)
        elif isinstance(event, Lost):
            if not self.away:
                lines = [Notice(f"Lost the connection ({event.why}); coming back", trouble=True)]
            self.away = event.why
        elif isinstance(event, Back):
            self.away = ""
            self._restart_silence()
            lines = [Notice("Connected again")]
        self.lines.extend(lines)
        return lines

    def names(self) -> list[str]:
        return sorted(person.name for person in self.people.values())

    def miss(self) -> list[Said | Notice]:
        """Remove those who have been silent for too long; return a line for each.

        Nobody is removed while we are disconnected, or just after we were stopped, as by Ctrl-Z.
        """
        now = time.monotonic()
        if now - self._looked > 2 * BEAT:  # the programs look at least once a beat
            self._restart_silence()
        self._looked = now
        too_long = now - SILENT
        gone = [who for who, one in self.people.items() if one.heard < too_long and not self.away]
        lines = [Notice(f"{self.people.pop(who).name} is gone without a word") for who in gone]
        self.lines.extend(lines)
        return lines

    def _restart_silence(self) -> None:
        """Count everybody's silence from now on: we could not have heard them."""
        for person in self.people.values():
            person.heard = time.monotonic()

    def _said(self, message: Message) -> Said:
        """Return the line; names get colours in order of appearance."""
        name = message.shown_name
        if name not in self._colours:
            self._colours[name] = next(self._palette)
        return Said(message, self._colours[name])

    def _heard(self, message: Message) -> list[Said | Notice]:
        if message.kind == SAID:
            return [self._said(message)]
        if message.kind == LEFT:
            self.people.pop(message.who, None)
            return [Notice(f"{message.shown_name} left", time=message.time)]
        if message.kind in (JOINED, HERE):
            self.people[message.who] = Person(message.shown_name, time.monotonic())
        if message.kind == JOINED:
            return [Notice(f"{message.shown_name} joined", time=message.time)]
        return []
