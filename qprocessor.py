#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pika>=1.4.4,<1.5", "tenacity>=9,<10"]
# ///
"""Process the messages of a RabbitMQ queue: one second of work for each character.

  ./qprocessor.py --queue hello                              # as in lab 2
  ./qprocessor.py --queue hello --lose-every 3               # lose every third message
  ./qprocessor.py --queue tasks --acknowledge --prefetch 1   # lose nothing; fair dispatch

Read from work() to stop_consuming(): that is the whole story. Bookkeeping follows, then the block
that all three scripts share: connecting, explaining errors, options. For a worker of your own put
your code into work(), and into describe() what to say about a message before its work begins.
"""

import argparse
import contextlib
import copy
import datetime
import difflib
import getpass
import json
import math
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple, NoReturn

try:
    from queue import Empty, SimpleQueue

    import pika
    from pika.adapters.blocking_connection import BlockingChannel
    from pika.adapters.utils.connection_workflow import AMQPConnectorException
    from tenacity import RetryCallState, Retrying, wait_random_exponential
except ImportError as missing:
    install = "python3 -m venv v && v/bin/pip install 'pika<1.5' tenacity; then v/bin/python"
    hint = f"{install} {sys.argv[0]}    (rename files of yours called pika.py, queue.py ...)"
    raise SystemExit(f"{missing}\n  try: {hint}") from None

TICK = 0.2  # seconds between two looks at whether it is time to stop
LAST_RETURN = 20  # returned once more, a message vanishes from a quorum queue of RabbitMQ 4
FOR_THE_BROKER = (
    "CC",
    "x-delivery-count",
    "x-acquired-count",
)  # headers that would mean something to it


def work(text: str, seconds: float) -> None:
    """Do the work of one message; any error is a failure of that message.

    It runs in a thread of its own, while the main thread keeps the connection alive. So it may
    take as long as it likes, but it must not use the connection, and Ctrl-C does not reach it.
    """
    if seconds:
        time.sleep(seconds)


def describe(text: str, seconds: float) -> str:
    """Return what to say about a message before its work begins."""
    return f"{seconds:g} s of work"


class Task(NamedTuple):
    """A delivery we hold; acknowledge it only on the channel it came from."""

    connection: int  # counted from 1
    channel: BlockingChannel
    method: pika.spec.Basic.Deliver
    properties: pika.BasicProperties
    body: bytes


