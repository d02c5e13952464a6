#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pika>=1.4.4,<1.5", "tenacity>=9,<10"]
# ///
"""Process the messages of a RabbitMQ queue: one second of work for each character.

  ./qprocessor.py --queue hello                              # as in lab 2
  ./qprocessor.py --queue hello --lose-every 3               # lose every third message
  ./qprocessor.py --queue tasks --acknowledge --prefetch 1   # lose nothing; fair dispatch

For a worker of your own put your code into work(), and what to say before it into describe().
Read on from there: receive, work, acknowledge, lose, fail, stop. Bookkeeping follows, then the
block that all three scripts share: connecting, explaining errors, options.
"""

from __future__ import annotations

import argparse
import contextlib
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


def work(text: str, seconds: float) -> None:
    """Do the work of one message; any error is a failure of that message.

    It runs in a thread of its own, while the main thread keeps the connection alive. So it may
    take as long as it likes, but it must not use the connection, and Ctrl-C does not reach it.
    """
    if seconds:  # sleep(0) takes some 60 us
        time.sleep(seconds)


def describe(text: str, seconds: float) -> str:
    """Return what to say about a message before its work begins."""
    return f"{seconds:g} s of work"


class Worker:
    """The main thread owns the connection, and a second thread works.

    Tasks go over in one queue and come back in another, with what became of them.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.broker = options, options.parser.broker(options)
        self.broker.queue = options.queue
        self.tasks: SimpleQueue[Task] = SimpleQueue()
        self.results: SimpleQueue[tuple[Task, str | BaseException]] = SimpleQueue()
        self.in_hand: Task | None = None  # the one being worked on, or the last one
        self.trouble: Exception | None = None  # what ended the second thread
        self.remaining = options.limit or math.inf  # messages still to take
        self.held = 0  # tasks received and not settled
        self.begun = self.failures = self.dropped = self.looked_empty = self.signal = 0
        self.fates = dict.fromkeys(("worked", "lost", "returned", "failed"), 0)

    def consume(self) -> None:
        """Connect, declare and receive; Broker.keep_trying calls this again after a loss."""
        if self.is_time_to_stop():  # since the last connection was lost
            return
        options, connection = self.options, self.broker.connect()
        channel = declare_queue(connection, options.queue, options.durable, options.queue_type)
        # One at a time if a message may have ended the last connection: no other returns with it.
        most = 1 if self.broker.short_lived else min(options.prefetch or AT_MOST, self.remaining)
        channel.basic_qos(prefetch_count=most)
        channel.basic_consume(options.queue, self.on_message)
        say("*", f"Waiting for messages on {options.queue!r}. To exit press CTRL+C")
        connection.call_later(TICK, lambda: self.look_around(channel))
        try:
            channel.start_consuming()  # until the consumer is cancelled, by us or by the broker
            self.finish(connection)
        finally:
            if options.acknowledge:
                self.drop_waiting()  # the broker hands it out again

    def on_message(self, channel, method, properties, body: bytes) -> None:
        """Hand a delivery over to the second thread."""
        # Not auto_ack=True: it ignores the prefetch, and pika drops what arrives during a cancel.
        early = not self.options.acknowledge and self.held < AT_MOST
        if early:
            channel.basic_ack(method.delivery_tag)
        task = Task(self.broker.connections, channel, method, properties, body, early)
        self.note("received", task, redelivered=method.redelivered, bytes=len(body))
        self.held += 1
        self.tasks.put(task)
        self.remaining -= 1
        if self.remaining == 0:
            channel.stop_consuming()

    def work_forever(self) -> None:
        """Work on one task after another; the second thread runs this."""
        try:
            while True:
                self.in_hand = task = self.tasks.get()
                self.results.put((task, self.work_on(task)))
                with contextlib.suppress(pika.exceptions.AMQPError):  # the connection is lost
                    task.channel.connection.add_callback_threadsafe(self.settle)
        except Exception as error:  # describe() failed, or nobody reads what we print
            self.trouble = error

    def work_on(self, task: Task) -> str | BaseException:
        """Return what became of a task: "worked", "lost", or the error of its work."""
        text = task.body.decode(errors="replace")
        seconds = len(text) * self.options.seconds_per_character
        again = ", redelivered" if task.method.redelivered else ""
        say("x", f"Received {show(task.body)} ({describe(text, seconds)}{again})")
        self.note("working", task, seconds=seconds)
        self.begun += 1
        try:
            if task.is_exhausted():
                raise RuntimeError(f"returned {LAST_RETURN} times, never done")
            work(text, seconds)
        except BaseException as error:  # sys.exit() too: it would end this thread alone
            return error
        if self.options.lose_every and self.begun % self.options.lose_every == 0:
            gone = "auto-acknowledged, but not done"
            end = gone if task.is_acknowledged else "neither done nor acknowledged"
            say("!", f"Lost {show(task.body)}: {end}")
            self.note("lost", task)
            return "lost"
        say("x", "Done")
        known = task.is_acknowledged or task.channel.is_open
        self.note("done", task, acknowledged=known)
        if not known:
            say("!", f"{show(task.body)} is done, but the broker will hand it out again")
        return "worked"

    def settle(self) -> None:
        """Acknowledge what is done and handle what failed; after a signal, begin no more."""
        if self.signal:
            self.drop_waiting()
        while not self.results.empty():
            task, result = self.results.get()
            self.held -= 1
            if isinstance(result, BaseException):
                self.fail(task, result)
            elif result == "lost":
                self.fates["lost" if task.is_acknowledged else "returned"] += 1
            else:
                self.fates["worked"] += 1
                self.failures = 0
                if task.channel.is_open and not task.is_acknowledged:
                    task.channel.basic_ack(task.method.delivery_tag)

    def fail(self, task: Task, error: BaseException) -> None:
        """Give a task that failed one more try; after that, set it aside."""
        why, channel = what_failed(error), task.channel
        if self.options.verbose:
            traceback.print_exception(error)
        if task.is_acknowledged:
            event, fate, end = "lost", "lost", "LOST: it was auto-acknowledged"
        elif task.method.redelivered and channel.is_open:
            end = f"Moved to {self.set_aside(task, why)!r}"
            event, fate = "rejected", "failed"
            channel.basic_ack(task.method.delivery_tag)
        else:
            event, fate, end = "requeued", "returned", "Returned to the queue for one more try"
            if channel.is_open:
                channel.basic_nack(task.method.delivery_tag, requeue=True)
        self.fates[fate] += 1
        self.note(event, task, why=why)
        say("!", f"Failed on {show(task.body)} ({why}). {end}")
        self.failures += 1
        if self.failures == 3:
            say("!", "3 failures in a row: the fault is probably in work(), not in the messages")

    def look_around(self, channel: BlockingChannel) -> None:
        """Stop receiving if it is time to; the connection calls this every TICK seconds."""
        if self.trouble:
            raise self.trouble
        self.settle()
        if self.options.exit_when_empty:
            ready = channel.queue_declare(self.options.queue, passive=True).method.message_count
            # Twice, as a message may have been on its way to us.
            self.looked_empty = 0 if self.held or ready else self.looked_empty + 1
        if self.is_time_to_stop():
            channel.stop_consuming()
        else:
            channel.connection.call_later(TICK, lambda: self.look_around(channel))

    def on_signal(self, signum: int, frame: object) -> None:
        """Remember a signal; end at once on any after Ctrl-C, and if there is no connection."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signum
        if not self.broker.is_connected:
            raise KeyboardInterrupt

    def is_time_to_stop(self) -> bool:
        """Return True after a signal, at the limit, and if the queue looked empty twice."""
        return bool(self.signal) or self.remaining == 0 or self.looked_empty == 2

    def finish(self, connection: pika.BlockingConnection) -> None:
        """Finish the tasks we hold: after SIGTERM only the one in hand, after Ctrl-C none."""
        if not self.is_time_to_stop():
            connection.close()
            why = f"queue {self.options.queue!r} was deleted, or the delivery timeout passed"
            raise pika.exceptions.ConsumerCancelled(why)
        self.settle()
        while self.is_busy() and connection.is_open:
            connection.process_data_events(time_limit=TICK)  # heartbeats, and settle()
        if connection.is_open:
            connection.close()

    # ---- Bookkeeping

    def is_busy(self) -> bool:
        """Return True while there is a task to wait for."""
        return self.held > 0 and self.signal != signal.SIGINT and not self.trouble

    def set_aside(self, task: Task, why: str) -> str:
        """Put a message into QUEUE.failed, whose name is returned, and see it confirmed."""
        first, properties = self.options.queue, task.properties
        queue, worker = f"{first}.failed", self.broker.journal.who["worker"]
        channel = declare_queue(task.channel.connection, queue, durable=True)
        channel.confirm_delivery()
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        about = {"error": why, "worker": worker, "failed-at": now, "first-queue": first}
        kept = (properties.headers or {}).items()
        properties.headers = {k: v for k, v in kept if k not in FOR_THE_BROKER} | about
        properties.delivery_mode, properties.user_id, properties.expiration = 2, None, None
        channel.basic_publish("", queue, task.body, properties, mandatory=True)
        channel.close()
        return queue

    def drop_waiting(self) -> None:
        """Forget the tasks that have not begun; what is not acknowledged goes back."""
        with contextlib.suppress(Empty):
            while True:
                task = self.tasks.get_nowait()
                self.held, self.remaining = self.held - 1, self.remaining + 1
                self.fates["lost" if task.is_acknowledged else "returned"] += 1
                self.note("abandoned", task, returned=not task.is_acknowledged)
                self.dropped += task.is_acknowledged

    def report(self) -> bool:
        """Say what became of the messages; return True if one was abandoned in mid-work."""
        with contextlib.suppress(KeyboardInterrupt):
            self.settle()
            while self.is_busy() and self.is_time_to_stop():  # if the connection was lost
                time.sleep(TICK)
                self.settle()
        self.drop_waiting()
        if self.held:
            lost = self.in_hand.is_acknowledged
            self.fates["lost" if lost else "returned"] += 1
            self.note("abandoned", self.in_hand, returned=not lost)
            end = "LOST: it was auto-acknowledged" if lost else "returned to the queue"
            say("!", f"Abandoned {show(self.in_hand.body)}: {end}")
        if self.dropped:
            say("!", f"{self.dropped} more had been handed over, LOST: they were auto-acknowledged")
        self.broker.journal.write("stopped", **self.fates)
        if self.broker.connections:
            say("*", "Stopped: " + ", ".join(f"{n} {fate}" for fate, n in self.fates.items()))
        return self.held > 0

    def note(self, event: str, task: Task, **details) -> None:
        """Write into the journal what happened to a task."""
        delivery = {"connection": task.connection, "delivery_tag": task.method.delivery_tag}
        delivery["message_id"] = task.properties.message_id
        self.broker.journal.write(event, task.body, **delivery, **details)


