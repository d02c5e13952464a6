"""The broker of one node, and its transport: existing, docker, installed or unpacked."""

import os
import subprocess
import time
import urllib.parse
from pathlib import Path

from kit.broker import versions
from kit.broker.docker import Compose, dot_env
from kit.broker.network import greet, is_free, page_answers
from kit.broker.node import Node
from kit.broker.versions import is_version
from kit.cli import KIT, Trouble, say

BROKERS = Path(os.environ.get("QUEUE_LAB_BROKER_DIR") or KIT / ".broker").absolute()
TRANSPORTS = ("existing", "docker", "installed", "unpacked")  # in the order that `up` tries them


class Broker:
    """The broker of one --node, started by any transport."""

    def __init__(self, name: str, port: int | None = None, page: int | None = None) -> None:
        self.name, self.folder = name, BROKERS / name
        self.node = Node.load(self.folder)
        if port and not page and port + 10_000 < 65_536:
            page = port + 10_000  # as 15672 goes with 5672
        self.compose = Compose(KIT, name, self.folder / "docker.json", port, page)
        settings = {**dot_env(KIT), **self.compose.ports}
        if self.node:  # a node keeps its ports
            port, page = port or self.node.port, page or self.node.management_port
        self.port = port or int(settings.get("LAB_PORT") or 5672)
        self.page = page or int(settings.get("LAB_MANAGEMENT_PORT") or 15672)
        self.user = settings.get("LAB_USER") or "guest"

    def transport(self) -> str:
        """Return the transport that started this broker, or "" if no broker is up."""
        if self.node and self.node.is_running():
            return "unpacked" if self.node.prefix else "installed"
        if self.compose.is_up():
            return "docker"
        return "" if greet(self.port) is None else "existing"

    def up(self, via: str | None, version: str | None) -> None:
        """Bring the broker up by the first transport that works. Raises Trouble."""
        began = time.monotonic()
        if self.node and self.node.is_running():
            return self._check_running_node(via, version)
        if via in (None, "docker") and self.compose.is_up() and greet(self.port) is not None:
            say("*", f"RabbitMQ {greet(self.port)} is already up.")
            return self.how_to_connect("docker")
        transports, reasons, hint = [via] if via else list(TRANSPORTS), [], ""
        if self.node and not (via or version):  # a private node's data needs the same RabbitMQ
            version = versions.series(self.node.state["version"])
            last = "unpacked" if self.node.prefix else "installed"
            transports = ["existing", last, *(one for one in TRANSPORTS[1:] if one != last)]
        for transport in transports:
            try:
                reason = getattr(self, f"_by_{transport}")(version)
            except Trouble as trouble:
                if via or trouble.final:
                    raise
                say("!", f"{transport}: {trouble}")
                reason, hint = str(trouble), trouble.hint
            if not reason:
                took = time.monotonic() - began
                say("*", f"RabbitMQ {greet(self.port)} is up after {took:.1f} s, way: {transport}")
                if reasons:
                    say("*", f"Why so:   {'; '.join(reasons)}")
                return self.how_to_connect(transport)
            reasons.append(reason)
        if via:
            raise Trouble(f"no broker by --via {via}: {reason}", command("up", self.name))
        what = f"no broker could be started: {'; '.join(reasons)}"
        raise Trouble(what, hint or versions.HOW_TO_INSTALL)

    def _check_running_node(self, via: str | None, version: str | None) -> None:
        """Raise Trouble unless the running node has the requested port, transport and version."""
        transport, running = self.transport(), versions.text(self.node.version)
        as_asked = self.port == self.node.port and via in (None, transport)
        if not (as_asked and is_version(running, version)):
            what = f"node {self.name!r} is up already: RabbitMQ {running} on port {self.node.port}"
            hint = f"another --node and --port, or first: {command('down', self.name)}"
            raise Trouble(f"{what}, {transport}", hint)
        self.node.start()  # waits until it answers: another program may have just started it
        say("*", f"RabbitMQ {running} is already up.")
        self.how_to_connect(transport)

    # Each of these methods returns "" if it brought a broker up, or the reason why it does not
    # apply here. It raises Trouble if it applies but fails.

    def _by_existing(self, version: str | None) -> str:
        running = greet(self.port)
        if running is None:
            if is_free(self.port) or self.compose.is_up():
                return f"nothing answers AMQP on port {self.port}"
            what = f"port {self.port} is taken by a program that does not answer AMQP"
            hint = "another --port (or wait, if it is a broker that is just starting)"
            raise Trouble(what, hint, final=True)
        if not is_version(running, version):
            what = f"the broker on port {self.port} is RabbitMQ {running}, not {version}"
            raise Trouble(what, "another --port, with another --node", final=True)
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
        if not is_version(versions.text(found.version), version):
            return f"the installed RabbitMQ is {versions.text(found.version)}"
        return self._start_node(None)

    def _by_unpacked(self, version: str | None) -> str:
        return self._start_node(versions.unpacked(BROKERS / "unpacked", version))

    def _start_node(self, prefix: Path | None) -> str:
        say("*", "Starting RabbitMQ, a private node on this machine only ...")
        ports = {"port": self.port, "management_port": self.page}
        self.node = Node(self.folder, prefix=prefix, **ports)
        self.node.start()
        return ""

    def how_to_connect(self, transport: str) -> None:
        """Print how to connect, send messages and stop the broker."""
        user = self.user if transport == "docker" else "guest"
        login = "guest:guest" if user == "guest" else user
        option = "" if self.port == 5672 else f"--port {self.port} "
        owner = "   (or the one its owner gave you)" if transport == "existing" else ""
        say("*", f"Connect:  host localhost   port {self.port}   vhost /   user {user}{owner}")
        say("*", f"          --url amqp://{login}@localhost:{self.port}/%2F")
        if page_answers(self.page):
            say("*", f"Look:     http://localhost:{self.page}   (log in as {user})")
        say("*", f"Try:      ./producer.py {option}--queue hello aaa bb c")
        if transport != "existing":
            say("*", f"Stop:     {command('down', self.name)}")

    def down(self, wipe: bool) -> None:
        """Stop the broker, with `wipe` delete its data; leave a broker that is not ours alone."""
        transport = self.transport()
        if transport == "existing":
            not_ours = f"The broker on port {self.port} is not ours"
            say("*", f"{not_ours} (we did not start it): left alone.")
        if transport == "docker" or (wipe and self.compose.record.exists()):
            self.compose.down(wipe)
        if transport in ("installed", "unpacked"):
            say("*", "Stopping RabbitMQ ...")
            self.node.stop()
        if transport in TRANSPORTS[1:]:
            kept = "" if wipe else "; its queues and messages are kept"
            say("*", f"Node {self.name!r} is down{kept}.")
        elif not transport:
            say("*", f"Node {self.name!r} was not up.")
        if wipe and self.folder.exists():
            Node(self.folder).wipe()
            say("*", f"Removed its data: {self.folder}")

    def status(self) -> None:
        """Print the broker's version, port and transport. Raises Trouble if it is not up."""
        transport, version = self.transport(), greet(self.port)
        if not transport:
            kept = "; its queues and messages are kept" if self.folder.exists() else ""
            raise Trouble(f"node {self.name!r} is not up{kept}", command("up", self.name))
        if version is None:
            what = f"runs ({transport}) but does not answer on port {self.port}"
            raise Trouble(f"node {self.name!r} {what}", f"{command('kill', self.name)}, then up")
        say("*", f"RabbitMQ {version} is up on port {self.port}, way: {transport}")
        if transport in ("installed", "unpacked"):
            rabbit = self.node.rabbitmq.scripts.parent
            process = f"process {self.node.pid}, in {self.folder}; runs {rabbit}"
            say("*", f"Node {self.name!r}, {process}")
        self.how_to_connect(transport)

    def restart(self) -> None:
        """Stop the broker politely, start it again, and wait until it answers."""
        transport = self._ours()
        say("*", "Restarting RabbitMQ ...")
        self.node.restart() if transport != "docker" else self.compose.restart(self.port)
        say("*", f"RabbitMQ {greet(self.port)} is up again on port {self.port}.")

    def kill(self) -> None:
        """End the broker as a power cut would."""
        transport = self._ours()
        self.node.kill() if transport != "docker" else self.compose.run("kill")
        say("*", f"Killed, as by a power cut. Back again with: {command('up', self.name)}")

    def logs(self, follow: bool) -> None:
        """Print the broker's log."""
        if self.transport() == "docker":
            return self.compose.run("logs", *(["--follow"] if follow else []))
        files = self.node.log_files() if self.node else []
        if not files:
            self._ours()
            raise Trouble(f"node {self.name!r} has written no log yet", command("up", self.name))
        subprocess.run(["tail", "-n", "+1", *(["-f"] if follow else []), files[-1]])

    def _ours(self) -> str:
        """Return the transport of our broker. Raises Trouble if it is not up or not ours."""
        transport = self.transport()
        if transport == "existing":
            what = f"the broker on port {self.port} is somebody else's: we did not start it"
            raise Trouble(what, "name a broker of your own with --node; AMQP_URL is not used here")
        if not transport:
            raise Trouble(f"node {self.name!r} is not up", command("up", self.name))
        return transport


def broker_url() -> str:
    """Return the URL of the broker to use: AMQP_URL, or else that of labs/broker.py."""
    if url := os.environ.get("AMQP_URL"):
        return url
    login = [dot_env(KIT).get(key) or "guest" for key in ("LAB_USER", "LAB_PASSWORD")]
    user, password = (urllib.parse.quote(word, safe="") for word in login)
    return f"amqp://{user}:{password}@localhost:{Broker('lab').port}/%2F"


def our_broker(url: str) -> Broker | None:
    """Return the broker of a URL if labs/broker.py started it and so may restart it."""
    where = urllib.parse.urlsplit(url)
    if where.hostname not in (None, "localhost", "127.0.0.1", "::1"):
        return None
    for record in [*BROKERS.glob("*/node.json"), *BROKERS.glob("*/docker.json")]:
        broker = Broker(record.parent.name)
        if broker.port == (where.port or 5672) and broker.transport() in TRANSPORTS[1:]:
            return broker
    return None


def command(verb: str, node: str) -> str:
    """Return the labs/broker.py command line for a verb and a node."""
    return f"labs/broker.py {verb}{'' if node == 'lab' else f' --node {node}'}"
