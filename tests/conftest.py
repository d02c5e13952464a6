"""Fixtures: a private broker, a fresh vhost for each test, and running and watching scripts.

The process that collects the tests starts one broker that they all share. Tests that stop, kill or
freeze a broker take one of their own, `own_broker`, which each pytest-xdist worker starts once.
"""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pika
import pytest

from kit.broker import versions
from kit.broker.node import Node
from kit.cli.program import DEADLINE, Script
from kit.exercise.proxy import Proxy, proxy_before
from kit.exercise.queue import QueueClient

ROOT = Path(__file__).parent.parent
# Fixtures that start a broker, once in each pytest-xdist worker that uses them.
BROKERS = {"breakable_broker", "denying_broker", "tls_lab", "node"}
BREAKABLE_BROKERS = 3  # how many groups of tests share one each
LONG_PAGES = "06", "11", "04", "05", "09", "10", "02", "03", "07", "13"  # the longest first
# Parts of the names of the tests that start before all others, in this order.
LONG_TESTS = [f"test_worksheet_shows_what_it_prints[{page}-" for page in LONG_PAGES]
LONG_TESTS.append("test_starting_points.py")


# ---- the brokers


@dataclass
class Broker:
    """A broker for tests. In a pytest-xdist worker the shared broker has no `node`."""

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
        """Create a vhost in which guest may do everything."""
        self.api("PUT", f"vhosts/{name}", {})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.api("PUT", f"permissions/{name}/guest", everything)

    def flush_to_disk(self) -> None:
        """Flush all declarations to disk, so that they survive a kill.

        Mnesia's log and the names of quorum queues are otherwise written up to 2 s later.
        """
        self.node.ctl(
            "eval",
            "[dets:sync(Table) || Table <- dets:all()], "
            "[mnesia:sync_log() || {mnesia, _, _} <- application:which_applications()].",
        )

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the node for the block: it neither answers nor hangs up."""
        os.kill(self.node.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.node.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def short_of_memory(self) -> Iterator[None]:
        """Make the node believe for the block that it has no memory left: it blocks publishers."""
        self.node.ctl("set_vm_memory_high_watermark", "0")
        try:
            yield
        finally:
            self.node.ctl("set_vm_memory_high_watermark", "0.4")


def start_broker(folder: Path, options: dict, settings: str = "") -> Broker:
    """Start a private node in `folder` on free ports, with pytest's command-line options."""
    prefix = versions.get(ROOT / ".broker" / "unpacked", options["version"])
    settings += "collect_statistics_interval = 1000\n"  # ms; tests wait for counts
    if options["deny_transient"]:
        settings += "deprecated_features.permit.transient_nonexcl_queues = false\n"
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
    parser.addoption("--docker", action="store_true", help="run tests/test_docker.py only")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect test_docker.py only with --docker, and nothing else then."""
    is_file = collection_path.suffix == ".py"
    is_docker = collection_path.name == "test_docker.py"
    return True if is_file and is_docker != config.getoption("--docker") else None


def broker_options(config: pytest.Config) -> dict:
    return {
        "version": config.getoption("--rabbitmq"),
        "deny_transient": config.getoption("--deny-transient"),
    }


def pytest_configure(config: pytest.Config) -> None:
    """Start the shared broker in the main process, not in every worker."""
    # A script's `make test &` ignores SIGINT, and what we start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        return
    if config.getoption("collectonly") or config.getoption("docker"):
        return
    config.lab_folder = Path(tempfile.mkdtemp(prefix="queue-lab-"))
    config.lab_broker = start_broker(config.lab_folder / "shared", broker_options(config))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share a broker, and start the longest tests first."""
    breakable = itertools.cycle(f"breakable-{number}" for number in range(BREAKABLE_BROKERS))
    groups: dict[pytest.Item, str] = {}
    for item in items:
        for fixture in BROKERS.intersection(getattr(item, "fixturenames", ())):
            groups[item] = next(breakable) if fixture == "breakable_broker" else fixture
            item.add_marker(pytest.mark.xdist_group(groups[item]))

    def place(item: pytest.Item) -> int:
        for number, part in enumerate(LONG_TESTS):
            if part in item.nodeid:
                return number
        return len(LONG_TESTS) + (item not in groups)

    items.sort(key=place)


