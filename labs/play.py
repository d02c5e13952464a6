#!/usr/bin/env python3
"""Play a worksheet in tmux: its panes, its text, and Enter types the commands of a step.

    labs/play.py 3                          # you press Enter, as a teacher at the projector
    labs/play.py 3 --auto                   # it goes on by itself, and waits for what must appear

It plays on the broker of AMQP_URL, or on the local one. When you leave it, nothing stays behind:
neither tmux nor a worker.
"""

import argparse
import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kit.broker.process import alive, birth
from kit.cli import Trouble, requirements, run, say

with requirements():
    from kit import amqp
    from kit.broker.lab import BROKERS, Broker
    from kit.management.counts import count
    from kit.worksheet.page import Block, Worksheet, read
    from kit.worksheet.panes import SESSION, Pane, Stage, connect, panes, tmux
    from kit.worksheet.player import DEADLINE, Player, Surprise
    from kit.worksheet.render import line_of_answer, line_of_block, render

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "play"  # the name of the narrow pane
OUTCOME = "outcome"  # the file in which it says how it ended
EPILOG = """\
examples:
  labs/play.py 3 --list                   # the steps and their panes
  labs/play.py 3 --from 4                 # plays steps 1 to 3 quickly, then waits for you
  labs/play.py 3 --auto > log.txt         # without a screen: a line for each step

keys in the narrow pane:
  Enter   type the step's commands; once they are done, read on, then show the next step
  s       wait no longer for a text that does not come
  Space b up down     read on, and back
  a       show the answers and hints of the step, or hide them
  q       leave (Ctrl-C does so too); everything that runs in the panes is stopped

Click into another pane to type there yourself, and into the narrow one to go on.

exit codes: 0 done, 1 a text did not come, 2 usage, 3 no broker, 4 broker refused, 130 Ctrl-C
"""


# ---- the page


def find_page(lab: str) -> Path:
    """Return the worksheet of a lab: its number, its name, or a path. Raises Trouble."""
    for path in (Path(lab), ROOT / "labs" / lab):
        if path.is_file():
            return path
        if (path / "README.md").is_file():
            return path / "README.md"
    every = sorted((ROOT / "labs").glob("[0-9]*/README.md"))
    numbers = {int(page.parent.name.split("-")[0]): page for page in every}
    if lab.isdigit() and int(lab) in numbers:
        return numbers[int(lab)]
    there = ", ".join(page.parent.name for page in every) or "none yet"
    raise Trouble(f"there is no lab {lab!r}", f"one of these: {there}", code=2)


def list_steps(page: Worksheet) -> None:
    """Print the steps with their numbers and panes."""
    for number, step in enumerate(page.steps):
        names = ", ".join(dict.fromkeys(block.pane for block in step.blocks))
        print(f"{number:3}  {step.title}{f'   ({names})' if names else ''}")


# ---- the narrow pane

SECONDS_TO_READ = 1  # before --auto goes on to the next step
KEYS = {
    "\r": "enter", "\n": "enter", "q": "q", "Q": "q", "\x04": "q", "a": "a", "s": "s",
    "\x1b[A": "up", "\x1bOA": "up", "k": "up", "\x1b[B": "down", "\x1bOB": "down", "j": "down",
    " ": "next", "\x1b[6~": "next", "b": "before", "\x1b[5~": "before",
}  # fmt: skip


class Quit(Exception):
    """Raised when somebody wants to leave."""


