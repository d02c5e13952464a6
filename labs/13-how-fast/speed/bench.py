"""The bench: queues of our own on the broker in reach, and programs at work on them."""

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pika

from kit.amqp import Broker, BrokerError
from kit.cli import say, signals_put_off
from kit.management.counts import count
from producer import Producer
from speed.program import Program

ROOT = Path(__file__).resolve().parents[3]
PEERS = ROOT / "labs" / "13-how-fast" / "peers"
BODY = "hello world!"


class Bench:
    """One broker, the queues that we have on it, and the programs that run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = Broker(url=url, retry_for=0).connect()
        self.queues: list[str] = []
        self.programs: list[Program] = []

    @contextlib.contextmanager
    def queue(self, kind: str | None = "classic") -> Iterator[str]:
        """Give a new durable queue; end the programs and delete the queue at the end.

        The kind None is for programs that insist on declaring it themselves, each in its own way.
        """
        name = f"measure-{uuid.uuid4().hex[:8]}"
        self.queues.append(name)
        try:
            if kind:
                arguments = {"x-queue-type": kind} if kind != "classic" else None
                self.channel().queue_declare(name, durable=True, arguments=arguments)
            yield name
        finally:
            self.clear()

    def clear(self) -> None:
        """End what runs and delete what there is: queues, and the exchanges of Celery."""
        while self.programs:
            self.programs.pop().close()
        with contextlib.suppress(pika.exceptions.AMQPError, BrokerError):
            while self.queues:
                channel, name = self.channel(), self.queues[-1]
                for ending in ("", ".DQ", ".XQ"):  # dramatiq has three
                    channel.queue_delete(name + ending)
                for exchange in ("{}", "{}.pidbox", "reply.{}.pidbox", "{}.events"):
                    channel.exchange_delete(exchange.format(name))
                channel.close()
                self.queues.pop()

    def channel(self) -> pika.adapters.blocking_connection.BlockingChannel:
        """Return a new channel, on a new connection if the broker has closed the one we had."""
        with contextlib.suppress(pika.exceptions.AMQPError):
            return self.connection.channel()
        broker = Broker(url=self.url, retry_for=5)
        self.connection = broker.keep_trying(broker.connect)
        return self.connection.channel()

    def fill(self, queue: str, bodies: Iterable[str | bytes], persistent: bool = True) -> None:
        """Send messages to a queue; they are there when this returns."""
        with Producer(queue, url=self.url, persistent=persistent, retry_for=0) as producer:
            producer.send_all(bodies)

    def count(self, queue: str) -> tuple[int, int]:
        """Return the ready messages and the consumers of a queue, which need not be there yet."""
        return count(self.connection, queue) or (0, 0)

    def start(
        self, command: list[str], queue: str, *, pause: float = 0, stdin: Path | None = None,
        both: bool = False, **environment: object,
    ) -> Program:  # fmt: skip
        """Start a program that knows its broker and its queue."""
        more = {key: str(value) for key, value in environment.items()}
        known = {"AMQP_URL": self.url, "QUEUE": queue}
        environment = {**os.environ, **known, **more}
        with signals_put_off():
            program = Program(command, environment, PEERS, pause=pause, stdin=stdin, both=both)
            self.programs.append(program)
        return program

    def close(self) -> None:
        """Leave nothing behind, or say what."""
        self.clear()
        if self.queues:
            say("!", f"Still on the broker: labs/queues.py --delete {' '.join(self.queues)}")
        with contextlib.suppress(pika.exceptions.AMQPError):
            self.connection.close()