TICK = 0.2  # seconds between two looks at whether it is time to stop
AT_MOST = 10_000  # the prefetch without --prefetch, and how many are acknowledged on arrival
LAST_RETURN = 20  # returned once more, a message vanishes from a quorum queue of RabbitMQ 4
FOR_THE_BROKER = "CC", "x-delivery-count", "x-acquired-count"  # headers it would act on


class Task(NamedTuple):
    """A delivery we hold; acknowledge it only on the channel it came from."""

    connection: int  # counted from 1
    channel: BlockingChannel
    method: pika.spec.Basic.Deliver
    properties: pika.BasicProperties
    body: bytes
    is_acknowledged: bool  # before its work

    def is_exhausted(self) -> bool:
        """Return True if a quorum queue would drop the message at its next return."""
        count = (self.properties.headers or {}).get("x-delivery-count")
        again = self.method.redelivered and not self.is_acknowledged
        return again and isinstance(count, int) and count >= LAST_RETURN


def what_failed(error: BaseException) -> str:
    """Return an error on one line, with the file and the line where it was raised."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = repr(f"{type(error).__name__}: {error}")[1:-1]
    return f"{text[:200]}, {os.path.basename(place.filename)}:{place.lineno}"


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
    if isinstance(error, BrokerError):
        return error
    why, code = reason(error), UNREACHABLE
    what = f"cannot reach {where} ({why})"
    hint = "check --host and --port (AMQP is usually 5672), and that the broker runs"
    local = re.search(r" (?:localhost|127\.[\d.]+):(\d+)", where)
    if re.search(r"^[A-Z]+_[A-Z]+ - |^\[SSL", why) and not re.search(PASSING, why):
        what, code = f"{where} refuses: {why}", REFUSED
        hint = next(hint for said, hint in HINTS.items() if re.search(said, why))
    elif re.search(r"connection lost: (?!\w*(Connection|Pipe|Timeout|OS))\w+\(", why):
        of_queue, code = f" of queue {queue!r}" if queue else "", UNEXPECTED
        what = f"pika cannot decode the next message{of_queue} ({why})"
        hint = "take out the first that waits there: management page, Get messages, Reject requeue"
    elif local and why != "it hung up":  # who hangs up is there, but perhaps no broker
        hint = f"labs/broker.py up --port {local[1]}, or docker compose up -d --wait"
    return BrokerError(what, hint, code)


def say(mark: str, text: str) -> None:
    """Print one line at once: trouble ("!") to stderr."""
    print(f" [{mark}] {text}\n", end="", file=sys.stderr if mark == "!" else sys.stdout, flush=True)


def show(body: bytes) -> str:
    """Return a message as a person reads it: quoted, and cut short."""
    text = body.decode(errors="replace")
    return repr(text) if len(text) <= 100 else f"{text[:60]!r}... ({len(body)} bytes)"


class Journal:
    """Append what happens to a file, if there is a `path`; labs/journal.md has the format."""

    def __init__(self, path: str | None, worker: str) -> None:
        self.path = path
        self.who = {"host": socket.gethostname(), "pid": os.getpid(), "worker": worker}

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
        hosts, program = host if isinstance(host, list) else [host], os.path.basename(sys.argv[0])
        address = url or os.environ.get("AMQP_URL") or "amqp://"
        try:
            if not re.match("amqps?://", address):
                raise ValueError
            self.parameters = [pika.URLParameters(address) for _ in hosts]
        except (ValueError, IndexError):  # whose own words may quote a piece of the password
            what = f"{'--url' if url else 'AMQP_URL'} is not amqp://user:password@host:5672/vhost"
            raise BrokerError(what, "write # / ? in it as %23 %2F %3F", USAGE) from None
        for one, here in zip(hosts, self.parameters, strict=True):
            here.host, here.port = one or here.host, port or here.port
            here.virtual_host = here.virtual_host if vhost is None else vhost
            login = here.credentials
            secret = login.password if password is None else password
            here.credentials = pika.PlainCredentials(username or login.username, secret)
            here.heartbeat, here.blocked_connection_timeout = heartbeat, 60
            here.socket_timeout, here.stack_timeout = 5, 10
            here.client_properties = {"connection_name": name or program}
        self.where = "RabbitMQ at " + ", ".join(f"{p.host}:{p.port}" for p in self.parameters)
        self.journal = Journal(journal, name or f"{program}-{os.getpid()}")
        self.retry_for, self.queue = retry_for, ""  # the queue that is read
        self.is_connected, self.connections = False, 0
        self.short_lived = 0  # connections in a row; we wait longer after each of them

    def connect(self) -> pika.BlockingConnection:
        """Return a new connection, or raise BrokerError; a single try."""
        time.sleep(min(2 ** max(self.short_lived - 1, 0) - 1, 30))  # seconds
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
        problem, lost = explain(error, self.where, self.queue), self.is_connected
        self.is_connected = False
        if lost:
            self.short_lived = self.short_lived + 1 if time.monotonic() - self.since < 5 else 0
            self.journal.write("connection_lost", why=reason(error))
            what = f"{problem}; connecting again"
            if problem.code == UNREACHABLE:
                what = f"lost {self.where} ({reason(error)}); connecting again"
        else:
            patience = f"for {self.retry_for:g} s".replace("for inf s", "until it is there")
            what = f"{problem}; trying {patience} (try: {problem.hint})"
        in_time = self.connections or state.seconds_since_start < self.retry_for
        undecodable = problem is not error and problem.code == UNEXPECTED and self.short_lived < 3
        if not in_time or not (problem.code == UNREACHABLE or undecodable):
            raise problem from error
        if lost or state.attempt_number == 1:
            say("!", what[0].upper() + what[1:])
        return True


def declare_queue(connection, queue: str, durable=False, queue_type=None) -> BlockingChannel:
    """Return a channel on which the queue is known to exist: as asked for, else as it is found."""
    channel = connection.channel()
    if not (durable or queue_type):
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
        add("--url", help="amqp://user:password@host:port/vhost, or amqps://; the others win")

    def broker(self, options: argparse.Namespace) -> Broker:
        """Return the broker that the options name; ask for a missing password at a terminal."""
        words = "host port vhost username password url heartbeat retry_for name journal".split()
        where = {word: getattr(options, word) for word in words if word in options}
        for word, value in where.items():
            if r"\udc" in repr(value):  # what Python makes of bytes that are not UTF-8
                self.error(f"--{word} is not UTF-8")
        if options.username and options.password is None and sys.stdin and sys.stdin.isatty():
            where["password"] = getpass.getpass(f"Password of {options.username}: ")
        broker = Broker(**where)
        words = [word for word in ("queue", "acknowledge", "prefetch") if word in options]
        details = {word: getattr(options, word) for word in words}
        broker.journal.write("started", script=self.prog, **details)
        return broker

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
    if sys.stdout:  # its encoding may lack a character, and os._exit below flushes nothing
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        code = main(options)
    except (KeyboardInterrupt, EOFError):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        code = OK
    except Exception as error:
        problem = BrokerError(f"{type(error).__name__}: {error}", "look closer: -v", UNEXPECTED)
        if isinstance(error, (BrokerError, pika.exceptions.AMQPError)):
            problem = explain(error)
        program, code = os.path.basename(sys.argv[0]), problem.code
        print(f"{program}: error: {problem}\n  try: {problem.hint}", file=sys.stderr)
        if options.verbose:
            traceback.print_exc()
    os._exit(code)  # not sys.exit: flushing to a closed pipe fails, and work() may still run


# ---- end of the shared block

if __name__ == "__main__":
    run(main, parse())
