"""Panes with names in a tmux server of our own: type into them, and read what they show.

    with Stage(tmux(cache), ["worker-1", "sender"], environment, cwd=ROOT) as stage:
        stage.panes["sender"].type("./producer.py --queue hello aaa")
        stage.panes["sender"].press("Enter")
        stage.panes["sender"].look().lines

The server has its own settings and its own socket, apart from the user's tmux and other stages.
When the stage closes, the server and all that was started in its panes has ended.
"""

import contextlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import libtmux
from libtmux.constants import PaneDirection

from kit.broker.debian import unpack
from kit.broker.process import alive, birth, descendants, send
from kit.cli import Trouble, wait_until

OLDEST = (3, 2)  # what libtmux works with
SESSION = "lab"

# These would make a pane differ from one machine to the next.
DROPPED_VARIABLES = (
    "TMUX TMUX_PANE COLUMNS LINES PROMPT_COMMAND PS0 PS2 BASH_ENV ENV PYTHONSTARTUP PYTHONINSPECT"
    " IPYTHONDIR MANPATH LC_ALL"
).split()

# ipython as everybody has it, but without what differs from day to day (banner, tips), without
# history, and without what is not text (empty lines kept for a menu, grey suggestions).
IPYTHON = """\
c = get_config()
c.TerminalIPythonApp.display_banner = False
c.HistoryManager.hist_file = ":memory:"
c.TerminalInteractiveShell.space_for_menu = 0
c.TerminalInteractiveShell.autosuggestions_provider = None
"""


def installed() -> Path | None:
    """Return this machine's tmux, unless it has none or a very old one."""
    program = shutil.which("tmux")
    return Path(program) if program and _version(program) >= OLDEST else None


def tmux(cache: Path) -> Path:
    """Return a tmux: this machine's, or else one unpacked in a folder. Raises Trouble."""
    if program := installed():
        return program
    try:
        return unpack(["tmux"], cache / "tmux") / "usr/bin/tmux"
    except Trouble as trouble:
        how = "brew" if platform.system() == "Darwin" else "sudo apt"
        hint = trouble.hint or f"{how} install tmux   (or your system's way), then again"
        raise Trouble(f"there is no tmux here: {trouble}", hint, code=1) from None


def _version(program: str) -> tuple[int, ...]:
    """Return a tmux's version: (3, 3) for `tmux 3.3a`."""
    said = subprocess.run([program, "-V"], capture_output=True, text=True).stdout
    number = said.split()[-1].removeprefix("next-") if said.strip() else ""
    parts = ("".join(filter(str.isdigit, part)) for part in number.split(".")[:2])
    return tuple(int(part or 0) for part in parts)


@dataclass(frozen=True)
class View:
    """What a pane shows, with wrapped lines made one again, and its cursor."""

    lines: list[str]
    cursor: int  # the index of the cursor's line
    prompt: str  # "$", ">" or "In" if the cursor stands directly after such a prompt, else ""
    top: int = 0  # the index of the first line that is visible without scrolling back
    full_screen: bool = False  # a program has the whole pane, and draws where it likes


class PaneGone(Exception):
    """Raised when a pane is no longer there."""


class Pane:
    """A pane with a name."""

    def __init__(self, name: str, pane: libtmux.Pane) -> None:
        self.name, self._pane = name, pane

    def look(self) -> View:
        """Return all that the pane has shown so far."""
        place = "#{cursor_x} #{cursor_y} #{pane_height} #{alternate_on}"
        end = "(end)"  # libtmux takes empty lines off the end, which we want to count
        *lines, _ = self._cmd(
            *("display-message", "-p", "-t", self._pane.pane_id, place, ";"),
            *("capture-pane", "-p", "-J", "-S", "-", "-t", self._pane.pane_id, ";"),
            *("display-message", "-p", end),
        )
        x, y, height, full_screen = map(int, lines.pop(0).split())
        top = max(len(lines) - height, 0)
        cursor = max(len(lines) - height + y, 0)
        line = lines[cursor].rstrip() if cursor < len(lines) else ""
        prompt = ""
        if x == len(line) + 1:
            words = line.split()
            if line == ">":
                prompt = ">"
            elif line.endswith("$"):
                prompt = "$"
            elif len(words) == 2 and words[0] == "In" and words[1].endswith("]:"):
                prompt = "In"
        return View([line.rstrip() for line in lines], cursor, prompt, top, bool(full_screen))

    def type(self, text: str) -> None:
        """Type a text as if by hand."""
        if text:
            self._send("send-keys", "-l", "-t", self._pane.pane_id, "--", _quote(text))

    def paste(self, text: str) -> None:
        """Paste a text of several lines, so that a program takes it as one."""
        buffer = f"paste-{self._pane.pane_id}"
        self._cmd("set-buffer", "-b", buffer, "--", _quote(text))
        self._send("paste-buffer", "-d", "-p", "-b", buffer, "-t", self._pane.pane_id)

    def press(self, *keys: str) -> None:
        """Press keys by the names that tmux gives them, such as C-c or Enter."""
        self._send("send-keys", "-t", self._pane.pane_id, *keys)

    def _send(self, *arguments: str) -> None:
        """Send something to the program, even if the reader is scrolling back in the pane."""
        where = self._pane.pane_id
        leave = f"send-keys -X -t {where} cancel"
        self._cmd("if-shell", "-F", "-t", where, "#{pane_in_mode}", leave, ";", *arguments)

    def _cmd(self, *arguments: str) -> list[str]:
        answer = self._pane.server.cmd(*arguments)
        if answer.stderr:
            raise PaneGone(f"pane {self.name!r} is gone ({answer.stderr[0]})")
        return answer.stdout