class Worker:
    """The main thread owns the connection, and a second thread works.

    Tasks go over in one queue and come back in another, with what became of them.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        started = {name: getattr(options, name) for name in ("queue", "acknowledge", "prefetch")}
        self.options, self.journal = options, Journal(options.journal, options.name, **started)
        self.broker = options.parser.broker(options, self.journal)
        self.broker.queue = options.queue
        # To stop by itself it must acknowledge: then the broker has back what comes too late.
        self.auto_ack = not (options.acknowledge or options.limit or options.exit_when_empty)
        self.tasks: SimpleQueue[Task] = SimpleQueue()
        self.results: SimpleQueue[tuple[Task, str | BaseException]] = SimpleQueue()
        self.in_hand: Task | None = None  # the task that is worked on
        self.trouble: Exception | None = None  # what ended the working thread
        self.wanted = options.limit or math.inf  # so many more
        self.held = self.begun = self.too_late = self.looked_empty = self.failures = self.signal = 0
        self.fates = dict.fromkeys(("worked", "lost", "returned", "failed"), 0)

    def consume(self) -> None:
        """Connect and receive messages; Broker.keep_trying calls this again after a loss."""
        if self.signal or self.wanted == 0:  # when the last connection was lost
            return
        options, connection = self.options, self.broker.connect()
        channel = declare_queue(connection, options.queue, options.durable, options.queue_type)
        channel.basic_qos(prefetch_count=self.most_at_once())
        self.channel, self.arrived, self.is_stopping = channel, 0, False
        self.tag = channel.basic_consume(options.queue, self.on_message, auto_ack=self.auto_ack)
        say("*", f"Waiting for messages on {options.queue!r}. To exit press CTRL+C")
        connection.call_later(TICK, self.look_around)
        try:
            channel.start_consuming()  # until the consumer is cancelled, by us or by the broker
            if not (self.is_stopping or self.signal):
                connection.close()
                why = f"queue {options.queue!r} was deleted, or the delivery timeout passed"
                raise pika.exceptions.ConsumerCancelled(why)
            while self.is_busy() and connection.is_open:
                connection.process_data_events(time_limit=TICK)  # heartbeats, and settle()
        finally:
            if options.acknowledge:
                self.drop_waiting()  # the broker hands it out again
        if connection.is_open:
            connection.close()

    def on_message(self, channel, method, properties, body: bytes) -> None:
        """Hand a delivery over to the working thread."""
        task = Task(self.broker.connections, channel, method, properties, body)
        self.note("received", task, redelivered=method.redelivered, bytes=len(body))
        self.arrived += 1
        self.wanted -= 1
        if self.options.acknowledge and times_returned(properties) >= LAST_RETURN:
            self.set_aside(task, f"returned {LAST_RETURN} times, never done")
        else:
            self.held += 1
            self.tasks.put(task)
            if not (self.options.acknowledge or self.auto_ack):
                channel.basic_ack(method.delivery_tag)
        if self.wanted == 0:
            self.stop_consuming()

    def work_forever(self) -> None:
        """Work on one task after the other: this is the second thread."""
        try:
            while True:
                self.in_hand = task = self.tasks.get()
                if result := self.work_on(task):
                    self.results.put((task, result))
                    with contextlib.suppress(pika.exceptions.AMQPError):  # the connection is lost
                        task.channel.connection.add_callback_threadsafe(self.settle)
        except Exception as error:  # what we print has nowhere to go
            self.trouble = error

    def work_on(self, task: Task) -> str | BaseException | None:
        """Return what became of a task: "worked", "kept", an error, or None as we are stopped."""
        options, text = self.options, task.body.decode(errors="replace")
        seconds = len(text) * options.seconds_per_character
        try:
            notes = [describe(text, seconds), "redelivered" if task.method.redelivered else ""]
        except Exception as error:
            return error
        say("x", f"Received {show(task.body)} ({', '.join(filter(None, notes))})")
        self.note("working", task, seconds=seconds)
        self.begun += 1
        try:
            work(text, seconds)
        except BaseException as error:  # sys.exit() too: it would end this thread alone
            return error
        if self.signal == signal.SIGINT:  # the main thread says that it was abandoned
            return None
        if options.lose_every and self.begun % options.lose_every == 0:
            say("!", f"Lost {show(task.body)}: neither done nor acknowledged")
            self.note("lost", task)
            return "kept"
        say("x", "Done")
        known = task.channel.is_open or not options.acknowledge
        self.note("done", task, acknowledged=known)
        if not known:
            say("!", f"{show(task.body)} is done, but the broker will hand it out again")
        return "worked"

    def settle(self) -> None:
        """Acknowledge what is done, and see to what is not: in the main thread again."""
        while not self.results.empty():
            task, result = self.results.get()
            self.held -= 1
            if isinstance(result, BaseException):
                self.fail(task, result)
            elif result == "kept":
                self.fates["returned" if self.options.acknowledge else "lost"] += 1
            else:
                self.fates["worked"] += 1
                self.failures = 0
                if self.options.acknowledge and task.channel.is_open:
                    task.channel.basic_ack(task.method.delivery_tag)

    def fail(self, task: Task, error: BaseException) -> None:
        """Give a task that failed one more try; after that, set it aside."""
        line = traceback.extract_tb(error.__traceback__)[-1]
        what = repr(f"{type(error).__name__}: {error}")[1:-1][:200]  # on one line
        why = f"{what}, {os.path.basename(line.filename)}:{line.lineno}"
        if self.options.verbose:
            traceback.print_exception(error)
        what = f"Failed on {show(task.body)} ({why})."
        if not self.options.acknowledge:
            self.fates["lost"] += 1
            self.note("lost", task, why=why)
            say("!", f"{what} LOST: it was auto-acknowledged")
        elif task.method.redelivered and task.channel.is_open:
            self.set_aside(task, why)
        else:
            self.fates["returned"] += 1
            self.note("requeued", task, why=why)
            say("!", f"{what} Returned to the queue for one more try")
            if task.channel.is_open:
                task.channel.basic_nack(task.method.delivery_tag, requeue=True)
        self.failures += 1
        if self.failures == 3:
            say("!", "3 failures in a row: the fault is probably in work(), not in the messages")

    def set_aside(self, task: Task, why: str) -> None:
        """Put a message into QUEUE.failed, and only then acknowledge it."""
        queue = f"{self.options.queue}.failed"
        channel = declare_queue(task.channel.connection, queue, durable=True)
        channel.confirm_delivery()
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        about = {"error": why, "failed-at": now, "first-queue": self.options.queue}
        about["worker"] = self.journal.who["worker"]
        properties = copy.copy(task.properties)
        properties.headers = (properties.headers or {}) | about
        for name in FOR_THE_BROKER:
            properties.headers.pop(name, None)
        properties.delivery_mode, properties.user_id, properties.expiration = 2, None, None
        channel.basic_publish("", queue, task.body, properties, mandatory=True)
        channel.close()
        task.channel.basic_ack(task.method.delivery_tag)
        self.fates["failed"] += 1
        self.note("rejected", task, why=why)
        say("!", f"Failed on {show(task.body)} ({why}). Moved to {queue!r}")

    def look_around(self) -> None:
        """Stop if it is time to; the connection calls this every TICK seconds."""
        busy = self.is_busy()
        if self.options.exit_when_empty:
            ready = self.channel.queue_declare(self.options.queue, passive=True).method
            self.looked_empty = 0 if busy or ready.message_count else self.looked_empty + 1
        # A queue that looks empty once may have a message on its way to us.
        if self.signal or self.looked_empty == 2:
            self.stop_consuming()
        else:
            self.channel.connection.call_later(TICK, self.look_around)

    def stop_consuming(self) -> None:
        """Cancel the consumer; what was auto-acknowledged and comes too late is lost."""
        self.is_stopping = True
        self.channel.basic_cancel(self.tag)
        if self.auto_ack:
            with contextlib.suppress(pika.exceptions.AMQPError):
                self.too_late += count_deliveries(self.channel) - self.arrived
        if self.signal:
            self.drop_waiting()

    # ---- Bookkeeping

    def most_at_once(self) -> int:
        """Return how many messages to hold: never so many that they fill the memory."""
        if self.broker.short_lived:  # because of one message? Let no other one be returned with it
            return 1
        return min(self.options.prefetch or 10_000, self.wanted)

    def is_busy(self) -> bool:
        """Return True while a task is in hand that we want to see done."""
        self.settle()
        if self.trouble:
            raise self.trouble
        return self.held > 0 and self.signal != signal.SIGINT

    def drop_waiting(self) -> None:
        """Forget the tasks that have not begun."""
        back = self.options.acknowledge
        with contextlib.suppress(Empty):
            while True:
                self.note("abandoned", self.tasks.get_nowait(), returned=back)
                self.held -= 1
                self.wanted += 1
                if back:
                    self.fates["returned"] += 1
                else:
                    self.too_late += 1

    def note(self, event: str, task: Task, **details) -> None:
        """Write into the journal what happened to a task."""
        if self.journal.path:
            delivery = {"connection": task.connection, "delivery_tag": task.method.delivery_tag}
            delivery["message_id"] = task.properties.message_id
            self.journal.write(event, task.body, **delivery, **details)

    def on_signal(self, signum: int, frame: object) -> None:
        """Remember a signal; end at once if there is no connection, or by a second Ctrl-C."""
        before, self.signal = self.signal, signum
        if before == signum == signal.SIGTERM:  # supervisors send it twice
            return
        if before == signal.SIGINT or not self.broker.is_connected:
            raise KeyboardInterrupt

    def report(self) -> bool:
        """Say what became of the messages; return whether one was abandoned in mid-work."""
        self.drop_waiting()
        with contextlib.suppress(KeyboardInterrupt):
            # Without a connection we are here while the last task is in hand.
            while (self.signal or self.wanted == 0) and self.is_busy():
                time.sleep(TICK)
        back = self.options.acknowledge
        if self.held:
            self.fates["returned" if back else "lost"] += 1
            end = "returned to the queue" if back else "LOST: it was auto-acknowledged"
            say("!", f"Abandoned {show(self.in_hand.body)}: {end}")
            self.note("abandoned", self.in_hand, returned=back)
        if self.too_late:
            self.fates["lost"] += self.too_late
            lost = f"{self.too_late} more had been handed over, LOST"
            say("!", f"{lost}: they were auto-acknowledged")
        self.journal.write("stopped", **self.fates)
        if self.broker.connections:
            say("*", "Stopped: " + ", ".join(f"{n} {fate}" for fate, n in self.fates.items()))
        return self.held > 0


def times_returned(properties: pika.BasicProperties) -> int:
    """Return how often a quorum queue had to take a message back."""
    count = (properties.headers or {}).get("x-delivery-count")
    return count if isinstance(count, int) else 0


def main(options: argparse.Namespace) -> int:
    """Work until it is time to stop; return the exit code."""
    worker = Worker(options)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, worker.on_signal)
    threading.Thread(target=worker.work_forever, daemon=True).start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            worker.broker.keep_trying(worker.consume)
    finally:
        abandoned = worker.report()
    return INTERRUPTED if abandoned else OK


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = script_parser(__doc__)
    add = parser.add_argument_group("work").add_argument
    add("--acknowledge", action="store_true", help="acknowledge each message once it is done")
    add("--prefetch", type=number(int, 1, 65535), metavar="N",
        help="hold at most N unacknowledged messages")  # fmt: skip
    add("--lose-every", type=number(int, 1), metavar="N", help="lose every Nth message, to see it")
    add("--seconds-per-character", type=number(float, 0), default=1, metavar="SECONDS",
        help="(default: %(default)s)")  # fmt: skip
    add = parser.add_argument_group("stopping").add_argument
    add("-n", "--limit", type=number(int, 1), metavar="N", help="take N messages, no more")
    add("--exit-when-empty", action="store_true", help="stop when no message is waiting")
    options = parser.parse_args()
    if options.prefetch and not options.acknowledge:
        parser.error("--prefetch needs --acknowledge: it limits what is not acknowledged yet")
    return options


# ---- shared block: equal in all three scripts, so that each of them runs when it is uploaded alone
# ---- (the original is labs/kit/amqp.py, and `make sync` copies it)

VERSION = "0.1.0"
OK, UNEXPECTED, USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = """exit codes:
  0 done or stopped politely    1 unexpected    2 usage    3 broker unreachable
  4 broker refused (login, vhost, queue, unroutable)
  130 stopped by Ctrl-C in the middle of a task"""
HINTS = {  # what a refusal says, and what to do about it
    "Login was refused": "check --username and --password (or AMQP_URL)",
    "vhost .*not found|access to vhost": "check --vhost: in a classroom it is often your user name",
    "reserved prefix|exclusive|locked queue": "use another --queue name: this one is not yours",
    "inequivalent|invalid prop": "use another --queue name, or delete that queue and what is in it",
    "access to .* refused": "check --username and --vhost, or ask whoever runs the broker",
    "transient_nonexcl": "add --durable, or permit such queues as labs/rabbitmq/kit.conf does",
    "prefetch count is not set|by stream": "a stream is read with --acknowledge --prefetch 100",
    "larger than": "send smaller messages, or raise max_message_size on the broker",
    "CERTIFICATE_VERIFY": "trust whoever signed the certificate: export SSL_CERT_FILE=ca.pem",
    "SSL": "that port does not speak TLS: amqps is usually 5671",
    "": "see the broker's log",
}
# Refusals that may pass: the broker stops, a task took too long, the broker has a fault.
PASSING = r"^CONNECTION_FORCED|on channel \d+ timed out|^INTERNAL_ERROR(?!.*transient)"


class BrokerError(Exception):
    """Raised when the broker cannot be used; `hint` says what to do, `code` is the exit code."""

    def __init__(self, what: str, hint: str, code: int) -> None:
        super().__init__(what)
        self.hint, self.code = hint, code


def reason(error: BaseException) -> str:
    """Return the cause of an error in a few words: pika wraps it, and str() may be empty."""
    # repr() also escapes control characters in names, which a terminal would obey.
    found = re.search(r"\(-?\d+[,)] (['\"])(.+?)\1(?=[,)'\"\\]| \(host|$)", repr(error))
    text = found[2] if found else str(error).partition("'/(<")[0] or type(error).__name__
    return "it hung up" if "indicated EOF" in text else text


def explain(error: Exception, where: str = "the broker", queue: str = "") -> BrokerError:
    """Put an error of pika or the network into words; code UNREACHABLE: trying again may help."""
    why = reason(error)
    if isinstance(error, BrokerError):
        return error
    if re.search(r"^[A-Z]+_[A-Z]+ - |^\[SSL", why) and not re.search(PASSING, why):
        hint = next(hint for said, hint in HINTS.items() if re.search(said, why))
        return BrokerError(f"{where} refuses: {why}", hint, REFUSED)
    if re.search(r"connection lost: (?!\w*(Connection|Pipe|Timeout|OS))\w+\(", why):
        where = f" of queue {queue!r}" if queue else ""
        what = f"pika cannot decode the next message{where} ({why})"
        hint = "take out the first that waits there: management page, Get messages, Reject requeue"
        return BrokerError(what, hint, UNEXPECTED)
    hint = "check --host and --port (AMQP is usually 5672), and that the broker runs"
    local = re.search(r" (?:localhost|127\.[\d.]+):(\d+)", where)
    if local and why != "it hung up":  # who hangs up is there, but perhaps no broker
        hint = f"labs/broker.py up --port {local[1]}, or docker compose up -d --wait"
    return BrokerError(f"cannot reach {where} ({why})", hint, UNREACHABLE)


def say(mark: str, text: str) -> None:
    """Print one line at once: trouble ("!") to stderr."""
    print(f" [{mark}] {text}\n", end="", file=sys.stderr if mark == "!" else sys.stdout, flush=True)


def show(body: bytes) -> str:
    """Return a message as a person reads it: quoted, and cut short."""
    text = body.decode(errors="replace")
    return repr(text) if len(text) <= 100 else f"{text[:60]!r}... ({len(body)} bytes)"


def count_of(count: int, noun: str) -> str:
    """Return a number and what it counts: 1 message, 2 messages."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Journal:
    """Append what happens to a file, if there is a `path`; labs/journal.md has the format."""

    def __init__(self, path: str | None = None, name: str | None = None, **started) -> None:
        script, pid = os.path.basename(sys.argv[0]), os.getpid()
        self.path, worker = path, name or f"{script}-{pid}"
        self.who = {"host": socket.gethostname(), "pid": pid, "worker": worker}
        self.write("started", script=script, **started)

    def write(self, event: str, body: bytes | None = None, **details) -> None:
        """Append one line, by one write: several programs may share the file."""
        if not self.path:
            return
        now = datetime.datetime.now(datetime.timezone.utc)
        when = {"utc": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}", "monotonic": time.monotonic()}
        if body is not None:
            details["message"] = body[:400].decode(errors="backslashreplace")[:100]
        line = json.dumps({"v": 1, **when, **self.who, "event": event, **details}, default=repr)
        try:
            with open(self.path, "ab", buffering=0) as file:
                file.write(line.encode() + b"\n")
        except OSError as error:
            say("!", f"Cannot write the journal {self.path} ({reason(error)}); going on without it")
            self.path = None


