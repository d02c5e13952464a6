"""The checks that labs/check.py 7 runs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.spec import Basic, Queue

from kit.exercise.fixture import Exercise
from kit.exercise.program import Program

LINES = [
    ("payments.info", "paid"),
    ("payments.db.error", "no connection"),
    ("shop.error", "sold out"),
    ("shop.info", "a visitor"),
    ("shop.payments.info", "asked for a price"),
    ("payments.db.slow.warning", "3 s"),
]
FILES = ("errors.log", "payments.log")
PLACES = len(FILES) + 1  # the files and the screen
ALL = {f"{key} {text}" for key, text in LINES}
ERRORS = {"payments.db.error no connection", "shop.error sold out"}
OURS = {
    "payments.info paid",
    "payments.db.error no connection",
    "payments.db.slow.warning 3 s",
}


class Logs:
    """An exchange of our own, and a folder for the program's files."""

    def __init__(self, exercise: Exercise, folder: Path) -> None:
        self.exercise, self.folder = exercise, folder
        self.name = f"{exercise.queue}-logs"

    def start(self) -> Program:
        """Start the program as a router and wait until it waits."""
        return self.exercise.start_worker(
            "--exchange", self.name, "--service", "payments", "--folder", self.folder
        )

    def send(self, lines: list[tuple[str, str]]) -> None:
        """Publish log lines, even if nobody takes them."""
        channel = self.exercise.client.connection.channel()
        channel.confirm_delivery()
        for key, text in lines:
            # RabbitMQ 4.3 refuses messages for a queue that is being deleted with its consumer.
            with contextlib.suppress(pika.exceptions.UnroutableError, pika.exceptions.NackError):
                channel.basic_publish(self.name, key, text.encode(), mandatory=True)
        channel.close()

    def file(self, name: str) -> list[str]:
        """Return the lines of a file that the program has written."""
        with contextlib.suppress(OSError):
            return (self.folder / name).read_text(encoding="utf-8").splitlines()
        return []

    def each_has_its_queue(self) -> bool:
        """Return True if the program subscribes to a queue for each place."""
        return len({one.what.queue for one in self.exercise.sent(Basic.Consume)}) >= PLACES

    def delete(self) -> None:
        """Delete the exchange."""
        with contextlib.suppress(pika.exceptions.AMQPError):
            self.exercise.client.connection.channel().exchange_delete(self.name)


@pytest.fixture
def logs(exercise: Exercise, tmp_path: Path) -> Iterator[Logs]:
    """Return an exchange and a folder of our own."""
    logs = Logs(exercise, tmp_path)
    yield logs
    logs.delete()


def on_screen(router: Program) -> set[str]:
    """Return the log lines that a router has printed."""
    return {line for line in ALL if router.find(line)}


@pytest.mark.task(1)
def test_the_screen_shows_all(exercise: Exercise, logs: Logs) -> None:
    """The screen shows a copy of every log line, wherever else it goes.

    Read: https://www.rabbitmq.com/tutorials/tutorial-three-python
    """
    router = logs.start()
    logs.send(LINES)
    exercise.wait_until(
        lambda: on_screen(router) == ALL,
        lambda: (
            f"{len(ALL)} lines were logged, and your router printed {len(on_screen(router))} of "
            "them: consumers of one queue share its messages, so each place needs a "
            "queue of its own."
        ),
        within=3,
    )


def wait_for_file(logs: Logs, name: str, expected: set[str], pattern: str) -> None:
    """Wait until a file has the expected lines; check that it has no others, and none twice."""

    def what_it_lacks() -> str:
        line = sorted(expected - set(logs.file(name)))[0]
        if not logs.each_has_its_queue():
            why = f"it needs a queue of its own, with the pattern for {pattern}"
        else:
            words = line.split()[0].count(".") + 1
            why = f"the pattern of its queue does not fit this key of {words} words; "
            why += f"take the pattern for {pattern}"
        return f"{name} lacks {line!r}: {why}."

    logs.exercise.wait_until(lambda: expected <= set(logs.file(name)), what_it_lacks, within=3)
    written = logs.file(name)
    strange = [line for line in written if line not in expected]
    assert not strange, (
        f"{name} has {strange[0]!r}, which does not belong there: bind its queue with the pattern "
        f"for {pattern}."
    )
    assert len(written) == len(set(written)), f"{name} has a line twice."


@pytest.mark.task(2)
def test_each_file_has_what_belongs_there(exercise: Exercise, logs: Logs) -> None:
    """errors.log has the errors of all services, payments.log all of one service.

    Read: https://www.rabbitmq.com/tutorials/tutorial-five-python
    """
    logs.start()
    logs.send(LINES)
    wait_for_file(logs, "errors.log", ERRORS, "any words, and then error")
    wait_for_file(logs, "payments.log", OURS, "the name of the service, and then any words")


@pytest.mark.task(3)
def test_the_files_miss_nothing(exercise: Exercise, logs: Logs) -> None:
    """What is logged while the router is away is in the files when it is back.

    Read: https://www.rabbitmq.com/docs/queues#durability
    """
    router = logs.start()
    logs.send([("payments.error", "before")])
    lines = ["payments.error before", "payments.error meanwhile"]
    exercise.wait_until(
        lambda: all(logs.file(file) == lines[:1] for file in FILES),
        lambda: (
            f"Task 3 cannot be judged before task {1 + logs.each_has_its_queue()} is done: a line "
            "with the key 'payments.error' belongs in both files, once."
        ),
        within=3,
    )
    exercise.wait_until(
        lambda: len(exercise.sent(Basic.Ack)) >= 3,
        "Your router wrote a line, and did not acknowledge every copy of it after that.",
        within=3,
    )
    router.end()
    logs.send([("payments.error", "meanwhile")])
    logs.start()
    for file in FILES:
        exercise.wait_until(
            lambda file=file: logs.file(file) == lines,
            f"A line was logged while your router was away, and it is not in {file} now that it is "
            "back: the queue has to stay, so not exclusive=True, but durable=True.",
            within=3,
        )
    declared = [one.what for one in exercise.sent(Queue.Declare)]
    assert all(queue.durable or queue.exclusive or queue.passive for queue in declared), (
        "The queue stays while you are away, but not over a restart of the broker: add "
        "durable=True."
    )
