"""The input line: keys come in as bytes, a text comes out.

prompt_toolkit, which comes with ipython, knows the key codes of all terminals.
"""

import codecs
import unicodedata
from collections.abc import Callable

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys
from rich.cells import cell_len

from chatroom.message import JOINERS, LONGEST_TEXT, harmless


class Line:
    """The line at the bottom; `say` is called with what was typed when Enter is pressed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.wants_to_leave = False
        self._buffer = Buffer(multiline=False)
        self._parser = Vt100Parser(self._press)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        buffer = self._buffer
        self._actions: dict[str, Callable[[], object]] = {
            Keys.ControlM: self._enter,
            Keys.ControlJ: self._enter,
            Keys.ControlH: self._rub_out,
            Keys.ControlU: lambda: buffer.delete_before_cursor(buffer.cursor_position),
            Keys.ControlD: self._delete_or_leave,
            Keys.Delete: lambda: buffer.delete(),
            Keys.Left: lambda: buffer.cursor_left(),
            Keys.Right: lambda: buffer.cursor_right(),
            Keys.Home: lambda: self._go_to(0),
            Keys.ControlA: lambda: self._go_to(0),
            Keys.End: lambda: self._go_to(len(buffer.text)),
            Keys.ControlE: lambda: self._go_to(len(buffer.text)),
        }

    def feed(self, typed: bytes) -> None:
        """Take bytes from the keyboard; b"" means that it was idle for a while."""
        if typed:
            self._parser.feed(self._decoder.decode(typed))
        else:
            self._parser.flush()  # a lone Escape does not begin an arrow key

    def visible(self, width: int) -> tuple[str, str]:
        """Return the text before the cursor and the text after it, as much as fits."""
        at = self._buffer.cursor_position
        before, after = self._buffer.text[:at], self._buffer.text[at:]
        before = _fitting(before[::-1], width - 1)[::-1]
        return before, _fitting(after, width - 1 - cell_len(before))

    def _press(self, key: KeyPress) -> None:
        if action := self._actions.get(key.key):
            action()
        elif key.key == Keys.BracketedPaste:
            self._insert(" ".join(key.data.split()))
        elif not isinstance(key.key, Keys):  # a letter
            self._insert(key.data)

    def _insert(self, text: str) -> None:
        room = LONGEST_TEXT - len(self._buffer.text)
        self._buffer.insert_text(harmless(text[:room], LONGEST_TEXT)[:room])

    def _enter(self) -> None:
        text = self._buffer.text.strip()
        self._buffer.reset()
        if text:
            self.say(text)

    def _rub_out(self) -> None:
        before = self._buffer.text[: self._buffer.cursor_position]
        self._buffer.delete_before_cursor(_last_letter(before))

    def _delete_or_leave(self) -> None:
        if self._buffer.text:
            self._buffer.delete()
        else:
            self.wants_to_leave = True

    def _go_to(self, position: int) -> None:
        self._buffer.cursor_position = position


def _fitting(text: str, width: int) -> str:
    """Return as much of the beginning of a text as fits into `width` cells."""
    taken = 0
    for count, letter in enumerate(text):
        taken += cell_len(letter)
        if taken > width:
            return text[:count]
    return text


def _last_letter(text: str) -> int:
    """Return how many characters the last visible letter has."""
    count = 1
    while count < len(text) and (_combines(text[-count]) or text[-count - 1] in JOINERS):
        count += 1
    return count


def _combines(character: str) -> bool:
    """Return True if a character is drawn onto the one before it: an accent, a skin tone."""
    is_tone = "\U0001f3fb" <= character <= "\U0001f3ff"
    return is_tone or character in JOINERS or unicodedata.category(character) in ("Mn", "Me")