class Broker:
    """Where the broker is, and how to come back to it. What is None is taken from the URL."""

    def __init__(self, *, host=None, port=None, vhost=None, username=None, password=None, url=None,
                 heartbeat=60, retry_for=60, name=None, journal=None) -> None:  # fmt: skip
        hosts = host if isinstance(host, list) else [host]
        address = url or os.environ.get("AMQP_URL") or "amqp://"
        try:
            if not re.match("amqps?://", address):
                raise ValueError
            self.parameters = [pika.URLParameters(address) for _ in hosts]
        except (ValueError, IndexError):  # whose own words may quote a piece of the password
            what = f"{'--url' if url else 'AMQP_URL'} is not amqp://user:password@host:5672/vhost"
            raise BrokerError(what, "write # / ? in it as %23 %2F %3F", USAGE) from None
        for one, here in zip(hosts, self.parameters, strict=True):
            login = here.credentials
            secret = login.password if password is None else password
            here.credentials = pika.PlainCredentials(username or login.username, secret)
            here.host, here.port = one or here.host, port or here.port
            here.virtual_host = here.virtual_host if vhost is None else vhost
            here.heartbeat, here.blocked_connection_timeout = heartbeat, 60
            here.socket_timeout, here.stack_timeout = 5, 10
            here.client_properties = {"connection_name": name or os.path.basename(sys.argv[0])}
        self.where = "RabbitMQ at " + ", ".join(f"{p.host}:{p.port}" for p in self.parameters)
        self.retry_for, self.journal = retry_for, journal or Journal()
        self.queue = ""  # what is read
        self.is_connected, self.connections, self.short_lived = False, 0, 0

    def connect(self) -> pika.BlockingConnection:
        """Return a new connection, or raise BrokerError; a single try."""
        time.sleep(min(2 ** max(self.short_lived - 1, 0) - 1, 30))  # none of them lived for long
        try:
            connection = pika.BlockingConnection(self.parameters)
        except (pika.exceptions.AMQPError, AMQPConnectorException, OSError, UnicodeError) as error:
            raise explain(error, self.where) from error
        if self.connections:
            self.journal.write("connection_back")
        self.connections += 1
        self.is_connected, self.since = True, time.monotonic()
        return connection

    def keep_trying(self, use: Callable[[], object]) -> object:
        """Return use(); call it again if it finds no broker, or its connection is lost."""
        wait = wait_random_exponential(multiplier=0.1, max=1)  # seconds
        return Retrying(retry=self.may_pass, wait=wait, reraise=True)(use)

    def may_pass(self, state: RetryCallState) -> bool:
        """Return True if a failure is worth another try; say what it is, once."""
        error = state.outcome.exception()
        if not isinstance(error, (pika.exceptions.AMQPError, BrokerError)):
            return False
        problem = explain(error, self.where, self.queue)
        lost, self.is_connected = self.is_connected, False
        patience = f"for {self.retry_for:g} s".replace("for inf s", "until it is there")
        what = f"{problem}; trying {patience} (try: {problem.hint})"
        final = isinstance(error, BrokerError) and error.code != UNREACHABLE
        if final or problem.code == REFUSED:
            raise problem from error
        if lost:
            self.short_lived = self.short_lived + 1 if time.monotonic() - self.since < 5 else 0
            self.journal.write("connection_lost", why=reason(error))
            lost_why = f"lost {self.where} ({reason(error)})"
            what = f"{lost_why if problem.code == UNREACHABLE else problem}; connecting again"
        in_time = self.connections or state.seconds_since_start < self.retry_for
        hopeless = problem.code == UNEXPECTED and self.short_lived >= 3
        if hopeless or not in_time:
            raise problem from error
        if lost or state.attempt_number == 1:
            say("!", what[0].upper() + what[1:])
        return True


