"""The broker of one node, by whichever transport it came up: found, Docker, installed, unpacked."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from kit.broker import versions
from kit.broker.docker import Compose, dot_env
from kit.broker.network import greet, is_free, page_answers
from kit.broker.node import Node
from kit.cli import Trouble, say

ROOT = Path(__file__).resolve().parents[3]
BROKERS = Path(os.environ.get("QUEUE_LAB_BROKER_DIR") or ROOT / ".broker").absolute()
WAYS = ("existing", "docker", "installed", "unpacked")


class Broker:
    """The broker of one --node, by whichever way it came up."""

    def __init__(self, name: str, port: int | None = None, page: int | None = None) -> None:
        self.name, self.folder = name, BROKERS / name
        self.node = Node.load(self.folder)
        if port and not page and port + 10_000 < 65_536:
            page = port + 10_000  # as 15672 goes with 5672
        self.compose = Compose(ROOT, name, self.folder / "docker.json", port, page)
        known = {**dot_env(ROOT), **self.compose.ports}
        if self.node:  # the same node, the same ports
            port, page = port or self.node.port, page or self.node.management_port
        self.port = port or int(known.get("LAB_PORT") or 5672)
        self.page = page or int(known.get("LAB_MANAGEMENT_PORT") or 15672)
        self.user = known.get("LAB_USER") or "guest"

    def way(self) -> str:
        """Return the way by which this broker is up, or "" if nothing is."""
        if self.node and self.node.is_running():
            return "unpacked" if self.node.prefix else "installed"
        if self.compose.is_up():
            return "docker"
        return "" if greet(self.port) is None else "existing"

    def up(self, via: str | None, version: str | None) -> None:
        """Bring the broker up by the first way that works. Raises Trouble."""
        began = time.monotonic()
        if self.node and self.node.is_running():
            return self._already_up(via, version)
        if via in (None, "docker") and self.compose.is_up() and greet(self.port) is not None:
            say("*", f"RabbitMQ {greet(self.port)} is already up.")
            return self.how_to_connect("docker")
        ways, reasons, hint = [via] if via else list(WAYS), [], ""
        if self.node and not (via or version):  # data of a private node: the same RabbitMQ again
            version = versions.supported(self.node.state["version"])
            former = "unpacked" if self.node.prefix else "installed"
            ways = ["existing", former, *(way for way in WAYS[1:] if way != former)]
        for way in ways:
            try:
                reason = getattr(self, f"_by_{way}")(version)
            except Trouble as trouble:
                if via or trouble.final:
                    raise
                say("!", f"{way}: {trouble}")
                reason, hint = str(trouble), trouble.hint
            if not reason:
                took = time.monotonic() - began
                say("*", f"RabbitMQ {greet(self.port)} is up after {took:.1f} s, way: {way}")
                if reasons:
                    say("*", f"Why so:   {'; '.join(reasons)}")
                return self.how_to_connect(way)
            reasons.append(reason)
        if via:
            raise Trouble(f"no broker by --via {via}: {reason}", f"{command('up', self.name)}")
        raise Trouble(
            f"no way to a broker: {'; '.join(reasons)}", hint or versions.what_to_install()
        )

    def _already_up(self, via: str | None, version: str | None) -> None:
        way, has = self.way(), ".".join(map(str, self.node.version))
        if self.port != self.node.port or (via and via != way) or not is_version(has, version):
            raise Trouble(
                f"node {self.name!r} is up already: RabbitMQ {has} on port {self.node.port}, {way}",
                f"another --node and --port, or first: {command('down', self.name)}",
            )
        self.node.start()  # waits until it answers, should somebody have only just started it
        say("*", f"RabbitMQ {has} is already up.")
        self.how_to_connect(way)

    def _by_existing(self, version: str | None) -> str:
        """Use what answers on the port; return "" if that works, else why not, as all these do."""
        has = greet(self.port)
        if has is None:
            if not is_free(self.port) and not self.compose.is_up():
                raise Trouble(
                    f"port {self.port} is taken by a program that does not answer AMQP",
                    "another --port (or wait, if it is a broker that is just starting)",
                    final=True,
                )
            return f"nothing answers AMQP on port {self.port}"
        if not is_version(has, version):
            raise Trouble(
                f"what answers on port {self.port} is RabbitMQ {has}, not {version}",
                "another --port, with another --node",
                final=True,
            )
        return ""

    def _by_docker(self, version: str | None) -> str:
        if reason := self.compose.why_not(version):
            return reason
        say("*", "Starting RabbitMQ with docker compose; the first time it fetches the image ...")
        self.compose.up()
        if greet(self.port) is None:
            raise Trouble(f"docker compose is up, but nothing answers AMQP on port {self.port}")
        return ""

    def _by_installed(self, version: str | None) -> str:
        found = versions.find()
        if found is None:
            return "RabbitMQ is not installed"
        if not is_version(".".join(map(str, found.version)), version):
            return f"the installed RabbitMQ is {'.'.join(map(str, found.version))}"
        return self._start_node(None)

    def _by_unpacked(self, version: str | None) -> str:
        return self._start_node(versions.unpacked(BROKERS / "unpacked", version))

    def _start_node(self, prefix: Path | None) -> str:
        say("*", "Starting RabbitMQ, a private node on this machine only ...")
        ports = {"port": self.port, "management_port": self.page}
        self.node = Node(self.folder, prefix=prefix, **ports)
        self.node.start()
        return ""

    def how_to_connect(self, way: str) -> None:
        """Print all that a student needs to go on."""
        user = self.user if way == "docker" else "guest"
        login = "guest:guest" if user == "guest" else user
        option = "" if self.port == 5672 else f"--port {self.port} "
        who = "   (or what its owner gave you)" if way == "existing" else ""
        say("*", f"Connect:  host localhost   port {self.port}   vhost /   user {user}{who}")
        say("*", f"          --url amqp://{login}@localhost:{self.port}/%2F")
        if page_answers(self.page):
            say("*", f"Look:     http://localhost:{self.page}   (log in as {user})")
        say("*", f"Try:      ./producer.py {option}--queue hello aaa bb c")
        if way != "existing":
            say("*", f"Stop:     {command('down', self.name)}")

    def down(self, wipe: bool) -> None:
        """Stop the broker; with `wipe` forget its data too. One that is not ours is left alone."""
        way = self.way()
        if way == "existing":
            say(
                "*",
                f"The broker on port {self.port} is not ours (we did not start it): left alone.",
            )
        if way == "docker" or (wipe and self.compose.record.exists()):
            self.compose.down(wipe)
        if way in ("installed", "unpacked"):
            say("*", "Stopping RabbitMQ ...")
            self.node.stop()
        if way in WAYS[1:]:
            kept = "" if wipe else "; its queues and messages are kept"
            say("*", f"Node {self.name!r} is down{kept}.")
        elif not way:
            say("*", f"Node {self.name!r} was not up.")
        if wipe and self.folder.exists():
            Node(self.folder).wipe()
            say("*", f"Its data are removed: {self.folder}")

    def status(self) -> None:
        """Say what runs. Raises Trouble if nothing does."""
        way, version = self.way(), greet(self.port)
        if way and version is not None:
            say("*", f"RabbitMQ {version} is up on port {self.port}, way: {way}")
            if way in ("installed", "unpacked"):
                rabbit = self.node.rabbitmq.scripts.parent
                say(
                    "*",
                    f"Node {self.name!r}, process {self.node.pid}, in {self.folder}; runs {rabbit}",
                )
            return self.how_to_connect(way)
        if way:
            what = f"runs ({way}) but does not answer on port {self.port}"
            raise Trouble(f"node {self.name!r} {what}", f"{command('kill', self.name)}, then up")
        kept = "; its queues and messages are kept" if self.folder.exists() else ""
        raise Trouble(f"node {self.name!r} is not up{kept}", command("up", self.name))

    def restart(self) -> None:
        """Stop the broker politely, start it again, and wait until it answers."""
        way = self._ours()
        say("*", "Restarting RabbitMQ ...")
        self.node.restart() if way != "docker" else self.compose.restart(self.port)
        say("*", f"RabbitMQ {greet(self.port)} is up again on port {self.port}.")

    def kill(self) -> None:
        """End the broker as a power cut would."""
        way = self._ours()
        self.node.kill() if way != "docker" else self.compose.run("kill")
        say("*", f"Killed, as by a power cut. Back again with: {command('up', self.name)}")

    def logs(self, follow: bool) -> None:
        """Print the broker's log."""
        if self.way() == "docker":
            return self.compose.run("logs", *(["--follow"] if follow else []))
        files = self.node.log_files() if self.node else []
        if not files:
            self._ours()
            raise Trouble(f"node {self.name!r} has written no log yet", command("up", self.name))
        for line in read_lines(files[-1], follow):
            print(line, end="", flush=follow)

    def _ours(self) -> str:
        """Return the way by which our broker is up. Raises Trouble if it is not up, or not ours."""
        way = self.way()
        if way == "existing":
            what = f"the broker on port {self.port} is somebody else's: we did not start it"
            raise Trouble(what, "one of your own goes by its --node, not by AMQP_URL")
        if not way:
            raise Trouble(f"node {self.name!r} is not up", command("up", self.name))
        return way


def command(verb: str, node: str) -> str:
    """Return the line to type for a command on a node."""
    return f"labs/broker.py {verb}{'' if node == 'lab' else f' --node {node}'}"


def is_version(has: str, wanted: str | None) -> bool:
    """Tell whether a version is one of the wanted series; 4.3.6 is one of 4.3."""
    return wanted is None or has.split(".")[:2] == wanted.split(".")


def read_lines(path: Path, follow: bool) -> Iterator[str]:
    """Yield the lines of a file; with `follow` wait for more, for ever."""
    with path.open(errors="replace") as file:
        while True:
            if line := file.readline():
                yield line
            elif follow:
                time.sleep(0.2)
            else:
                return
