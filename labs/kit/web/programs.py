"""Programs that an experiment or a measurement starts, watches and ends."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.amqp import Broker, BrokerError
from kit.cli import UNEXPECTED, Trouble, defer_signals, url_of
from kit.cli.program import Script


class Programs:
    """The programs of a folder at work with our broker; leaving the `with` block ends them.

    Then `delete` deletes what they have declared. What fails in the block raises Trouble; `what` is
    what failed.
    """

    def __init__(
        self,
        what: str,
        folder: Path,
        broker: Broker,
        *failures: type[Exception],
        delete: Callable[[BlockingChannel], None] = lambda channel: None,
    ) -> None:
        self.what, self.folder, self.broker, self.delete = what, folder, broker, delete
        self.failures = (AssertionError, OSError, *failures)  # TimeoutError is an OSError
        self.environment = os.environ | {"AMQP_URL": url_of(broker)}
        self.scripts: list[Script] = []

    def start(
        self,
        name: str,
        *arguments: object,
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> Script:
        """Start a program, without waiting until it is ready."""
        command = [sys.executable, self.folder / name, *map(str, arguments)]
        with defer_signals():
            # In a session of its own: Ctrl-C is for us, and we end it.
            self.scripts.append(Script(command, self.environment, stdin, cwd, own_session=True))
        return self.scripts[-1]

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for script in self.scripts:
            if not script.has_ended():
                script.kill()
            script.wait()
        with contextlib.suppress(BrokerError, pika.exceptions.AMQPError):
            connection = self.broker.connect()
            self.delete(connection.channel())
            connection.close()
        if isinstance(error, self.failures):
            said = [line.text for script in self.scripts for line in script.find(": error: ")]
            why = (said or str(error).splitlines() or [type(error).__name__])[0]
            hint = "the same again, when the machine is less busy"
            raise Trouble(f"{self.what} failed: {why}", hint, UNEXPECTED) from error
