"""Play the blocks of a worksheet in the panes of a stage, as labs/play.py and the tests do."""

import time
from collections.abc import Callable

from kit.worksheet.page import Block, Found, find
from kit.worksheet.panes import Pane, TmuxError, View

DEADLINE = 45  # seconds to wait for an expected text
PATIENCE = 8  # seconds for a program to end once it has printed its expected text
ECHO = 5  # seconds for a pane to show typed text
PROMPTS = {"console": ("$", ">"), "python": ("In",)}


class Mismatch(Exception):
    """Raised when a pane does not show the page's text; `screen` is the text it shows."""

    def __init__(self, block: Block, offset: int, expected: str, seen: str, screen: str) -> None:
        super().__init__(f"{block.place(offset)}: {block.pane}: expected {expected}, seen: {seen}")
        self.block, self.offset, self.screen = block, offset, screen


class Player:
    """Plays blocks one after another; text from before a pane's last input does not count.

    While it waits, it calls `pause` with the name of the event; True ends the wait.
    """

    def __init__(
        self,
        panes: dict[str, Pane],
        *,
        deadline: float = DEADLINE,
        pause: Callable[[str], bool | None] = lambda what: time.sleep(0.1),
    ) -> None:
        self.panes, self.deadline, self.pause = panes, deadline, pause
        self._start = dict.fromkeys(panes, 0)  # where in a pane's lines the next text may begin
        self._met: set[str] = set()  # panes whose expected text came after the last input
        self._reads: set[str] = set()  # panes in which a program reads the input

    def play(self, block: Block) -> None:
        """Type, press or expect the lines of a block. Raises Mismatch."""
        try:
            {"text": self.expect, "keys": self.press}.get(block.kind, self.type)(block)
        except TmuxError as error:
            raise Mismatch(block, 0, "a shell", str(error), "") from None

    def press(self, block: Block) -> None:
        """Press the keys of a block."""
        pane = self.panes[block.pane]
        self._begin(block.pane, pane.look(), below=0)  # ^C appears in the cursor's line
        for line in block.lines:
            pane.press(*line.split())

    def type(self, block: Block) -> None:
        """Type the lines of a block: each into the shell, or all as one cell into ipython."""
        texts = list(enumerate(block.lines))
        if block.kind == "python":
            texts = [(0, _cell(block.lines))]
        else:
            texts = [(offset, text) for offset, text in texts if text.strip()]
        pane, begin = self.panes[block.pane], None
        for offset, text in texts:
            self._wait_for_prompt(block, offset)
            pane.paste(text) if "\n" in text else pane.type(text)
            self._wait_for_echo(pane, text)
            begin = begin or pane.look()
            pane.press("Enter")
        self._begin(block.pane, begin, below=1)

    def expect(self, block: Block) -> None:
        """Wait until the lines of a block have appeared in their pane."""
        pane, end = self.panes[block.pane], time.monotonic() + self.deadline
        while True:
            in_time = time.monotonic() < end
            view, start = pane.look(), self._start[block.pane]
            if view.full_screen:  # the text may be anywhere, and may have been there before
                start = view.top
            seen = view.lines[start : view.cursor + 1]
            found = find(block.lines, seen)
            if isinstance(found, Found):
                if not view.full_screen:
                    self._start[block.pane] = start + found.end
                self._met.add(block.pane)
                return
            if not in_time or self.pause(f"{block.pane}: {found.expected}"):
                what = "nothing" if found.seen is None else repr(found.seen)
                raise Mismatch(block, found.offset, repr(found.expected), what, "\n".join(seen))

    def _begin(self, name: str, view: View, below: int) -> None:
        """Note where in a pane the next text may begin: `below` lines under the cursor.

        A full-screen program hides the earlier text, so then it may begin anywhere in the pane.
        """
        self._start[name] = view.top if view.full_screen else view.cursor + below
        self._met.discard(name)

    def _wait_for_prompt(self, block: Block, offset: int) -> None:
        """Wait until the pane shows a prompt, or runs a program that reads the line."""
        pane, began = self.panes[block.pane], time.monotonic()
        shell = block.kind == "console"
        while (view := pane.look()).prompt not in PROMPTS[block.kind]:
            waited = time.monotonic() - began
            # A program is known to read here, so the line is typed into it.
            if shell and block.pane in self._reads:
                return
            if shell and block.pane in self._met and not view.prompt and waited > PATIENCE:
                self._reads.add(block.pane)
                return
            if waited > self.deadline or self.pause(f"{block.pane}: a prompt"):
                prompt = "the prompt In [n]:" if not shell else "the prompt $"
                last = view.lines[view.cursor] or (view.lines[: view.cursor] or [""])[-1]
                text = "\n".join(view.lines[self._start[block.pane] : view.cursor + 1])
                raise Mismatch(block, offset, f"{prompt} to type at", repr(last), text)
        self._reads.discard(block.pane)

    def _wait_for_echo(self, pane: Pane, text: str) -> None:
        """Wait until the typed text stands before the cursor, but only ECHO s: it may be hidden."""
        tail = "".join(text.rstrip().splitlines()[-1].split())[-12:]
        if text.endswith("\n"):  # then ipython's prompt for another line comes last
            tail += "...:"
        end = time.monotonic() + ECHO
        while time.monotonic() < end:
            view = pane.look()
            lines = view.lines[max(view.cursor - 20, 0) : view.cursor + 1]
            if "".join("".join(lines).split()).endswith(tail):
                return
            time.sleep(0.02)


def _cell(lines: tuple[str, ...]) -> str:
    """Return the lines as one cell; an empty line ends an indented block."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    text = "\n".join(lines)
    return text + "\n" if lines[-1][:1].isspace() else text
