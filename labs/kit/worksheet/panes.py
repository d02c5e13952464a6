"""Named panes in a private tmux server: type into them, and read the text they show.

    with Stage(tmux(cache), ["worker-1", "sender"], environment, cwd=ROOT) as stage:
        stage.panes["sender"].type("./producer.py --queue hello aaa")
        stage.panes["sender"].press("Enter")
        stage.panes["sender"].look().lines

The server has its own settings and its own socket, apart from the user's tmux and other stages.
Closing the stage ends the server and every process that was started in its panes.
"""

import contextlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.broker.debian import unpack
from kit.broker.process import alive, birth, descendants, send
from kit.cli import Trouble, wait_until

OLDEST = (3, 2)  # the first tmux with every feature we use
SESSION = "lab"
SETTINGS = Path(__file__).with_name("tmux.conf")

# With these variables panes would differ from one machine to the next.
DROPPED_VARIABLES = (
    "TMUX TMUX_PANE COLUMNS LINES PROMPT_COMMAND PS0 PS2 BASH_ENV ENV PYTHONSTARTUP PYTHONINSPECT"
    " IPYTHONDIR MANPATH LC_ALL"
).split()

# ipython's defaults, but without text that varies (banner, tips), without history, and without
# screen contents that are not output (empty lines kept for a menu, grey suggestions).
IPYTHON = """\
c = get_config()
c.TerminalIPythonApp.display_banner = False
c.HistoryManager.hist_file = ":memory:"
c.TerminalInteractiveShell.space_for_menu = 0
c.TerminalInteractiveShell.autosuggestions_provider = None
"""


def installed() -> Path | None:
    """Return this machine's tmux, or None if there is none or it is too old."""
    program = shutil.which("tmux")
    return Path(program) if program and _version(program) >= OLDEST else None


def tmux(cache: Path) -> Path:
    """Return this machine's tmux, or else one unpacked into `cache`. Raises Trouble."""
    if program := installed():
        return program
    try:
        return unpack(["tmux"], cache / "tmux") / "usr/bin/tmux"
    except Trouble as trouble:
        how = "brew" if platform.system() == "Darwin" else "sudo apt"
        hint = (
            trouble.hint or f"{how} install tmux   (or your package manager's way), then try again"
        )
        raise Trouble(f"there is no tmux here: {trouble}", hint, code=1) from None


def _version(program: str) -> tuple[int, ...]:
    """Return a tmux's version: (3, 3) for `tmux 3.3a`."""
    said = subprocess.run([program, "-V"], capture_output=True, text=True).stdout
    number = said.split()[-1].removeprefix("next-") if said.strip() else ""
    parts = ("".join(filter(str.isdigit, part)) for part in number.split(".")[:2])
    return tuple(int(part or 0) for part in parts)


@dataclass(frozen=True)
class View:
    """The text of a pane, with wrapped lines joined again, and its cursor."""

    lines: list[str]
    cursor: int  # the index of the cursor's line
    prompt: str  # "$", ">" or "In" if the cursor stands directly after such a prompt, else ""
    top: int = 0  # the index of the first line that is visible without scrolling back
    full_screen: bool = False  # a program draws anywhere in the whole pane


class TmuxError(Exception):
    """Raised when tmux refuses a command, as for a pane that is gone."""


class Server:
    """A tmux server with a socket of its own."""

    def __init__(self, program: Path, socket: Path) -> None:
        self.command = [program, "-u", "-S", socket]

    def cmd(self, *arguments: object, **options) -> list[str]:
        """Run a tmux command; return its output lines. Raises TmuxError."""
        command = [*self.command, *map(str, arguments)]
        options |= {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 30}
        done = subprocess.run(command, encoding="utf-8", errors="backslashreplace", **options)
        if done.returncode:
            raise TmuxError((done.stderr or done.stdout).strip())
        return done.stdout.removesuffix("\n").split("\n")

    def panes(self) -> dict[str, "Pane"]:
        """Return the panes by name."""
        lines = self.cmd("list-panes", "-a", "-F", "#{pane_id} #{@name}")
        named = (line.split(" ", 1) for line in lines)
        return {name: Pane(name, pane_id, self) for pane_id, name in named}


@dataclass(frozen=True)
class Pane:
    name: str
    id: str  # tmux's own, such as %2
    server: Server

    def look(self) -> View:
        """Return everything that the pane has shown so far."""
        place = "#{cursor_x} #{cursor_y} #{pane_height} #{alternate_on}"
        capture = ("capture-pane", "-p", "-J", "-S", "-", "-t", self.id)
        lines = self._cmd("display-message", "-p", "-t", self.id, place, ";", *capture)
        x, y, height, full_screen = map(int, lines.pop(0).split())
        top = max(len(lines) - height, 0)
        cursor = max(len(lines) - height + y, 0)
        line = lines[cursor].rstrip() if cursor < len(lines) else ""
        found = re.search(r"^>$|\$$|^In(?= \S*\]:$)", line) if x == len(line) + 1 else None
        prompt = found[0] if found else ""
        return View([line.rstrip() for line in lines], cursor, prompt, top, bool(full_screen))

    def type(self, text: str) -> None:
        """Type a text as if by hand."""
        if text:
            self._send("send-keys", "-l", "-t", self.id, "--", _quote(text))

    def paste(self, text: str) -> None:
        """Paste a text of several lines, so that a program reads it as one input."""
        buffer = f"paste-{self.id}"
        self._cmd("set-buffer", "-b", buffer, "--", _quote(text))
        self._send("paste-buffer", "-d", "-p", "-b", buffer, "-t", self.id)

    def press(self, *keys: str) -> None:
        """Press keys by their tmux names, such as C-c or Enter."""
        self._send("send-keys", "-t", self.id, *keys)

    def _send(self, *arguments: str) -> None:
        """Send input to the program, even if the reader is scrolling back in the pane."""
        leave = f"send-keys -X -t {self.id} cancel"
        self._cmd("if-shell", "-F", "-t", self.id, "#{pane_in_mode}", leave, ";", *arguments)

    def _cmd(self, *arguments: str) -> list[str]:
        try:
            return self.server.cmd(*arguments)
        except TmuxError as error:
            raise TmuxError(f"pane {self.name!r} is gone ({error})") from None