def pytest_configure_node(node) -> None:
    """Pass to a pytest-xdist worker the shared broker, and the folder for its own brokers."""
    broker = node.config.lab_broker
    node.workerinput["broker"] = [broker.port, broker.management_port]
    node.workerinput["folder"] = str(node.config.lab_folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Kill every broker, including those of workers that Ctrl-C ended."""
    if folder := getattr(config, "lab_folder", None):
        for state in folder.glob("**/node.json"):
            Node(state.parent).kill()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def brokers_folder(request: pytest.FixtureRequest) -> Path:
    """Return a folder for a worker's brokers, which are killed however the tests end."""
    config = request.config
    folder = Path(getattr(config, "workerinput", {}).get("folder") or config.lab_folder)
    return Path(tempfile.mkdtemp(dir=folder))


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """Return the broker that all tests share; a test must leave it running."""
    if hasattr(request.config, "workerinput"):
        return Broker(*request.config.workerinput["broker"])
    return request.config.lab_broker


@pytest.fixture(scope="session")
def breakable_broker(request: pytest.FixtureRequest, brokers_folder: Path) -> Iterator[Broker]:
    broker = start_broker(brokers_folder / "own" / "node", broker_options(request.config))
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


class Lab(QueueClient):
    """A vhost for one test, a queue name, and a connection to inspect them with."""

    def __init__(self, broker: Broker, vhost: str) -> None:
        self.broker, self.vhost = broker, vhost
        super().__init__(f"amqp://guest:guest@127.0.0.1:{broker.port}/{vhost}")

    def connections(self, name: str) -> list[dict]:
        """Return the open connections with this name."""
        every = self.broker.api("GET", f"vhosts/{self.vhost}/connections")
        return [one for one in every if one["client_properties"].get("connection_name") == name]

    def declare(self, queue: str | None = None, durable: bool = True, **arguments) -> None:
        """Declare a queue; durable by default, as some brokers refuse transient ones."""
        self.connection.channel().queue_declare(queue or self.queue, durable=durable, **arguments)

    def peek(self, queue: str | None = None) -> list[dict]:
        """Return the messages of a queue without consumers, also those that pika cannot decode."""
        name = queue or self.queue
        wait_until(lambda: not self.consumers(name), "no consumer on the queue")
        request = {"count": 10_000, "ackmode": "ack_requeue_true", "encoding": "auto"}
        messages = self.broker.api("POST", f"queues/{self.vhost}/{name}/get", request)
        wait_until(lambda: self.ready(name) == len(messages), "they are back in the queue")
        return messages

    def consumers(self, queue: str | None = None) -> int:
        """Return the number of consumers of a queue."""
        channel = self.connection.channel()
        count = channel.queue_declare(queue or self.queue, passive=True).method.consumer_count
        channel.close()
        return count

    def acknowledged(self, queue: str | None = None) -> int:
        """Return the number of acknowledged messages, which the broker counts once a second."""
        counts = self.broker.api("GET", f"queues/{self.vhost}/{queue or self.queue}")
        return counts.get("message_stats", {}).get("ack", 0)

    def remains(self, queue: str | None = None) -> list[tuple[bytes, bool]]:
        """Wait until the queue has no consumer; take its messages as (body, redelivered)."""
        name = queue or self.queue
        wait_until(lambda: not self.consumers(name), "no consumer on the queue")
        return [(body, method.redelivered) for method, _, body in self.take_all(name)]


@pytest.fixture
def transient_queues(request: pytest.FixtureRequest) -> None:
    """Skip the test if pytest was started with --deny-transient."""
    if broker_options(request.config)["deny_transient"]:
        pytest.skip("this broker refuses transient queues")


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


@pytest.fixture
def proxied(lab: Lab) -> Iterator[tuple[Proxy, str]]:
    """Return a proxy in front of the shared broker, and the URL of the lab's vhost through it."""
    proxy, url = proxy_before(lab.url)
    yield proxy, url
    proxy.close()


# ---- the scripts


Run = Callable[..., Script]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Return a function that starts a script on the test's vhost; scripts still running are killed.

    run("producer.py", "--queue", "q", "aaa", lab=lab, stdin=b"...", url=..., cwd=..., env={...})

    `stdin` may be subprocess.PIPE, to write to it later; `shell` is the rest of a shell's command
    line after the command, such as "| head -1" or ">&-".
    """
    scripts: list[Script] = []

    def start(
        name: str,
        *arguments: object,
        lab: Lab | None = None,
        url: str | None = None,
        stdin: bytes | int | None = None,
        cwd: Path | None = None,
        env: dict | None = None,
        shell: str = "",
    ) -> Script:
        environment = {key: value for key, value in os.environ.items() if key != "AMQP_URL"}
        if undecodable_is_fine():  # pika 1.5 warns that 2.0 drops BlockingConnection
            environment["PYTHONWARNINGS"] = "ignore::DeprecationWarning"
        environment |= env or {}
        if url or lab:
            environment["AMQP_URL"] = url or lab.url
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        command = [sys.executable, str(ROOT / name), *map(str, arguments)]
        if shell:
            command = ["bash", "-o", "pipefail", "-c", f'"$@" {shell}', "bash", *command]
        script = Script(command, environment, source, cwd)
        scripts.append(script)
        if isinstance(stdin, bytes):
            script.process.stdin.write(stdin)
            script.process.stdin.close()
        return script

    yield start
    for script in scripts:
        if script.process.poll() is None:
            script.kill()
        script.wait()


@dataclass
class Gate:
    """A copy of qprocessor.py whose tasks last until the gate opens."""

    script: Path
    path: Path

    def open(self) -> None:
        """Let the task in hand and all later tasks end."""
        self.path.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    gate = Gate(tmp_path / "qprocessor.py", tmp_path / "gate")
    code = (ROOT / "qprocessor.py").read_text()
    work = "        time.sleep(seconds)\n"
    wait = f"        while not os.path.exists({str(gate.path)!r}):\n            time.sleep(0.02)\n"
    assert code.count(work) == 1
    gate.script.write_text(code.replace(work, wait))
    return gate


@pytest.fixture
def worker(run: Run) -> Iterator[Run]:
    """Return a function that starts qprocessor.py and waits until it consumes; no tracebacks."""
    workers: list[Script] = []

    def start(
        lab: Lab, *options: object, seconds: float = 0.01, script="qprocessor.py", **more
    ) -> Script:
        options = ("--queue", lab.queue, "--seconds-per-character", seconds, *options)
        workers.append(run(script, *options, lab=lab, **more))
        workers[-1].wait_for("Waiting for messages")
        return workers[-1]

    yield start
    for worker in workers:
        assert "Traceback" not in worker.text()


def fates(worker: Script) -> dict[str, int]:
    """Return the counts from a worker's last line: worked, lost, returned, failed."""
    (line,) = worker.find(" [*] Stopped: ")
    return {fate: int(count) for count, fate in re.findall(r"(\d+) (\w+)", line.text)}


def read_journal(path: Path) -> list[dict]:
    """Return the lines of a journal; the last one must be complete."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def of(lines: list[dict], event: str) -> list[dict]:
    """Return the journal's lines with this event."""
    return [line for line in lines if line["event"] == event]


def events(lines: list[dict], message: str) -> list[str]:
    """Return the events of a message, in order."""
    return [line["event"] for line in lines if line.get("message") == message]


class UndecodableProperties(pika.BasicProperties):
    """Properties with a timestamp in milliseconds in a header, which pika 1.4 cannot decode."""

    def encode(self) -> list[bytes]:
        """Return the property flags and a table with one header, in wire format."""
        header = b"\x04when" + b"T" + struct.pack(">Q", 1_764_336_000_000)
        return [struct.pack(">H", self.FLAG_HEADERS), struct.pack(">I", len(header)) + header]


def undecodable_is_fine() -> bool:
    """Return True if this is pika 1.5 or later, which decodes UndecodableProperties."""
    major, minor = map(int, pika.__version__.split(".")[:2])
    return (major, minor) >= (1, 5)


class Terminal:
    """A script in a terminal, as if a person had started it."""

    def __init__(self, command: list, environment: dict) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C, /dev/tty
        )
        os.close(slave)
        self.text = ""

    def wait_for(self, part: str, within: float = DEADLINE) -> None:
        """Wait until `part` was printed."""
        end = time.monotonic() + within
        while part not in self.text:
            assert time.monotonic() < end, f"no {part!r} within {within} s:\n{self.text}"
            assert self._read(0.1), f"no {part!r} to its end:\n{self.text}"

    def type(self, text: str) -> None:
        r"""Press keys: \n is Enter, \x03 Ctrl-C, \x04 Ctrl-D."""
        os.write(self._master, text.encode())

    def wait(self, within: float = DEADLINE) -> int:
        """Wait for the script's end; return its exit code."""
        end = time.monotonic() + within
        while self._read(0.1):
            assert time.monotonic() < end, f"still running after {within} s:\n{self.text}"
        return self.process.wait(within)

    def close(self) -> None:
        """Kill the script if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        """Read new output; return False at its end."""
        if select.select([self._master], [], [], seconds)[0]:
            try:
                self.text += os.read(self._master, 65536).decode(errors="backslashreplace")
            except OSError:  # no process is left that could write to it
                return False
        return True


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Return a function that starts a command in its own terminal."""
    terminals: list[Terminal] = []

    def start(*command: object, lab: Lab | None = None) -> Terminal:
        environment = {key: value for key, value in os.environ.items() if key != "AMQP_URL"}
        environment |= {"TERM": "dumb"} | ({"AMQP_URL": lab.url} if lab else {})
        terminals.append(Terminal(list(map(str, command)), environment))
        return terminals[-1]

    yield start
    for one in terminals:
        one.close()


def wait_until(condition: Callable[[], object], what: str = "", within: float = DEADLINE) -> object:
    """Wait until a condition holds; return its value."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s: {what or condition}"
        time.sleep(0.05)
    return value
