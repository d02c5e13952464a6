"""A private broker, a fresh vhost for each test, and a way to run a script and watch it.

The process that collects the tests starts one broker that they all share. Tests that stop, kill or
freeze a broker take one of their own, `own_broker`, which each pytest-xdist worker starts once.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pika
import pytest

from kit import rabbitmq
from kit.corner import Corner
from kit.node import Node
from kit.script import DEADLINE, Script

ROOT = Path(__file__).parent.parent


# ---- the brokers


@dataclass
class Broker:
    """A broker for tests: its node (or, in a worker, only where it is) and what to ask of it."""

    port: int
    management_port: int
    node: Node | None = None

    def api(self, method: str, path: str, body: dict | None = None) -> object:
        """Call the management API as guest; return the decoded answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Content-Type": "application/json",
                "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
            },
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def add_vhost(self, name: str) -> None:
        """Make a vhost in which guest may do everything."""
        self.api("PUT", f"vhosts/{name}", {})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.api("PUT", f"permissions/{name}/guest", everything)


def start_broker(folder: Path, options: dict) -> Broker:
    """Start a private node on free ports, as the command line asks for it."""
    prefix = rabbitmq.get(ROOT / ".broker" / "unpacked", options["version"])
    settings = ""
    if options["deny_transient"]:
        settings = "deprecated_features.permit.transient_nonexcl_queues = false\n"
    # The broker looks at delivery timeouts once a minute; tests cannot wait that long.
    advanced = "[{rabbit, [{channel_tick_interval, 1000}]}].\n"
    node = Node(
        folder, port=0, management_port=0, prefix=prefix, settings=settings, advanced=advanced
    )
    node.start()
    return Broker(node.port, node.management_port, node)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rabbitmq", metavar="VERSION", help="test with RabbitMQ 3.10, 4.0 or 4.3")
    parser.addoption(
        "--deny-transient", action="store_true", help="refuse transient queues, as 4.3's image does"
    )


def broker_options(config: pytest.Config) -> dict:
    return {
        "version": config.getoption("--rabbitmq"),
        "deny_transient": config.getoption("--deny-transient"),
    }


def pytest_configure(config: pytest.Config) -> None:
    """Start the shared broker where the tests are collected, not in every worker."""
    if hasattr(config, "workerinput") or config.getoption("collectonly"):
        return
    config.lab_folder = Path(tempfile.mkdtemp(prefix="queue-lab-"))
    config.lab_broker = start_broker(config.lab_folder / "shared", broker_options(config))


def pytest_configure_node(node) -> None:
    """Tell a worker of pytest-xdist where the shared broker is."""
    broker = node.config.lab_broker
    node.workerinput["broker"] = [broker.port, broker.management_port]


def pytest_unconfigure(config: pytest.Config) -> None:
    if broker := getattr(config, "lab_broker", None):
        broker.node.kill()
        broker.node.wipe()
        config.lab_folder.rmdir()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """Return the broker that all tests share: leave it running."""
    if hasattr(request.config, "workerinput"):
        return Broker(*request.config.workerinput["broker"])
    return request.config.lab_broker


@pytest.fixture(scope="session")
def breakable_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    broker = start_broker(tmp_path_factory.mktemp("own") / "node", broker_options(request.config))
    yield broker
    broker.node.kill()


@pytest.fixture
def own_broker(breakable_broker: Broker) -> Broker:
    """Return a broker that the test may stop, kill, freeze and restart."""
    if breakable_broker.node.is_running():
        os.kill(breakable_broker.node.pid, signal.SIGCONT)
    else:
        breakable_broker.node.start()
    return breakable_broker


class Lab(Corner):
    """One test's own corner of a broker: a vhost, a queue name, and a connection to look with."""

    def __init__(self, broker: Broker, vhost: str) -> None:
        self.broker, self.vhost = broker, vhost
        super().__init__(f"amqp://guest:guest@127.0.0.1:{broker.port}/{vhost}")


def open_lab(broker: Broker) -> Lab:
    vhost = f"t-{uuid.uuid4().hex[:12]}"
    broker.add_vhost(vhost)
    return Lab(broker, vhost)


@pytest.fixture
def lab(broker: Broker) -> Iterator[Lab]:
    """Return a fresh vhost on the shared broker."""
    lab = open_lab(broker)
    yield lab
    with contextlib.suppress(pika.exceptions.AMQPError):
        lab.connection.close()
    broker.api("DELETE", f"vhosts/{lab.vhost}")


@pytest.fixture
def own_lab(own_broker: Broker) -> Iterator[Lab]:
    """Return a fresh vhost on a broker that the test may break."""
    lab = open_lab(own_broker)
    yield lab
    with contextlib.suppress(pika.exceptions.AMQPError):
        lab.connection.close()


# ---- the scripts


Run = Callable[..., Script]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Return a function that starts a script against the test's vhost; what still runs is killed.

    run("producer.py", "--queue", "q", "aaa", lab=lab, stdin=b"...", url=..., cwd=..., env={...})
    """
    scripts: list[Script] = []

    def start(
        name: str,
        *arguments: object,
        lab: Lab | None = None,
        url: str | None = None,
        stdin: bytes | None = None,
        cwd: Path | None = None,
        env: dict | None = None,
    ) -> Script:
        environment = {key: value for key, value in os.environ.items() if key != "AMQP_URL"}
        environment |= env or {}
        if url or lab:
            environment["AMQP_URL"] = url or lab.url
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        command = [sys.executable, str(ROOT / name), *map(str, arguments)]
        script = Script(command, environment, source, cwd)
        scripts.append(script)
        if stdin is not None:
            script.process.stdin.write(stdin)
            script.process.stdin.close()
        return script

    yield start
    for script in scripts:
        if script.process.poll() is None:
            script.kill()
        script.wait()


def wait_until(condition: Callable[[], object], what: str = "", within: float = DEADLINE) -> object:
    """Wait until a condition holds; return its value."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s: {what or condition}"
        time.sleep(0.02)
    return value
