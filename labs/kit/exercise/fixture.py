"""The `exercise` fixture: a queue, the student's program on it, and the wire between them.

@pytest.mark.task(2)
def test_done(exercise: Exercise):
    "The sentence that says what is expected."
    worker = exercise.start("--name", "ada")
    worker.wait_for("Waiting", "Your worker does not say that it waits.")
"""

import contextlib
import os
import sys
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path

import pika
import pytest

from kit.broker.lab import our_broker
from kit.cli import defer_signals, wait_until
from kit.exercise.program import PATIENCE, Mistake, Program
from kit.exercise.proxy import Heard, proxy_before
from kit.exercise.queue import QueueClient


class Exercise:
    """One check's own queue and the student's program on it, for the check to act on."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.queue = f"check-{uuid.uuid4().hex[:8]}"
        self.client = QueueClient(url, self.queue)
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
        with defer_signals():
            program = Program(self.path, ("--queue", self.queue, *arguments), environment)
            self.programs.append(program)
        return program

    def start_worker(self, *arguments: object) -> Program:
        """Start the program as a worker and wait until it has subscribed."""
        subscribed = len(self.received(pika.spec.Basic.ConsumeOk))
        worker = self.start(*arguments)
        worker.wait_for("Waiting", "Your worker never printed that it is waiting for messages.")
        self.wait_until(
            lambda: (
                len(self.received(pika.spec.Basic.ConsumeOk)) > subscribed or worker.has_ended()
            ),
            "Your worker prints that it waits, but it did not subscribe to the queue.",
        )
        return worker

    def run(self, *arguments: object) -> Program:
        """Run the program until it ends by itself. Raises Mistake if it does not."""
        program = self.start(*arguments)
        program.wait("Your program does not end once it has sent its messages.")
        return program

    def url_with(self, *, password: str | None = None, vhost: str | None = None) -> str:
        """Return the program's broker URL with another password or vhost."""
        where = pika.URLParameters(self.proxy_url)
        login = where.credentials
        parts = [login.username, password or login.password, vhost or where.virtual_host]
        user, password, vhost = (urllib.parse.quote(part, safe="") for part in parts)
        return f"amqp://{user}:{password}@{where.host}:{where.port}/{vhost}"

    # ---- the broker

    def send(self, *bodies: str | bytes) -> None:
        """Send messages to the queue. Raises Mistake if there is no queue."""
        try:
            self.client.publish(*bodies, persistent=True)
        except pika.exceptions.UnroutableError:
            raise Mistake(self._no_queue()) from None

    def ready(self) -> int:
        """Return the number of waiting messages. Raises Mistake if there is no queue."""
        try:
            return self.client.ready()
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code == 404:
                raise Mistake(self._no_queue()) from None
            raise Mistake(f"Nobody else can use your queue: {error.reply_text}.") from None

    def take(self) -> list[tuple]:
        """Take all waiting messages; return pika's (method, properties, body) of each."""
        self.ready()
        return self.client.take_all()

    def wait_ready(self, count: int, mistake: str, within: float = 4) -> None:
        """Wait until `count` messages wait in the queue. Raises Mistake."""
        self.wait_until(lambda: self.ready() == count, mistake, within)

    def has_queue(self) -> bool:
        try:
            self.client.ready()
        except pika.exceptions.ChannelClosedByBroker as error:
            return error.reply_code != 404
        return True

    def consumers(self) -> int:
        """Return the queue's number of consumers. Raises Mistake if there is no queue."""
        self.ready()
        channel = self.client.connection.channel()
        return channel.queue_declare(self.queue, passive=True).method.consumer_count

    def wait_until_returned(self) -> None:
        """Wait until the broker knows that the workers have ended; what they held is back then."""
        self.wait_until(lambda: self.consumers() == 0, "Your worker is gone, but still subscribed.")

    def is_durable(self) -> bool:
        """Return True if the queue is durable; the broker lets us redeclare it only as it is."""
        self.ready()
        try:
            self.client.declare(durable=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return "'durable'" not in error.reply_text
        return True

    def restart_broker(self) -> None:
        """Restart the broker if labs/broker.py started it; otherwise skip the check."""
        broker = our_broker(self.url)
        if broker is None:
            pytest.skip("labs/broker.py did not start this broker, so it is not ours to restart")
        self.client.connection.close()
        with contextlib.redirect_stdout(sys.stderr):
            broker.restart()
        self.client.reconnect()

    def _no_queue(self) -> str:
        for program in self.programs:
            if program.crash() or program.floods():
                return program.what_happened()
        return "There is no queue with the name in --queue: your program did not declare it."

    # ---- the wire

    def sent(self, method: type) -> list[Heard]:
        """Return the methods of a kind, such as pika.spec.Basic.Ack, that the program has sent."""
        return self._heard("program", method)

    def received(self, method: type) -> list[Heard]:
        """Return the methods of a kind, such as Basic.Deliver, that the program has received."""
        return self._heard("broker", method)

    def _heard(self, sender: str, method: type) -> list[Heard]:
        return [
            one for one in self.proxy.heard if one.sender == sender and type(one.what) is method
        ]

    def drop_connections(self) -> None:
        """Cut the program off from its broker, as a broken network does."""
        self.proxy.cut()

    # ---- the check

    def wait_until(
        self,
        condition: Callable[[], object],
        mistake: str | Callable[[], str],
        within: float = PATIENCE,
    ) -> None:
        """Wait until a condition holds. Raises Mistake if it does not."""
        try:
            wait_until(condition, within)
        except TimeoutError:
            raise Mistake(mistake() if callable(mistake) else mistake) from None

    def with_crash(self, mistake: str) -> str:
        """Return the mistake, with the crash of a program added unless it names it already."""
        for program in self.programs:
            crash = program.crash()
            if program.floods() or (crash and crash not in mistake):
                return program.what_happened(if_it_ends=mistake)
        return mistake

    def close(self) -> None:
        """End the programs and delete their queues."""
        for program in self.programs:
            program.end()
        self.proxy.close()
        names = {declared.what.queue for declared in self.sent(pika.spec.Queue.Declare)}
        with contextlib.suppress(pika.exceptions.AMQPError):
            if not self.client.connection.is_open:
                self.client.reconnect()
            for name in names | {self.queue}:
                if name.startswith(self.queue):  # never delete another check's queue
                    self.client.connection.channel().queue_delete(name)
            self.client.connection.close()
