"""Who takes part: command lines of the kit's scripts, of bare pika, and of the peers.

The peers' programs lie in labs/13-how-fast/peers/, a few lines each, as their documentation has it.
All send persistent messages of 12 bytes and acknowledge each when its work is done; all workers
print the same two lines for a task.
"""

import importlib.util
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from speed.bench import BODY, PEERS, ROOT

KIT, BARE, PEER = "kit", "bare", "peer"


@dataclass(frozen=True)
class Settings:
    """How a worker is to work: at most so many unacknowledged (0: no limit), and how long."""

    queue: str
    prefetch: int = 1
    seconds: float = 0


def has(what: str) -> bool:
    """Tell whether a Python package, or else a program, is installed."""
    return bool(shutil.which(what) if "-" in what else importlib.util.find_spec(what))


@dataclass(frozen=True)
class Sender:
    """A way of sending `count` messages to a queue."""

    name: str
    kind: str
    command: Callable[[str, int], list[str]]  # queue, count
    slow: bool = False  # it waits for each confirm
    confirmed: bool = False
    needs: str = "pika"
    environment: tuple[tuple[str, str], ...] = ()
    stdin: bool = False  # it reads the messages from standard input

    @property
    def queue(self) -> str | None:
        """The kind of queue to declare for it, if it does not insist on its own."""
        return None if self.needs == "dramatiq" else "classic"


@dataclass(frozen=True)
class Worker:
    """A way of working off a queue; `sender` is the program that it understands, if only one."""

    name: str
    kind: str
    command: Callable[[Settings], list[str]]
    needs: str = "pika"
    sender: str = ""
    quiet: bool = False  # prints only the first and the last task: for reference
    default_prefetch: bool = False

    @property
    def both(self) -> bool:
        """Tell whether what its tasks print may come on its stderr."""
        return self.needs == "dramatiq"

    @property
    def queue(self) -> str | None:
        """The kind of queue to declare for it, if it does not insist on its own."""
        return None if self.needs == "dramatiq" else "classic"


def python(*arguments: object) -> list[str]:
    """Return a command line for the Python that runs."""
    return [sys.executable, *map(str, arguments)]


def producer(queue: str, count: int, *options: str) -> list[str]:
    """Return the command line of producer.py."""
    return python(ROOT / "producer.py", "--queue", queue, "--count", count, *options, BODY)


def peer_sender(file: str, *options: str) -> Callable[[str, int], list[str]]:
    """Return the command lines of a program in peers/ that sends."""
    return lambda queue, count: python(PEERS / file, count, *options)


def amqp_publish(queue: str, count: int) -> list[str]:
    """Return the command line of amqp-publish, one message a line."""
    return ["sh", "-c", 'exec amqp-publish --url "$AMQP_URL" -r "$QUEUE" -p -l']


KIT_SENDER = "producer.py"
UNCONFIRMED = "bare pika, unconfirmed"
ONE_BY_ONE = "bare pika, one by one"
SENDERS = (
    Sender("producer.py", KIT, lambda q, n: producer(q, n, "--persistent"), confirmed=True),
    Sender(UNCONFIRMED, BARE, peer_sender("pika_send.py")),
    Sender(ONE_BY_ONE, BARE, peer_sender("pika_send.py", "confirmed"), True, True),
)
TRANSIENT = (
    Sender("producer.py", KIT, producer, confirmed=True),
    Sender(UNCONFIRMED, BARE, peer_sender("pika_send.py", "transient")),
    Sender(ONE_BY_ONE, BARE, peer_sender("pika_send.py", "confirmed", "transient"), True, True),
)
CONFIRMED = (("CONFIRMED", "1"),)
PEER_SENDERS = (
    Sender("aio-pika, 1,000 at a time", PEER, peer_sender("aio_pika_send.py", "together"),
           confirmed=True, needs="aio_pika"),
    Sender("aio-pika, one by one", PEER, peer_sender("aio_pika_send.py"), True, True, "aio_pika"),
    Sender("kombu, confirmed", PEER, peer_sender("kombu_send.py", "confirmed"), True, True,
           "kombu"),
    Sender("dramatiq, confirmed", PEER, peer_sender("dramatiq_send.py"), True, True, "dramatiq",
           CONFIRMED),
    Sender("Celery, confirmed", PEER, peer_sender("celery_send.py"), True, True, "celery",
           CONFIRMED),
    Sender("kombu, unconfirmed", PEER, peer_sender("kombu_send.py"), needs="kombu"),
    Sender("dramatiq, unconfirmed", PEER, peer_sender("dramatiq_send.py"), needs="dramatiq"),
    Sender("Celery, unconfirmed", PEER, peer_sender("celery_send.py"), needs="celery"),
    Sender("amqp-publish, unconfirmed", PEER, amqp_publish, needs="amqp-publish", stdin=True),
)  # fmt: skip