def _quote(text: str) -> str:
    """Escape a semicolon at the end of a text: tmux takes it for the end of a command."""
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
        """Start the server; a height of 0 is enough for every pane to have 16 lines."""
        self.folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))  # a socket's path is short
        self.socket = self.folder / "tmux"
        self.program, self.cwd = program, cwd
        profile = self.folder / "ipython" / "profile_default"
        profile.mkdir(parents=True)
        (profile / "ipython_config.py").write_text(IPYTHON)
        self.environment = {k: v for k, v in environment.items() if k not in DROPPED_VARIABLES} | {
            "LANG": "C.UTF-8",
            "HISTFILE": "",
            "INPUTRC": "/dev/null",
            "IPYTHONDIR": str(self.folder / "ipython"),
            "BASH_SILENCE_DEPRECATION_WARNING": "1",  # macOS
        }
        bash = shutil.which("bash") or "/bin/bash"
        # Set here: the shell between tmux and this one drops PS1, and tmux takes our own PATH.
        path = shlex.quote("PATH=" + environment.get("PATH", os.defpath))
        self.shell = f"exec env -u TMUX -u TMUX_PANE {path} PS1='$ ' {bash} --norc --noprofile"
        width, height = size
        try:
            self._start(names[0], width, height or 17 * len(names))
            self.server = connect(program, self.socket)
            self.panes = panes(self.server)
            self._last = next(iter(self.panes.values()))._pane
            for name in names[1:]:
                self.split(name)
        except BaseException:
            self.close()
            raise

    def _start(self, name: str, width: int, height: int) -> None:
        """Start the server with its first pane.

        libtmux could pass the environment only as arguments: everybody can read these, and AMQP_URL
        may hold a password.
        """
        settings = {
            "history-limit": "100000",
            "default-terminal": "screen-256color",
            "escape-time": "10",
            "status": "off",
            "mouse": "on",
            "focus-events": "off",
            "remain-on-exit": "off",
            "window-size": "latest",
            "pane-border-status": "top",
            "pane-border-format": " #{@name} ",
        }
        (self.folder / "tmux.conf").write_text(
            "".join(f"set-option -g {key} {value!r}\n" for key, value in settings.items())
        )
        command = [self.program, "-u", "-S", self.socket, "-f", self.folder / "tmux.conf"]
        command += ["new-session", "-d", "-s", SESSION, "-x", str(width), "-y", str(height)]
        command += ["-c", self.cwd, self.shell, ";", "set-option", "-p", "@name", name]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=30
        )
        if done.returncode:
            raise Trouble(f"tmux does not start: {(done.stderr or done.stdout).strip()}", code=1)

    def split(self, name: str) -> None:
        """Add a pane with a shell at the bottom. Raises Trouble if there is no room."""
        self._last = self._split(self._last, name, shell=self.shell, size=1)
        self._last.window.select_layout("even-vertical")
        self.panes[name] = Pane(name, self._last)

    def show(self, name: str, command: str, width: int) -> None:
        """Add a narrow pane on the left, which runs a command and gets the keys."""
        window = self._last.window
        on_the_left = {"direction": PaneDirection.Left, "full_window_split": True, "attach": True}
        self._split(window.panes[0], name, shell=command, **on_the_left)
        window.set_option("main-pane-width", width)
        window.select_layout("main-vertical")

    def _split(self, pane: libtmux.Pane, name: str, **options) -> libtmux.Pane:
        """Split a pane and name the new half."""
        try:
            new = pane.split(start_directory=self.cwd, **options)
        except libtmux.exc.LibTmuxException:
            raise Trouble("there is no room for the panes", "a larger terminal", code=1) from None
        new.set_option("@name", name)
        return new

    def attach(self) -> None:
        """Show the window on this terminal, also within another tmux, until the reader leaves."""
        subprocess.run(
            [self.program, "-u", "-S", self.socket, "attach-session", "-t", SESSION],
            env=self.environment,
        )

    def close(self) -> None:
        """End the server and all that was started in the panes."""
        pids = self._pids()
        subprocess.run(
            [self.program, "-S", self.socket, "kill-server"], env=self.environment,
            capture_output=True, timeout=30,
        )  # fmt: skip
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
            for pid, born in pids:
                if alive(pid, born):
                    send(pid, number)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not any(alive(*one) for one in pids), 2)
                break
        shutil.rmtree(self.folder, ignore_errors=True)

    def _pids(self) -> list[tuple[int, str]]:
        """Return the processes of the server and of all panes."""
        asked = subprocess.run(
            [self.program, "-S", self.socket, "list-panes", "-a", "-F", "#{pid} #{pane_pid}"],
            env=self.environment, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        roots = {int(word) for word in asked.stdout.split()}
        every = roots | {child for root in roots for child in descendants(root)}
        for stat in Path("/proc").glob("[0-9]*/stat"):  # children of dead parents, by session
            with contextlib.suppress(OSError, ValueError, IndexError):
                if int(stat.read_text().rpartition(")")[2].split()[3]) in roots:
                    every.add(int(stat.parent.name))
        return [(pid, birth(pid)) for pid in sorted(every)]

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(program: Path, socket: Path) -> libtmux.Server:
    """Return the server behind a socket."""
    return libtmux.Server(socket_path=socket, tmux_bin=program)


def panes(server: libtmux.Server) -> dict[str, Pane]:
    """Return the panes of a stage by their names."""
    every = {pane.pane_id: pane for pane in server.panes}
    answer = server.cmd("list-panes", "-a", "-F", "#{pane_id} #{@name}").stdout
    named = (line.split(" ", 1) for line in answer)
    return {name: Pane(name, every[pane_id]) for pane_id, name in named}
