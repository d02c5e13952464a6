"""Run programs on new queues of a broker."""

import contextlib
import os
import shlex
import sys
import uuid
from collections.abc import Iterator

import pika

from kit.amqp import Broker, BrokerError, declare_queue
from kit.cli import KIT, closing, defer_signals, say
from kit.management.counts import count
from speed.contenders import Contender
from speed.program import Program

PEERS = KIT / "labs" / "13-how-fast" / "peers"


class Bench:
    """A broker and the programs that use it. Raises BrokerError if it is unreachable."""

    def __init__(self, url: str) -> None:
        self.url, self.broker = url, Broker(url=url, retry_for=0)
        self.programs: list[Program] = []
        self.broker.connect().close()

    @contextlib.contextmanager
    def queue(self, contender: Contender, queue_type: str | None = None) -> Iterator[str]:
        """Make a new durable queue for a contender; on exit, kill the programs and delete it."""
        name = f"measure-{uuid.uuid4().hex[:8]}"
        try:
            if contender.needs != "dramatiq":  # which must declare the queue itself
                with closing(self.broker.connect()) as connection:
                    declare_queue(connection, name, durable=True, queue_type=queue_type)
            yield name
        finally:
            with defer_signals():
                for program in self.programs:
                    program.kill()
                    program.wait()
                self.programs.clear()
                self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            with closing(self.broker.connect()) as connection:
                channel = connection.channel()
                for ending in ("", ".DQ", ".XQ"):  # dramatiq has three queues
                    channel.queue_delete(name + ending)
                for exchange in ("{}", "{}.pidbox", "reply.{}.pidbox", "{}.events"):  # Celery's
                    channel.exchange_delete(exchange.format(name))
        except (BrokerError, pika.exceptions.AMQPError):
            say("!", f"Still on the broker: labs/queues.py --delete {name}")

    def count(self, queue: str) -> tuple[int, int]:
        """Return the numbers of ready messages and consumers; the queue need not exist yet."""
        with closing(self.broker.connect()) as connection:
            return count(connection, queue) or (0, 0)

    def start(
        self, command: str, queue: str, messages=(), *, count=0, prefetch=0, seconds=0.0
    ) -> Program:
        """Start a command of contenders.txt, with messages on its standard input.

        A `prefetch` of 0 means no limit; each character of a task takes `seconds`.
        """
        values = {"queue": queue, "count": count, "prefetch": prefetch, "seconds": seconds}
        values["limit"] = f"--prefetch {prefetch}" if prefetch else ""
        paths = {"python": sys.executable, "kit": str(KIT), "url": self.url}
        values |= {name: shlex.quote(path) for name, path in paths.items()}
        words = shlex.split(command.format(unique=uuid.uuid4().hex, **values))
        settings = {  # the programs in peers/ read these instead of options
            "AMQP_URL": self.url,
            "QUEUE": queue,
            "PREFETCH": str(prefetch),
            "dramatiq_queue_prefetch": str(prefetch),
            "SECONDS_PER_CHARACTER": str(seconds),
        }
        stdin = "".join(f"{message}\n" for message in messages).encode()
        with defer_signals():
            program = Program(words, os.environ | settings, PEERS, stdin)
            self.programs.append(program)
        return program