def kit_worker(settings: Settings) -> list[str]:
    """Return the command line of qprocessor.py."""
    limit = ["--prefetch", settings.prefetch] if settings.prefetch else []
    return python(
        ROOT / "qprocessor.py", "--queue", settings.queue, "--durable", "--acknowledge", *limit,
        "--seconds-per-character", settings.seconds,
    )  # fmt: skip


def kit_reader(settings: Settings) -> list[str]:
    """Return the command line of consumer.py."""
    limit = ["--prefetch", settings.prefetch] if settings.prefetch else []
    return python(
        ROOT / "consumer.py", "--queue", settings.queue, "--durable", "--acknowledge", *limit
    )


def peer_worker(file: str) -> Callable[[Settings], list[str]]:
    """Return the command lines of a program in peers/ that works."""
    return lambda settings: python(PEERS / file)


def celery(*options: str) -> Callable[[Settings], list[str]]:
    """Return the command lines of a Celery worker."""
    return lambda settings: python(
        "-m", "celery", "-A", "celery_app", "worker", "-n", f"{uuid.uuid4().hex}@%h", *options
    )


def dramatiq(*options: str) -> Callable[[Settings], list[str]]:
    """Return the command lines of a dramatiq worker."""
    return lambda settings: python("-m", "dramatiq", "dramatiq_app", *options)


def amqp_consume(settings: Settings) -> list[str]:
    """Return the command line of amqp-consume, which starts a program for each message."""
    consume = 'exec amqp-consume --url "$AMQP_URL" -q "$QUEUE" -p "$PREFETCH" ./amqp_task.sh'
    return ["sh", "-c", consume]


BARE_WORKER = "bare pika"
READERS = (
    Worker("consumer.py", KIT, kit_reader),
    Worker(BARE_WORKER, BARE, peer_worker("pika_reader.py")),
)
WORKERS = (
    Worker("qprocessor.py", KIT, kit_worker),
    Worker(BARE_WORKER, BARE, peer_worker("pika_worker.py")),
)
# What the scripts do, without what else they do: the main thread has the connection, another works.
TWO_THREADS = Worker("bare pika, two threads", BARE, peer_worker("pika_threads.py"))
SILENT = Worker("bare pika, silent*", BARE, peer_worker("pika_worker.py"), quiet=True)
PEER_WORKERS = (
    Worker("kombu", PEER, peer_worker("kombu_worker.py"), "kombu"),
    Worker("aio-pika", PEER, peer_worker("aio_pika_worker.py"), "aio_pika"),
    Worker("dramatiq", PEER, dramatiq("-p", "1", "-t", "1"), "dramatiq", "dramatiq_send.py"),
    Worker("Celery", PEER, celery("-c", "1"), "celery", "celery_send.py"),
    Worker("amqp-consume", PEER, amqp_consume, "amqp-consume"),
)
SILENT_PEERS = (
    Worker("dramatiq, silent*", PEER, dramatiq("-p", "1", "-t", "1"), "dramatiq",
           "dramatiq_send.py", quiet=True),
    Worker("Celery, silent*", PEER, celery("-c", "1"), "celery", "celery_send.py", quiet=True),
)  # fmt: skip
UNTUNED_PEERS = (
    Worker("dramatiq, default prefetch", PEER, dramatiq("-p", "1", "-t", "1"), "dramatiq",
           "dramatiq_send.py", default_prefetch=True),
    Worker("Celery, default prefetch", PEER, celery("-c", "1"), "celery", "celery_send.py",
           default_prefetch=True),
)  # fmt: skip
DEFAULT_PEERS = (
    Worker("dramatiq, default", PEER, dramatiq(), "dramatiq", "dramatiq_send.py",
           default_prefetch=True),
    Worker("Celery, default", PEER, celery(), "celery", "celery_send.py", default_prefetch=True),
)  # fmt: skip
