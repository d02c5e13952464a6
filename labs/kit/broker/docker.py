"""Run the broker of docker-compose.yml through `docker compose`."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from kit.broker.network import amqp_answers
from kit.cli import Trouble, wait_until

VERSION = "4.3"  # of the image in docker-compose.yml


class Compose:
    """The compose project of one node; `record` is a file that exists if Docker started it."""

    def __init__(
        self, root: Path, node: str, record: Path, port: int | None, page: int | None
    ) -> None:
        self.record = record
        # "lab" is the project that a plain `docker compose up` in this folder makes as well.
        self.project = [] if node == "lab" else ["--project-name", f"queue-lab-{node}"]
        saved = json.loads(record.read_text()) if record.exists() else {}
        options = {"LAB_PORT": port, "LAB_MANAGEMENT_PORT": page}
        self.ports = saved | {name: str(port) for name, port in options.items() if port}
        environment = os.environ | self.ports
        self._options = {"cwd": root, "env": environment, "stdin": subprocess.DEVNULL}

    def why_not(self, version: str | None = None) -> str:
        """Return why Docker cannot run this version, or "" if it can."""
        if not shutil.which("docker"):
            return "no Docker"
        if version not in (None, VERSION):
            return f"docker-compose.yml has RabbitMQ {VERSION}"
        if self._quiet("compose", "version") is None:
            return "Docker has no compose plugin"
        if self._quiet("version") is None:
            return "Docker's engine does not answer"
        return ""

    def is_up(self) -> bool:
        """Return True if Docker started the node and its container runs."""
        return self.record.exists() and bool(self._quiet("compose", *self.project, "ps", "--quiet"))

    def up(self) -> None:
        """Start the container and wait until it is healthy."""
        try:
            self.run("up", "--detach", "--wait")
        except Trouble:
            self._quiet("compose", *self.project, "down")  # leave nothing half started behind
            raise
        self.record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.record.write_text(json.dumps(self.ports))

    def down(self, wipe: bool) -> None:
        """Remove the container, and with `wipe` its volume too."""
        self.run("down", *(["--volumes"] if wipe else []))

    def restart(self, port: int) -> None:
        """Restart the container and wait until it answers, as compose itself does not wait."""
        self.run("restart")
        wait_until(lambda: amqp_answers(port), 120)

    def run(self, *command: str) -> None:
        """Run `docker compose COMMAND` with its output on the terminal. Raises Trouble."""
        done = subprocess.run(["docker", "compose", *self.project, *command], **self._options)
        if done.returncode:
            raise Trouble(f"docker compose {command[0]} failed (exit code {done.returncode})")

    def _quiet(self, *command: str) -> str | None:
        """Return the output of a docker command, or None if it fails or hangs."""
        options = self._options | {"stderr": subprocess.DEVNULL, "text": True, "timeout": 20}
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return subprocess.check_output(["docker", *command], **options).strip()
        return None


def dot_env(root: Path) -> dict[str, str]:
    """Return the LAB_... settings of .env; the environment overrides them, as with compose."""
    settings = {}
    if (root / ".env").exists():
        for line in (root / ".env").read_text().splitlines():
            name, equals, value = line.partition("=")
            if equals and name.strip().startswith("LAB_"):
                settings[name.strip()] = value.strip().strip("'\"")
    settings |= {k: v for k, v in os.environ.items() if k.startswith("LAB_")}
    for name in ("LAB_PORT", "LAB_MANAGEMENT_PORT"):
        if not settings.get(name, "1").isdigit():
            raise Trouble(f"{name} is {settings[name]!r}, which is not a port", "look at .env")
    return settings