class Script:
    """The narrow pane: shows the text of a step and plays it at a key; a process of its own."""

    def __init__(
        self,
        page: Worksheet,
        stage: dict[str, Pane],
        options: argparse.Namespace,
        wanted: Callable[[], bool],
    ) -> None:
        self.page, self.wanted = page, wanted
        self.begin, self.auto = options.begin, options.auto
        self.player = Player(stage, deadline=options.wait, pause=self.pause)
        self.index, self.played, self.top, self.answers = 0, 0, 0, False
        self.status, self.typed, self.drawn, self.rows = "", "", "", 1

    def run(self) -> None:
        """Show and play until somebody leaves, or with `auto` until the end. Raises Surprise."""
        while self.index < self.begin or self.auto:
            while self.left():
                self.play_step()
            self.status = ""
            self.read(SECONDS_TO_READ if self.auto else 0)
            if not self.turn():
                return
        while True:
            self.status = self.hint()
            if self.read(3600) == "enter":
                if self.left():
                    self.play_step()
                elif not self.read_on():
                    self.turn()

    def left(self) -> list[Block]:
        """Return the blocks of the step that are still to be played."""
        return self.page.steps[self.index].blocks[self.played :]

    def play_step(self) -> None:
        """Play what is left of the step; after a surprise, which is shown, there may be a rest."""
        for block in self.left():
            self.played += 1
            self.status = f"{block.pane} ..."
            self.top = line_of_block(self.lines(), self.played - 1) - 2
            self.draw()
            try:
                self.player.play(block)
            except Surprise as surprise:
                if self.auto:
                    raise
                self.status = f"! {surprise}   (Enter goes on)"
                while self.read(3600) != "enter":
                    pass
                return

    def read_on(self) -> bool:
        """Show the next screen of the step's text; return whether there was one."""
        before = self.top
        self.top += max(self.rows - 2, 1)
        self.draw()
        return self.top > before

    def turn(self) -> bool:
        """Go to the next step; return whether there is one."""
        if self.index + 1 == len(self.page.steps):
            return False
        self.index, self.played, self.top, self.answers = self.index + 1, 0, 0, False
        return True

    def hint(self) -> str:
        """Return what Enter does now."""
        typed = (block.pane for block in self.left() if block.kind != "text")
        if names := ", ".join(dict.fromkeys(typed)):
            return f"Enter types into {names}"
        if self.top + self.rows < len(self.lines()):
            return "Enter reads on"
        last = self.index + 1 == len(self.page.steps)
        return "The end: q leaves" if last else "Enter shows the next step"

    def pause(self, what: str) -> bool:
        """Wait a little, as the player asks for; return whether to wait no longer."""
        self.status = f"waiting for {what}   (s skips)"
        return self.read(0.1) == "s"

    def read(self, seconds: float) -> str:
        """Return the next key, "" if none comes in time; scroll and leave by itself."""
        end = time.monotonic() + seconds
        while not self.typed:
            self.draw()
            if not self.wanted():
                raise Quit
            left = end - time.monotonic()
            if select.select([sys.stdin], [], [], max(0, min(left, 0.5)))[0]:
                self.typed = os.read(0, 1024).decode(errors="replace") or "q"
            elif left <= 0:
                return ""
        size = 1
        if self.typed[0] == "\x1b":
            size = next((len(key) for key in KEYS if self.typed.startswith(key)), len(self.typed))
        key, self.typed = self.typed[:size], self.typed[size:]
        key = KEYS.get(key, key)
        if key == "q":
            raise Quit
        page = max(self.rows - 2, 1)
        self.top += {"down": 1, "up": -1, "next": page, "before": -page}.get(key, 0)
        if key == "a":
            self.answers = not self.answers
            answer = line_of_answer(self.lines(), self.top)
            if answer is not None and answer > self.top + self.rows // 2:
                self.top = answer
        self.draw()
        return key

    def lines(self) -> list[str]:
        """Return the text of the step, as wide as the pane is now."""
        width = os.get_terminal_size().columns
        return render(self.page.steps[self.index].text, width, self.answers)

    def draw(self) -> None:
        """Draw the text and below it where we are, if that has changed."""
        width, height = os.get_terminal_size()
        foot = self._foot(width, max(height // 2, 2))
        self.rows = max(height - len(foot), 1)
        lines = self.lines()
        self.top = max(0, min(self.top, len(lines) - self.rows))
        shown = lines[self.top : self.top + self.rows]
        below = len(lines) - self.top - self.rows
        if below > 0 and self.rows > 1:
            shown[-1] = f"\x1b[2m({below + 1} more lines: Space)\x1b[0m"
        shown += [""] * (self.rows - len(shown))
        screen = "\r\n".join(
            [f"{line}\x1b[0m\x1b[K" for line in shown]
            + [f"\x1b[7m{line.ljust(width)}\x1b[0m" for line in foot]
        )
        if screen != self.drawn:
            self.drawn = screen
            sys.stdout.write(f"\x1b[?25l\x1b[H{screen}\x1b[J")
            sys.stdout.flush()

    def _foot(self, width: int, most: int) -> list[str]:
        """Return the last lines of the pane: the state, and how far we are."""
        place = f"{self.index}/{len(self.page.steps) - 1}  q leaves, a answers"
        state, lines = self.status, []
        while state:
            lines.append(state[:width])
            state = state[width:]
        return [*lines[: most - 1], place[:width]]


@contextlib.contextmanager
def raw_keys() -> Iterator[None]:
    """Read keys as they are pressed, without showing them."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)


def run_script(options: argparse.Namespace, page: Worksheet) -> None:
    """Be the narrow pane; write the outcome down, and let the terminal go in the end."""
    socket = Path(options.stage)
    server = connect(Path(options.tmux), socket)
    parent = options.parent, birth(options.parent)
    outcome = {"code": 0, "said": ""}
    try:
        with raw_keys():
            Script(page, panes(server), options, lambda: alive(*parent)).run()
        outcome["said"] = f"{page.title}: played to the end, all as it is printed"
    except (Quit, KeyboardInterrupt):
        pass
    except Surprise as surprise:
        outcome = {"code": 1, "said": str(surprise), "screen": surprise.screen}
    except BaseException as error:  # the pane would vanish with the reason
        outcome = {"code": 1, "said": f"{type(error).__name__}: {error}"}
    (socket.parent / OUTCOME).write_text(json.dumps(outcome))
    server.cmd("detach-client", "-s", SESSION)
    while alive(*parent):  # it ends us with all the rest; if it was killed, that is for us to do
        time.sleep(0.2)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server.cmd("kill-server")
    shutil.rmtree(socket.parent, ignore_errors=True)


# ---- the whole


def environment(page: Worksheet) -> dict[str, str]:
    """Return what the panes need to reach the broker, having looked at it. Raises Trouble."""
    found, url = dict(os.environ), None
    if not found.get("AMQP_URL"):
        port = Broker("lab").port
        if port != 5672:
            found["AMQP_URL"] = url = f"amqp://localhost:{port}"
    try:
        connection = amqp.Broker(url=url, retry_for=0).connect()
    except amqp.BrokerError as error:
        hint = "labs/broker.py up" if error.code == amqp.UNREACHABLE else error.hint
        raise Trouble(str(error), hint, code=error.code) from None
    left = [queue for queue in sorted(page.queues) if count(connection, queue)]
    connection.close()
    if left:
        names = " ".join(left)
        what = f"the page begins without its queues, and there is still: {names}"
        raise Trouble(what, f"labs/queues.py --delete {names}", code=1)
    here = Path(sys.executable).parent
    found["PATH"] = f"{here}{os.pathsep}{found.get('PATH', os.defpath)}"
    if sys.prefix != sys.base_prefix:
        found["VIRTUAL_ENV"] = sys.prefix
    return found


def see_that_the_broker_is_ours(environment: dict[str, str]) -> None:
    """See that labs/broker.py, as the page calls it, is about the broker of the panes."""
    broker = Broker("lab")
    url = environment.get("AMQP_URL", "amqp://localhost")
    if broker.way() in (None, "existing") or amqp.Broker(url=url).parameters[0].port != broker.port:
        raise Trouble(
            "this lab stops and starts its broker, and the one in reach is not ours to stop",
            "labs/broker.py up, without AMQP_URL; or by hand, as the box at the page's top says",
            code=3,
        )


def play_unseen(page: Worksheet, stage: Stage, wait: float) -> int:
    """Play to the end without a screen, a line for each step; return the exit code."""
    player = Player(stage.panes, deadline=wait)
    for number, step in enumerate(page.steps):
        say("*", f"{number}/{len(page.steps) - 1} {step.title}")
        for block in step.blocks:
            try:
                player.play(block)
            except Surprise as surprise:
                say("!", str(surprise))
                print(surprise.screen, file=sys.stderr)
                return 1
    say("*", "Played to the end, all as it is printed")
    return 0


def play_seen(page: Worksheet, stage: Stage, options: argparse.Namespace) -> int:
    """Show the stage on this terminal until somebody leaves; return the exit code."""
    narrow = max(32, min(50, os.get_terminal_size().columns * 2 // 5))
    script = [sys.executable, __file__, page.file, "--from", options.begin, "--wait", options.wait]
    script += ["--auto"] if options.auto else []
    script += ["--stage", stage.socket, "--tmux", stage.program, "--parent", os.getpid()]
    stage.show(SCRIPT, "exec " + shlex.join(map(str, script)), narrow)
    stage.attach()
    try:
        outcome = json.loads((stage.folder / OUTCOME).read_text())
    except OSError:  # detached, or the window was closed
        return 0
    if outcome["code"]:
        say("!", outcome["said"])
        print(outcome.get("screen", ""), file=sys.stderr)
    elif outcome["said"]:
        say("*", outcome["said"])
    return outcome["code"]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = amqp.Parser(
        description=__doc__.splitlines()[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("lab", metavar="LAB", help="its number, or the path of a worksheet")
    add("--auto", action="store_true", help="go on by itself; stop at a text that does not come")
    add("--list", action="store_true", help="list the steps, play nothing")
    add("--from", dest="begin", type=amqp.number(int, 0), default=0, metavar="STEP",
        help="play the steps before this one by itself (numbers: --list)")  # fmt: skip
    add("--wait", type=amqp.number(float, 0), default=DEADLINE, metavar="SECONDS",
        help="for a text to appear (default: %(default)s)")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="show tracebacks")
    for name in ("--stage", "--tmux"):  # how play.py starts itself in the narrow pane
        add(name, help=argparse.SUPPRESS)
    add("--parent", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def play(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit code. Raises Trouble."""
    page = read(find_page(options.lab))
    if options.stage:
        run_script(options, page)
        return 0
    if options.list:
        list_steps(page)
        return 0
    if options.begin >= len(page.steps):
        raise Trouble(f"there is no step {options.begin}", "--list shows them", code=2)
    seen = sys.stdin.isatty() and sys.stdout.isatty()
    if not seen and not options.auto:
        raise Trouble("a terminal is needed to press Enter at", "--auto, or --list", code=2)
    panes_environment = environment(page)
    if page.breaks_the_broker:
        see_that_the_broker_is_ours(panes_environment)
    program = tmux(BROKERS / "unpacked")
    size = tuple(os.get_terminal_size()) if seen else (120, 0)
    if seen and (size[0] < 64 or size[1] < 12):
        raise Trouble(f"{size[0]}x{size[1]} is too small to see anything", "80x24 or more", code=2)
    with Stage(program, page.panes, panes_environment, cwd=ROOT, size=size) as stage:
        if not seen:
            return play_unseen(page, stage, options.wait)
        return play_seen(page, stage, options)


def main(options: argparse.Namespace) -> int:
    """Play the worksheet; return the exit code."""
    if not options.stage:
        for number in (signal.SIGTERM, signal.SIGHUP):  # the stage is closed on the way out
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    return play(options)


if __name__ == "__main__":
    run(main, parse())
