"""Play the blocks of a worksheet in the panes of a stage, as labs/play.py and the tests do."""

import time
from collections.abc import Callable

from kit.worksheet.page import Block, Found, find
from kit.worksheet.panes import Pane, TmuxError, View

DEADLINE = 45  # seconds until a text that has not come counts as missing
PATIENCE = 8  # seconds for a program to end once it has printed what was expected
ECHO = 5  # seconds for a pane to show what is typed
PROMPTS = {"console": ("$", ">"), "python": ("In",)}


class Mismatch(Exception):
    """Raised when a pane shows something else than the page; `screen` is all that it shows."""

    def __init__(self, block: Block, offset: int, expected: str, seen: str, screen: str) -> None:
        super().__init__(f"{block.place(offset)}: {block.pane}: expected {expected}, seen: {seen}")
        self.block, self.offset, self.screen = block, offset, screen


class Player:
    """Plays blocks one after the other; what a pane showed before the last typing does not count.

    `pause` is called while it waits, with what it waits for; it returns True to wait no longer.
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
        self._met: set[str] = set()  # panes whose expected text came, with nothing typed since
        self._reads: set[str] = set()  # panes in which a program reads what is typed

    def play(self, block: Block) -> None:
        """Type, press or expect what a block says. Raises Mismatch."""
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
            if view.full_screen:  # what is expected may be anywhere, and may have been there before
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
        """Note where in a pane the next text may begin: so many lines below the cursor.

        A program that has the whole pane hides what was there before: then it is the whole pane.
        """
        self._start[name] = view.top if view.full_screen else view.cursor + below
        self._met.discard(name)

    def _wait_for_prompt(self, block: Block, offset: int) -> None:
        """Wait until the pane is ready for the line: its prompt, or a program that reads."""
        pane, began = self.panes[block.pane], time.monotonic()
        shell = block.kind == "console"
        while (view := pane.look()).prompt not in PROMPTS[block.kind]:
            waited = time.monotonic() - began
            # The page has shown that a program is there: this line is typed into it.
            if shell and block.pane in self._reads:
                return
            if shell and block.pane in self._met and not view.prompt and waited > PATIENCE:
                self._reads.add(block.pane)
                return
            if waited > self.deadline or self.pause(f"{block.pane}: a prompt"):
                prompt = "the prompt In [n]:" if not shell else "the prompt $"
                last = view.lines[view.cursor] or (view.lines[: view.cursor] or [""])[-1]
                text = "\n".join(view.lines[self._start[block.pane] : view.cursor + 1])
                raise Mismatch(block, offset, f"{prompt} to type behind", repr(last), text)
        self._reads.discard(block.pane)

    def _wait_for_echo(self, pane: Pane, text: str) -> None:
        """Wait until what was typed stands before the cursor, if it is shown at all."""
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
    """Return the lines as one cell; an empty line ends a block that is indented."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    text = "\n".join(lines)
    return text + "\n" if lines[-1][:1].isspace() else text
