"""The messages of a room, and how to show them safely."""

import json
import re
import time
import unicodedata
import uuid
from dataclasses import dataclass, field

SAID, JOINED, LEFT = "said", "joined", "left"  # these are kept in the room's history
MARK = "mark"  # kept too: a silent listener's bookmark; what comes before it is old
HERE = "here"  # not kept: "I am still here"
KINDS = {SAID, JOINED, LEFT, MARK, HERE}

LONGEST_TEXT, LONGEST_NAME = 2000, 30  # characters
JOINERS = "\u200c\u200d"  # invisible, but needed in some scripts and in emoji of several parts


def new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Message:
    """One message; `who` is the program that sent it, because two people may have the same name.

    `proven` is not sent: it is True if the broker has checked the sender's name.
    """

    kind: str
    name: str
    text: str = ""
    who: str = ""
    time: float = field(default_factory=time.time)  # seconds since 1970, by the sender's clock
    id: str = field(default_factory=new_id)
    proven: bool = False

    @property
    def shown_name(self) -> str:
        """The name, with a ~ before it if nobody has checked it."""
        return self.name if self.proven else f"~{self.name}"

    def to_bytes(self) -> bytes:
        """Return the message as it travels: JSON."""
        parts = "kind", "name", "text", "who", "time", "id"
        return json.dumps({part: getattr(self, part) for part in parts}).encode()


def from_bytes(body: bytes, login: str | None = None, place: str = "") -> Message:
    """Parse a body and make the message harmless: anybody can send anything.

    `login` is the sender, as the broker has checked it. A body that is not JSON becomes the text;
    its id is `place`, which must be the same at every delivery.
    """
    try:
        sent = json.loads(body)
        if sent["kind"] not in KINDS:
            raise ValueError("a kind of message that is newer than this program")
        when = float(sent["time"])
        time.localtime(when)  # raises if it is not a time
        return Message(
            kind=sent["kind"],
            name=harmless(str(sent["name"]).strip(), LONGEST_NAME) or "?",
            text=harmless(str(sent["text"]), LONGEST_TEXT),
            who=str(sent["who"])[:40],
            time=when,
            id=str(sent["id"])[:40],
            proven=sent["name"] == login,
        )
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        text = body[: 4 * LONGEST_TEXT].decode(errors="backslashreplace")
        return Message(SAID, "?", harmless(text, LONGEST_TEXT), id=place or new_id())


def harmless(text: str, most: int) -> str:
    r"""Escape characters (as \x1b) that would move the cursor or hide letters; shorten the text."""
    safe = "".join(map(_visible, text[:most]))
    return safe if len(text) <= most else f"{safe} ... ({len(text) - most} more characters)"


def _visible(character: str) -> str:
    if character.isprintable() or character in JOINERS:
        return character
    if unicodedata.category(character) == "Zs":  # French puts such a space before "?"
        return " "
    return character.encode("unicode_escape").decode()


def checked_name(text: str) -> str:
    """Return a valid name for a person. Raises ValueError with the reason."""
    name = text.strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} characters")
    if harmless(name, LONGEST_NAME) != name or set("~:,") & set(name):
        raise ValueError("a name has no control characters, and no ~ : or ,")
    return name


def checked_room(text: str) -> str:
    """Return a valid name of a room. Raises ValueError with the reason."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text):  # dots separate parts of our names
        raise ValueError("a room's name has 1 to 40 letters a to z, digits, - and _")
    return text
