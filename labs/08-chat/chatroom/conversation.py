"""What there is to show of a room: what was said, who is here, and the state of the line."""

import collections
import time
import zlib
from dataclasses import dataclass, field

from rich.text import Text

from chatroom.message import HERE, JOINED, LEFT, SAID, Message
from chatroom.room import BEAT, Back, Entered, Heard, Lost

SILENT = 3 * BEAT  # seconds after which somebody is gone who did not say so
SHOWN = 500  # lines
COLOURS = "cyan green yellow magenta blue bright_red bright_cyan bright_green".split()


@dataclass(frozen=True)
class Said:
    """A line that somebody said."""

    message: Message

    @property
    def when(self) -> str:
        """The time of day, here."""
        return time.strftime("%H:%M", time.localtime(self.message.time))

    def plain(self) -> str:
        """Return the line for a program that only prints."""
        return f" [x] {self.when} {self.message.shown_name}: {self.message.text}"

    def words(self) -> Text:
        """Return the name, in a colour that is always the same for it, and the text."""
        name = self.message.shown_name
        return Text.assemble((name, f"bold {colour(name)}"), ": ", self.message.text)


@dataclass(frozen=True)
class Notice:
    """A line about the room; `trouble` if it is about the connection."""

    text: str
    trouble: bool = False
    time: float = field(default_factory=time.time)

    @property
    def when(self) -> str:
        """The time of day, here."""
        return time.strftime("%H:%M", time.localtime(self.time))

    def plain(self) -> str:
        """Return the line for a program that only prints."""
        return f" [{'!' if self.trouble else '*'}] {self.text}"

    def words(self) -> Text:
        """Return the text in a colour."""
        return Text(self.text, "red" if self.trouble else "dim")


@dataclass
class Person:
    """Somebody who is here, and when we last heard of them."""

    name: str
    heard: float


def colour(name: str) -> str:
    """Return the colour of a name: the same on every screen, today and tomorrow."""
    return COLOURS[zlib.crc32(name.encode(errors="replace")) % len(COLOURS)]


class Conversation:
    """Takes the events of a room and keeps what follows from them."""

    def __init__(self) -> None:
        self.lines: collections.deque[Said | Notice] = collections.deque(maxlen=SHOWN)
        self.people: dict[str, Person] = {}
        self.away = ""  # why there is no connection

    def take(self, event: object) -> list[Said | Notice]:
        """Take in an event; return the lines that it brings."""
        lines: list[Said | Notice] = []
        if isinstance(event, Entered):
            lines = [Said(message) for message in event.old]
        elif isinstance(event, Heard):
            lines = self._heard(event.message)
        elif isinstance(event, Lost):
            if not self.away:
                lines = [Notice(f"Lost the connection ({event.why}); coming back", trouble=True)]
            self.away = event.why
        elif isinstance(event, Back):
            self.away = ""
            for person in self.people.values():  # they had no chance to be heard
                person.heard = time.monotonic()
            lines = [Notice("Connected again")]
        self.lines.extend(lines)
        return lines

    def names(self) -> list[str]:
        """Return the names of those who are here."""
        return sorted(person.name for person in self.people.values())

    def miss(self) -> list[Said | Notice]:
        """Take those off the list who have been silent for long; return the lines that it brings.

        Nobody is missed while we are away ourselves.
        """
        too_long = time.monotonic() - SILENT
        gone = [who for who, one in self.people.items() if one.heard < too_long and not self.away]
        lines = [Notice(f"{self.people.pop(who).name} is gone without a word") for who in gone]
        self.lines.extend(lines)
        return lines

    def _heard(self, message: Message) -> list[Said | Notice]:
        if message.kind == SAID:
            return [Said(message)]
        if message.kind == LEFT:
            self.people.pop(message.who, None)
            return [Notice(f"{message.shown_name} left", time=message.time)]
        if message.kind in (JOINED, HERE):
            self.people[message.who] = Person(message.shown_name, time.monotonic())
        if message.kind == JOINED:
            return [Notice(f"{message.shown_name} joined", time=message.time)]
        return []
