"""The pytest plugin of the exercises: runs a student's program and looks at the broker meanwhile.

    @pytest.mark.task(2)
    def test_done(exercise: Exercise):
        "The sentence that says what is wanted."
        worker = exercise.start("--name", "ada")
        worker.wait_for("Waiting", "Your worker does not say that it waits.")

labs/check.py runs these checks; what fails is said to the student in one sentence.
"""

import contextlib
import os
import re
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from kit.broker.docker import dot_env
from kit.broker.lab import BROKERS, Broker
from kit.cli import signals_put_off, wait_until
from kit.cli.program import Line, Script
from kit.exercise.proxy import Heard, proxy_before
from kit.exercise.queue import Corner

PATIENCE = 10  # seconds for what takes a fraction of one where it works
MOST_LINES = 3000  # nothing that an exercise asks for prints as much
ROOT = Path(__file__).resolve().parents[3]


class Mistake(AssertionError):
    """Raised with the sentence that tells the student what is wrong."""


class Program(Script):
    """The student's program at work."""

    def __init__(self, path: Path, arguments: tuple, environment: dict[str, str]) -> None:
        self.path = path
        command = [sys.executable, str(path), *map(str, arguments)]
        options = {"most_lines": MOST_LINES, "own_session": True}
        super().__init__(command, environment, cwd=path.parent, **options)

    def wait_for(
        self,
        part: str,
        says: str,
        *,
        count: int = 1,
        within: float = PATIENCE,
        if_it_ends: str = "",
    ) -> Line:
        """Wait until `count` lines contain `part`. Raises Mistake with what to say otherwise."""
        try:
            return super().wait_for(part, count, within)
        except AssertionError:
            raise Mistake(self.what_happened(says, if_it_ends)) from None

    def wait(self, says: str, within: float = PATIENCE) -> int:
        """Wait for its end; return the exit code. Raises Mistake if it goes on."""
        try:
            return super().wait(within)
        except AssertionError:
            raise Mistake(self.what_happened(says)) from None

    def end(self) -> None:
        """Kill it, if it runs, and wait until it is gone."""
        self.kill()
        super().wait()

    def what_happened(self, says: str = "", if_it_ends: str = "") -> str:
        """Return the sentence for a failure: a crash explains more than what came of it."""
        if self.floods():
            return "Your program prints without end: it is in a loop that never waits."
        if crash := self.crash():
            if "transient_nonexcl" in crash:  # RabbitMQ 4.3 and later, unless permitted
                return "Your queue is not durable, and this broker takes no others: durable=True."
            return f"{if_it_ends} ({crash}.)" if if_it_ends else f"Your program crashed: {crash}."
        if refused := re.search(r"^\S+: error: (.+)", self.text("stderr"), re.MULTILINE):
            return f"Your program refused its options: {refused[1]}."
        if self.has_ended() and says:
            return if_it_ends or f"{says} (Your program had come to its end by then.)"
        return says

    def crash(self) -> str:
        """Return where and of what the program died, "" if it did not."""
        if self.has_ended():  # it has closed its output: the rest takes no time
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        text = self.text("stderr")
        if (self.process.poll() or 0) <= 0 or '  File "' not in text:
            return ""
        last = text[text.rindex('  File "') :].splitlines()
        error = next((line for line in last if not line.startswith(" ")), "no reason given")
        error = shorten(re.sub(r"^[\w.]+\.(?=[A-Z])", "", error).rstrip("."))
        lines = re.findall(rf'File "{re.escape(str(self.path))}", line (\d+)', text)
        return f"line {lines[-1]} of {self.path.name}, {error}" if lines else error


