"""Runs the programs of an application together: when one of them ends, all end."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from honcho.manager import Manager
from honcho.printer import Message, Printer
from honcho.process import Process

from kit.cli import OK

STOPPED = {130, 143}  # what honcho returns after Ctrl-C and SIGTERM


def run(commands: dict[str, Sequence[object]], environment: dict[str, str]) -> int:
    """Run programs, each with its command line, until Ctrl-C or SIGTERM; return the exit code."""
    processes = _Processes(_Lines(sys.stdout))
    for name, command in commands.items():
        processes.add_process(name, _for_a_shell([*map(str, command)]), env=environment)
    if hasattr(signal, "SIGHUP"):  # the terminal was closed
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    processes.loop()
    return OK if processes.returncode in STOPPED else processes.returncode


def _for_a_shell(command: list[str]) -> str:
    if os.name == "nt":
        return subprocess.list2cmdline(command)
    # Without exec the pid that is printed would be that of a shell around the program.
    return f"exec {shlex.join(command)}"


class _Processes(Manager):
    """honcho's manager; it may also be stopped while it is still starting its programs."""

    stopping = False

    def __init__(self, printer: Printer) -> None:
        super().__init__(printer)
        self._process_ctor = _Process

    def terminate(self) -> None:
        self.stopping = True
        if self._all_started():
            super().terminate()

    def _any_stopped(self) -> bool:
        return self.stopping or super()._any_stopped()


class _Process(Process):
    """Outlives the terminal, to tell the manager how its program has ended."""

    def run(self, *arguments: object) -> None:
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        super().run(*arguments)


class _Lines(Printer):
    """Prints the programs' lines; ends the programs when nobody can read the lines any more."""

    def write(self, message: Message) -> None:
        try:
            super().write(message)
        except OSError:
            self.output = open(os.devnull, "w")
            signal.raise_signal(signal.SIGTERM)