def _quote(text: str) -> str:
    """Escape a semicolon at the end of a text, which tmux would take for a separator."""
    return text[:-1] + "\\;" if text.endswith(";") else text


class Stage:
    """One window with a pane for each name, in a tmux server of its own."""

    def __init__(
        self,
        program: Path,
        names: Sequence[str],
        environment: dict[str, str],
        *,
        cwd: Path,
        size: tuple[int, int] = (120, 0),
    ) -> None:
        """Start the server; a height of 0 gives every pane 16 lines. Raises Trouble."""
        self.folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))  # socket paths are limited
        self.program, self.socket, self.cwd = program, self.folder / "tmux", cwd
        self.server = Server(program, self.socket)
        profile = self.folder / "ipython" / "profile_default"
        profile.mkdir(parents=True)
        (profile / "ipython_config.py").write_text(IPYTHON)
        environment = {k: v for k, v in environment.items() if k not in DROPPED_VARIABLES} | {
            "LANG": "C.UTF-8",
            "HISTFILE": "",
            "INPUTRC": "/dev/null",
            "IPYTHONDIR": str(self.folder / "ipython"),
            "BASH_SILENCE_DEPRECATION_WARNING": "1",  # macOS
        }
        bash = shutil.which("bash") or "/bin/bash"
        # Set PS1 and PATH here: tmux's own shell drops PS1, and tmux passes on this program's PATH.
        path = shlex.quote("PATH=" + environment.get("PATH", os.defpath))
        shell = f"exec env -u TMUX -u TMUX_PANE {path} PS1='$ ' {bash} --norc --noprofile"
        width, height = size
        size = ["-x", width, "-y", height or 17 * len(names)]
        start = ["-f", SETTINGS, "new-session", "-d", "-s", SESSION, *size]
        start += ["-c", cwd, shell, ";", "set-option", "-p", "@name", names[0]]
        try:
            # The panes inherit AMQP_URL: it may hold a password, which arguments would reveal.
            self.server.cmd(*start, env=environment)
            for name in names[1:]:  # each below the previous one, which is active
                self._split(name, shell, "-l", "1")
                self.server.cmd("select-layout", "-t", SESSION, "even-vertical")
            self.panes = self.server.panes()
        except BaseException as error:
            self.close()
            if isinstance(error, TmuxError):
                raise Trouble(f"tmux does not start: {error}", code=1) from None
            raise

    def show(self, name: str, command: str, width: int) -> None:
        """Add a narrow pane on the left that runs a command and has the focus."""
        self._split(name, command, "-h", "-b", "-f")
        self.server.cmd("set-option", "-w", "-t", SESSION, "main-pane-width", width)
        self.server.cmd("select-layout", "-t", SESSION, "main-vertical")

    def _split(self, name: str, command: str, *how: str) -> None:
        """Split the active pane; name the new one, which becomes active. Raises Trouble."""
        split = ["split-window", "-t", SESSION, "-c", self.cwd, *how, command]
        try:
            self.server.cmd(*split, ";", "set-option", "-p", "-t", SESSION, "@name", name)
        except TmuxError:
            raise Trouble("there is no room for the panes", "a larger terminal", code=1) from None

    def attach(self) -> None:
        """Show the window on this terminal until the reader leaves, even inside another tmux."""
        environment = {k: v for k, v in os.environ.items() if k not in DROPPED_VARIABLES}
        subprocess.run([*self.server.command, "attach-session", "-t", SESSION], env=environment)

    def close(self) -> None:
        """End the server and every process that was started in the panes."""
        processes = self._processes()
        with contextlib.suppress(TmuxError):
            self.server.cmd("kill-server")
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
            for pid, born in processes:
                if alive(pid, born):
                    send(pid, number)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not any(alive(*one) for one in processes), 2)
                break
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processes(self) -> list[tuple[int, str]]:
        """Return pid and birth of the server's process and of all processes in the panes."""
        try:
            pids = self.server.cmd("list-panes", "-a", "-F", "#{pid} #{pane_pid}")
        except TmuxError:  # it has ended
            return []
        roots = {int(pid) for line in pids for pid in line.split()}
        every = roots | {child for root in roots for child in descendants(root)}
        for stat in Path("/proc").glob("[0-9]*/stat"):  # find orphans by their session
            with contextlib.suppress(OSError, ValueError, IndexError):
                if int(stat.read_text().rpartition(")")[2].split()[3]) in roots:
                    every.add(int(stat.parent.name))
        return [(pid, birth(pid)) for pid in sorted(every)]

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