class Exercise:
    """One check's own queue, the student's program on it, and what can be done to both."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.queue = f"check-{uuid.uuid4().hex[:8]}"
        self.corner = Corner(url, self.queue)
        self.proxy, self.proxy_url = proxy_before(url)
        self.programs: list[Program] = []

    # ---- the program

    def start(self, *arguments: object, url: str | None = None) -> Program:
        """Start the student's program on the queue: as `exercise.py --queue Q ARGUMENTS`."""
        environment = os.environ | {
            "AMQP_URL": url or self.proxy_url,
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
            "NO_COLOR": "1",
        }
        with signals_put_off():
            program = Program(self.path, ("--queue", self.queue, *arguments), environment)
            self.programs.append(program)
        return program

    def start_worker(self, *arguments: object) -> Program:
        """Start the program as a worker and wait until it is subscribed."""
        begun = len(self.told(pika.spec.Basic.ConsumeOk))
        worker = self.start(*arguments)
        worker.wait_for("Waiting", "Your worker never printed that it is waiting for messages.")
        self.wait_until(
            lambda: len(self.told(pika.spec.Basic.ConsumeOk)) > begun or worker.has_ended(),
            "Your worker prints that it waits, but it did not subscribe to the queue.",
        )
        return worker

    def run(self, *arguments: object) -> Program:
        """Run the program to its end, which must come by itself."""
        program = self.start(*arguments)
        program.wait("Your program does not come to its end once it has sent its messages.")
        return program

    def url_with(self, *, password: str | None = None, vhost: str | None = None) -> str:
        """Return the URL of the program's broker with a part changed."""
        where = pika.URLParameters(self.proxy_url)
        login = where.credentials
        parts = [login.username, password or login.password, vhost or where.virtual_host]
        user, password, vhost = (urllib.parse.quote(part, safe="") for part in parts)
        return f"amqp://{user}:{password}@{where.host}:{where.port}/{vhost}"

    # ---- the broker

    def send(self, *bodies: str | bytes) -> None:
        """Send messages to the queue. Raises Mistake if there is no queue."""
        try:
            self.corner.publish(*bodies, persistent=True)
        except pika.exceptions.UnroutableError:
            raise Mistake(self._no_queue()) from None

    def ready(self) -> int:
        """Return the number of messages that wait. Raises Mistake if there is no queue."""
        try:
            return self.corner.ready()
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code == 404:
                raise Mistake(self._no_queue()) from None
            raise Mistake(f"Nobody else can use your queue: {error.reply_text}.") from None

    def take(self) -> list[tuple]:
        """Take all waiting messages; return pika's (method, properties, body) of each."""
        self.ready()
        return self.corner.take_all()

    def wait_ready(self, count: int, says: str, within: float = 4) -> None:
        """Wait until so many messages wait in the queue. Raises Mistake."""
        self.wait_until(lambda: self.ready() == count, says, within)

    def has_queue(self) -> bool:
        """Tell whether the queue is there."""
        try:
            self.corner.ready()
        except pika.exceptions.ChannelClosedByBroker as error:
            return error.reply_code != 404
        return True

    def consumers(self) -> int:
        """Return how many are subscribed to the queue."""
        self.ready()
        channel = self.corner.connection.channel()
        return channel.queue_declare(self.queue, passive=True).method.consumer_count

    def is_durable(self) -> bool:
        """Tell whether the queue survives a restart: the broker refuses another declaration."""
        self.ready()
        try:
            self.corner.connection.channel().queue_declare(self.queue, durable=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return "'durable'" not in error.reply_text
        return True

    def _no_queue(self) -> str:
        for program in self.programs:
            if program.crash() or program.floods():
                return program.what_happened()
        return "There is no queue of the name that --queue gives: your program did not declare it."

    # ---- the wire

    def said(self, what: type) -> list[Heard]:
        """Return the methods of a kind, such as pika.spec.Basic.Ack, that the program has sent."""
        return self._heard("program", what)

    def told(self, what: type) -> list[Heard]:
        """Return the methods of a kind, such as Basic.Deliver, that the broker has sent to it."""
        return self._heard("broker", what)

    def _heard(self, sender: str, what: type) -> list[Heard]:
        return [h for h in list(self.proxy.heard) if h.sender == sender and type(h.what) is what]

    def drop_connections(self) -> None:
        """Cut the program off from its broker, as a broken network does."""
        self.proxy.cut()

    # ---- the rest

    def wait_until(
        self,
        condition: Callable[[], object],
        says: str | Callable[[], str],
        within: float = PATIENCE,
    ) -> None:
        """Wait until a condition holds. Raises Mistake with what to say if it does not."""
        try:
            wait_until(condition, within)
        except TimeoutError:
            raise Mistake(says() if callable(says) else says) from None

    def restart_broker(self) -> None:
        """Restart the broker if labs/broker.py started it; without that, skip the check."""
        broker = our_broker(self.url)
        if broker is None:
            pytest.skip("labs/broker.py did not start this broker, so it is not ours to restart")
        self.corner.connection.close()
        with contextlib.redirect_stdout(sys.stderr):
            broker.restart()
        self.corner.reconnect()

    def aftermath(self, says: str) -> str:
        """Return what a check says, and that a program crashed if that is not said yet."""
        for program in self.programs:
            crash = program.crash()
            if program.floods() or (crash and crash not in says):
                return program.what_happened(if_it_ends=says)
        return says

    def close(self) -> None:
        """End the programs, and leave nothing on the broker."""
        for program in self.programs:
            program.end()
        self.proxy.close()
        names = {declared.what.queue for declared in self.said(pika.spec.Queue.Declare)}
        with contextlib.suppress(pika.exceptions.AMQPError):
            if not self.corner.connection.is_open:
                self.corner.reconnect()
            for name in names | {self.queue}:
                if name.startswith(self.queue):  # never a queue that is not this check's
                    self.corner.connection.channel().queue_delete(name)
            self.corner.connection.close()


def shorten(text: str, most: int = 160) -> str:
    """Return a text cut short."""
    return text if len(text) <= most else f"{text[:most]}..."


def broker_url() -> str:
    """Return the URL of the broker to check on: AMQP_URL, or that of labs/broker.py."""
    if url := os.environ.get("AMQP_URL"):
        return url
    login = [dot_env(ROOT).get(key) or "guest" for key in ("LAB_USER", "LAB_PASSWORD")]
    user, password = (urllib.parse.quote(word, safe="") for word in login)
    return f"amqp://{user}:{password}@localhost:{Broker('lab').port}/%2F"


def our_broker(url: str) -> Broker | None:
    """Return the broker of a URL if labs/broker.py started it: that one may be restarted."""
    where = pika.URLParameters(url)
    if where.host not in ("localhost", "127.0.0.1", "::1") or not BROKERS.is_dir():
        return None
    for record in [*BROKERS.glob("*/node.json"), *BROKERS.glob("*/docker.json")]:
        broker = Broker(record.parent.name)
        if broker.port == where.port and broker.way() in ("docker", "installed", "unpacked"):
            return broker
    return None


# ---- pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "task(number): which TODO of exercise.py a check is for")


@pytest.fixture
def exercise(request: pytest.FixtureRequest) -> Iterator[Exercise]:
    """Return the program to check (LAB_EXERCISE, or exercise.py beside the check) on a queue."""
    path = os.environ.get("LAB_EXERCISE") or request.path.parent / "exercise.py"
    exercise = Exercise(Path(path).absolute(), broker_url())
    yield exercise
    exercise.close()


@pytest.fixture
def when_all_else_is_right(request: pytest.FixtureRequest) -> None:
    """Skip a check that only makes sense once the checks before it have passed."""
    if request.session.testsfailed:
        pytest.skip("comes when the rest is right")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Put into a report what there is to say to the student: kind, says, task, asks, read."""
    report = yield
    report.kind, report.says = report.outcome, ""
    if call.excinfo and report.skipped:
        report.says = str(call.excinfo.value)
    elif call.excinfo:
        report.says, report.kind = explain(call.excinfo.value, item)
        report.longrepr = report.says
    asks, _, more = (item.function.__doc__ or "").partition("\n")
    read = re.search(r"Read: (\S+)", more)
    report.asks, report.read = asks, read[1] if read else ""
    report.task = item.get_closest_marker("task").args[0]
    return report


def explain(error: BaseException, item: pytest.Item) -> tuple[str, str]:
    """Return what to say about a check that did not pass, and whose fault it is."""
    if isinstance(error, (pika.exceptions.AMQPError, OSError)):
        return f"The broker went away during the check ({type(error).__name__}).", "no broker"
    if not isinstance(error, AssertionError):
        return f"The check itself failed, which is our mistake: {error!r}", "broken"
    exercise = item.funcargs.get("exercise")
    return exercise.aftermath(str(error)) if exercise else str(error), "failed"