def declare_queue(connection, queue: str, durable=False, queue_type=None) -> BlockingChannel:
    """Return a channel on which the queue is known to exist: as asked for, else as it is found."""
    if not (durable or queue_type):
        channel = connection.channel()
        try:
            channel.queue_declare(queue, passive=True)
            return channel
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != 404:
                raise
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
            connection.process_data_events()  # pika 1.5 raises it once more
        say("*", f"There is no queue {queue!r} yet: creating it")
    channel = connection.channel()
    arguments = {"x-queue-type": queue_type} if queue_type else None
    channel.queue_declare(queue, durable=durable or queue_type == "quorum", arguments=arguments)
    return channel


def count_deliveries(channel: BlockingChannel) -> int:
    """Return how many messages the broker has sent on a channel: the next one has a number."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"")
    return channel.basic_get(queue, auto_ack=True)[0].delivery_tag - 1


def number(kind: type, least: float, most: float = 2**53) -> Callable[[str], float]:
    """Return an argparse type for numbers from `least` to `most`."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= kind(text) <= most:
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")

    return parse


def queue_name(text: str) -> str:
    """Check a queue's name (an argparse type): RabbitMQ takes line ends out without a word."""
    if 0 < len(os.fsencode(text)) < 249 and not re.search(r"[\0-\x1f\x7f\ud800-\udfff]", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 248 bytes of printable UTF-8")


class Parser(argparse.ArgumentParser):
    """A parser for programs that talk to a broker; a mistake is one line and what to try."""

    def add_broker_options(self) -> None:
        """Add the options that say where the broker is."""
        add = self.add_argument_group("broker (or AMQP_URL in the environment)").add_argument
        add("--host", action="append", help="may be repeated: tried in turn (default: localhost)")
        add("--port", type=number(int, 1, 65535), help="(default: 5672, with TLS 5671)")
        add("--vhost", help="(default: /)")
        add("--username", help="(default: guest)")
        add("--password", help="(default: guest); with --username and without this you are asked")
        add("--url", help="amqp://user:password@host:port/vhost, or amqps://, instead of the above")

    def broker(self, options: argparse.Namespace, journal: Journal | None = None) -> Broker:
        """Return the broker that the options name; ask for a missing password at a terminal."""
        words = "host port vhost username password url heartbeat retry_for name".split()
        given = {word: getattr(options, word) for word in words if word in options}
        for word, value in given.items():
            if r"\udc" in repr(value):  # what Python makes of bytes that are not UTF-8
                self.error(f"--{word} is not UTF-8")
            if options.url and word in words[:5] and value is not None:
                self.error(f"--url and --{word} do not go together")
        if options.username and options.password is None and sys.stdin and sys.stdin.isatty():
            given["password"] = getpass.getpass(f"Password of {options.username}: ")
        return Broker(**given, journal=journal)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the options, and end."""
        options = re.findall("--[a-z-]+", self.format_help())
        misspelt = message.startswith(("unrecognized arguments", "the following arguments"))
        for name in [word.partition("=")[0] for word in sys.argv[1:]] if misspelt else []:
            near = difflib.get_close_matches("--" + name.lstrip("-"), options, 1)
            if near and name.startswith("-") and name not in options:
                message = f"there is no option {name}; did you mean {near[0]}?"
        self.exit(USAGE, f"{self.prog}: error: {message}\n  try: {self.prog} --help\n")


def script_parser(doc: str) -> Parser:
    """Return a parser with the options that the three scripts share."""
    about, examples, *_ = doc.split("\n\n")
    epilog = f"examples:\n{examples}\n\n{EXIT_CODES}"
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=about, epilog=epilog, formatter_class=raw)
    add = parser.add_argument
    add("-v", "--verbose", action="store_true", help="show tracebacks")
    add("--journal", metavar="FILE", help="append what happens to it, for labs/timeline.py")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    add("--queue", type=queue_name, required=True, help="its name")
    add("--durable", action="store_true", help="the queue survives a restart of the broker")
    add("--queue-type", choices=["classic", "quorum"], help="quorum is always durable")
    add("--name", help="the connection's name on the management page")
    add("--heartbeat", type=number(int, 0, 65535), default=60, metavar="SECONDS",
        help="give up a connection that is silent for so long (default: 60)")  # fmt: skip
    add("--retry-for", type=number(float, 0), default=60, metavar="SECONDS",
        help="keep trying for the first connection for so long (default: 60)")  # fmt: skip
    parser.add_broker_options()
    parser.set_defaults(parser=parser)
    return parser


def run(main: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> NoReturn:
    """Run a program to its exit code; what a person can cause is one line and no traceback."""
    if sys.stdout:  # whose encoding may lack a character of a message
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main(options)
    except (KeyboardInterrupt, EOFError):
        code = INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        code = OK
    except Exception as error:
        if isinstance(error, (BrokerError, pika.exceptions.AMQPError)):
            problem = explain(error)
        else:
            what = f"{type(error).__name__}: {error}"
            problem = BrokerError(what, "look closer: -v", UNEXPECTED)
        program, code = os.path.basename(sys.argv[0]), problem.code
        print(f"{program}: error: {problem}\n  try: {problem.hint}", file=sys.stderr)
        if options.verbose:
            traceback.print_exc()
    with contextlib.suppress(OSError, AttributeError):
        sys.stdout.flush()
    os._exit(code)  # not sys.exit: what nobody reads is flushed in vain, and work() may still run


# ---- end of the shared block

if __name__ == "__main__":
    run(main, parse())
