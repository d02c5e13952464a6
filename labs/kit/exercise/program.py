"""Run the student's program, and explain in a sentence when it misbehaves."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

from kit.cli.program import Line, Script

PATIENCE = 10  # seconds to wait for an event that takes a correct program a fraction of one
MOST_LINES = 3000  # more than any exercise prints: beyond this the program is in a loop


class Mistake(AssertionError):
    """Raised with the sentence that tells the student what is wrong."""


class Program(Script):
    """A running program of the student."""

    def __init__(self, path: Path, arguments: tuple, environment: dict[str, str]) -> None:
        self.path = path
        command = [sys.executable, str(path), *map(str, arguments)]
        options = {"most_lines": MOST_LINES, "own_session": True}
        super().__init__(command, environment, cwd=path.parent, **options)

    def wait_for(
        self,
        part: str,
        mistake: str,
        *,
        count: int = 1,
        within: float = PATIENCE,
        if_it_ends: str = "",
    ) -> Line:
        """Wait until `count` lines contain `part`. Raises Mistake."""
        try:
            return super().wait_for(part, count, within)
        except AssertionError:
            raise Mistake(self.what_happened(mistake, if_it_ends)) from None

    def wait(self, mistake: str, within: float = PATIENCE) -> int:
        """Wait for the program to end; return its exit code. Raises Mistake if it does not."""
        try:
            return super().wait(within)
        except AssertionError:
            raise Mistake(self.what_happened(mistake)) from None

    def end(self) -> None:
        """Kill the program if it is running, and wait until it has ended."""
        self.kill()
        super().wait()

    def what_happened(self, mistake: str = "", if_it_ends: str = "") -> str:
        """Return the sentence for a failure; a crash explains more than `mistake`."""
        if self.floods():
            return "Your program prints without end: it is in a loop that never waits."
        if crash := self.crash():
            if "transient_nonexcl" in crash:  # RabbitMQ 4.3 and later, unless permitted
                return "Your queue is not durable, and this broker takes no others: durable=True."
            return f"{if_it_ends} ({crash}.)" if if_it_ends else f"Your program crashed: {crash}."
        if refused := re.search(r"^\S+: error: (.+)", self.text("stderr"), re.MULTILINE):
            return f"Your program refused its options: {refused[1]}."
        if self.has_ended() and mistake:
            return if_it_ends or f"{mistake} (Your program had ended by then.)"
        return mistake

    def crash(self) -> str:
        """Return the line and the error of the program's crash, or "" if it did not crash."""
        if self.has_ended():  # its output is closed, so it is about to exit
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        text = self.text("stderr")
        if (self.process.poll() or 0) <= 0 or '  File "' not in text:
            return ""
        last = text[text.rindex('  File "') :].splitlines()
        error = next((line for line in last if not line.startswith(" ")), "no reason given")
        error = re.sub(r"^[\w.]+\.(?=[A-Z])", "", error).rstrip(".")  # without its module
        if len(error) > 160:
            error = f"{error[:160]}..."
        lines = re.findall(rf'File "{re.escape(str(self.path))}", line (\d+)', text)
        return f"line {lines[-1]} of {self.path.name}, {error}" if lines else error
