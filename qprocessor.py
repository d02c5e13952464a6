#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pika>=1.4.4,<2", "tenacity>=9,<10"]
# ///
"""Work off the messages of a RabbitMQ queue: one second of work for each character.

    ./qprocessor.py --queue hello
    ./qprocessor.py --queue tasks --durable --acknowledge --prefetch 1

For a worker of your own, put your code into work(), just below; it may take as long as it likes.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import datetime
import errno
import logging
import math
import os
import queue
import random
import re
import signal
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple, NoReturn

try:
    import pika
    import tenacity
    from pika.adapters.blocking_connection import BlockingChannel
    from pika.adapters.utils.connection_workflow import AMQPConnectorException
except (ImportError, AttributeError) as missing:
    raise SystemExit(
        f"{missing}\n  try: python3 -m pip install pika tenacity"
        "    (and rename any file of yours called pika.py or queue.py)"
    ) from None


def work(text: str, seconds: float) -> None:
    """Do the work of one message; what it raises counts as a failure of the message."""
    if seconds:  # even sleep(0) takes its time: some 60 us
        time.sleep(seconds)


EXAMPLES = """examples:
  ./qprocessor.py --queue hello                              # as in lab 2
  ./qprocessor.py --queue hello --lose-every 3               # lose every third message
  ./qprocessor.py --queue tasks --acknowledge --prefetch 1   # lose nothing; fair dispatch
  ./qprocessor.py --queue tasks --host broker.example --vhost ada --username ada"""


class Task(NamedTuple):
    """A message in our hands; to be settled on the channel that brought it, or not at all."""

    channel: BlockingChannel
    tag: int
    redelivered: bool
    body: bytes
    identity: dict  # for the journal


class Subscription(threading.Thread):
    """The thread that owns the connection: brings tasks, keeps heartbeats up, and comes back.

    It puts into `inbox` a Task, or an exception that ends the program, or None when the queue is
    empty (with --exit-when-empty).
    """

    def __init__(self, options: argparse.Namespace, broker: dict, journal: Journal) -> None:
        super().__init__(daemon=True)
        self.options, self.broker, self.journal = options, broker, journal
        self.connections = 0  # how many there have been
        self.inbox: queue.SimpleQueue[Task | Exception | None] = queue.SimpleQueue()
        self.channel: BlockingChannel | None = None  # what is open now
        # With -n nothing is auto-acknowledged: the broker would hand over, and forget, more than N.
        self.auto_ack = not (options.acknowledge or options.limit)
        self.left = options.limit or math.inf  # how many the main thread has still to take
        self._brought = self._taken = 0  # each is counted up by one of the two threads only
        self._to_settle: collections.deque[tuple[Task, str]] = collections.deque()
        self.began = self._stopping = self._enough = False

    def run(self) -> None:
        """Consume from one connection after the other until stopped."""
        lost: Exception | None = None
        try:
            while self.left and not self._stopping:
                connection = connect(lost=lost, **self.broker)
                self.connections += 1
                if lost:
                    self.journal.write("connection_back")
                try:
                    self._consume(connection)
                except pika.exceptions.AMQPError as error:
                    self.journal.write("connection_lost", why=reason(error))
                    if explain(error).code != UNREACHABLE:
                        raise
                    lost = error
                finally:
                    self.channel = None
                    self._settle_all()
                    with contextlib.suppress(pika.exceptions.AMQPError):
                        connection.close()
        except Exception as error:
            self.inbox.put(error)

    def stop(self) -> None:
        """Close the connection: what is not acknowledged goes back to the queue."""
        self._stopping = True
        if channel := self.channel:
            self._wake(channel)
            self.join(timeout=1)

    def is_current(self, task: Task) -> bool:
        """Tell whether the broker still waits for us to settle this task."""
        return task.channel is self.channel

    def settle(self, task: Task, verb: str) -> None:
        """Have a task acknowledged ("ack"), given back ("nack") or dropped ("reject")."""
        self._to_settle.append((task, verb))
        if not self.is_current(task):
            self._settle_all()
        elif len(self._to_settle) == 1:
            # The loop inside, and in _settle_all the channel inside: the BlockingConnection
            # around them takes several turns for a callback, and sends each acknowledgement alone.
            task.channel.connection._impl._adapter_add_callback_threadsafe(self._settle_all)

    def took(self, task: Task) -> None:
        """Count a task as out of our hands."""
        self._taken += 1

    def _wake(self, channel: BlockingChannel) -> None:
        with contextlib.suppress(pika.exceptions.AMQPError):
            channel.connection.add_callback_threadsafe(self._settle_all)

    def _settle_all(self) -> None:
        while True:
            try:
                task, verb = self._to_settle.popleft()
            except IndexError:  # both threads come here
                return
            if self.is_current(task) and task.channel.is_open:
                with contextlib.suppress(pika.exceptions.AMQPError):  # consuming raises it too
                    if verb == "ack":
                        task.channel._impl.basic_ack(task.tag)
                    else:
                        task.channel._impl.basic_nack(task.tag, requeue=verb == "nack")
                    continue
            if verb == "ack":
                say("!", f"{show(task.body)} is done, but the broker will hand it out again")

    def _consume(self, connection: pika.BlockingConnection) -> None:
        """Bring tasks until stopped; raises pika's errors when the connection is lost."""
        options = self.options
        channel = declare_queue(
            connection, options.queue, options.durable, options.queue_type, options.passive
        )
        window = min(options.prefetch or self.left, self.left, 65535 if options.limit else math.inf)
        channel.basic_qos(prefetch_count=0 if window == math.inf else window)
        self.channel, self._enough, left = channel, False, self.left

        def on_message(_, method, properties, body: bytes) -> None:
            nonlocal left
            if left <= 0:
                return  # more than N: it goes back when the connection is closed
            self._receive(channel, method, properties, body)
            left -= 1
            if left == 0:
                self._enough = True
                connection.add_callback_threadsafe(lambda: channel.basic_cancel(tag))

        tag = channel.basic_consume(options.queue, on_message, auto_ack=self.auto_ack)
        channel._impl._consumers[tag] = on_message  # as in settle: by the shorter way
        self.began = True
        say("*", f"Waiting for messages on {options.queue!r}. To exit press CTRL+C")
        empty = 0  # how often in a row
        while not self._stopping:
            connection.process_data_events(time_limit=0.2 if options.exit_when_empty else None)
            if not (channel.consumer_tags or self._enough):
                raise why_cancelled(channel, options.queue)
            if options.exit_when_empty and not self._enough:
                busy = self._brought > self._taken or self._to_settle
                busy = (
                    busy or channel.queue_declare(options.queue, passive=True).method.message_count
                )
                empty = 0 if busy else empty + 1
                if empty == 2:  # once is not enough: a message may be on its way to us
                    self._cancel(channel, tag)
                    self.inbox.put(None)
        self._settle_all()
        if not self._enough:
            self._cancel(channel, tag)

    def _receive(self, channel: BlockingChannel, method, properties, body: bytes) -> None:
        """Put a delivery into the inbox."""
        tag, again = method.delivery_tag, method.redelivered
        identity = {"connection": self.connections, "delivery_tag": tag}
        identity["message_id"] = properties.message_id
        self.journal.write("received", body, **identity, redelivered=again, bytes=len(body))
        self._brought += 1
        self.inbox.put(Task(channel, tag, again, body, identity))
        if self._brought - self._taken == 1 and hasattr(os, "sched_yield"):
            os.sched_yield()  # the main thread is idle: let it begin before this one goes on

    def _cancel(self, channel: BlockingChannel, tag: str) -> None:
        """Stop the deliveries; those of auto-acknowledged messages under way still count."""
        self._enough = True
        for method, properties, body in channel.basic_cancel(tag):
            self._receive(channel, method, properties, body)


class Worker:
    """The main thread: takes one task after the other, works, and says what became of it."""

    def __init__(self, options: argparse.Namespace, broker: dict) -> None:
        self.options = options
        started = {name: getattr(options, name) for name in ("queue", "acknowledge", "prefetch")}
        self.journal = Journal(options.journal, options.name, **started)
        self.subscription = Subscription(options, broker, self.journal)
        self.task: Task | None = None  # the one in hand
        self.unsettled: list[Task] = []  # those that --lose-every has lost
        self.received = self.worked = self.lost = self.abandoned = self.failed = 0
        self.terminated = False

    def terminate(self, *_: object) -> None:
        """Stop after the task in hand: the handler of SIGTERM."""
        self.terminated = True
        self.subscription.inbox.put(None)

    def run(self) -> None:
        """Work until there is reason to stop."""
        # Not for ever: a signal just before the wait does not end it; on Windows none does.
        pause = 0.5 if os.name == "nt" else 5
        while not self.terminated and self.subscription.left:
            try:
                item = self.subscription.inbox.get(timeout=pause)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            if self.subscription.auto_ack or self.subscription.is_current(item):
                self.handle(item)
            self.subscription.took(item)

    def handle(self, task: Task) -> None:
        """Work on one task and settle it."""
        options, settle = self.options, self.subscription.settle
        self.task = task
        self.received += 1
        self.subscription.left -= 1
        try:
            text = task.body.decode()
            seconds = len(text) * options.seconds_per_character
        except UnicodeDecodeError:
            text = task.body.decode(errors="backslashreplace")
            seconds = len(task.body) * options.seconds_per_character
        if options.limit and not options.acknowledge:
            settle(task, "ack")
        again = ", redelivered" if task.redelivered else ""
        say("x", f"Received {show(task.body)} ({seconds:g} s of work{again})")
        self.note("working", task, seconds=seconds)
        try:
            work(text, seconds)
        except Exception as error:
            self.fail(task, error)
        else:
            if options.lose_every and self.received % options.lose_every == 0:
                self.lose(task)
            else:
                self.worked += 1
                say("x", "Done")
                known = self.subscription.auto_ack or self.subscription.is_current(task)
                self.note("done", task, acknowledged=known)
                if options.acknowledge:
                    settle(task, "ack")
        self.task = None

    def note(self, event: str, task: Task, **what) -> None:
        """Write into the journal what happened to a task."""
        self.journal.write(event, task.body, **task.identity, **what)

    def lose(self, task: Task) -> None:
        """Lose a task on purpose: say nothing to the broker, which may wait for it in vain."""
        self.lost += 1
        self.unsettled.append(task)
        say("!", f"Lost {show(task.body)}: neither done nor acknowledged")
        self.note("lost", task)
        held = sum(map(self.subscription.is_current, self.unsettled))
        if held == self.options.prefetch:
            say("!", f"The broker sends no more: --prefetch {held} is used up by what we have lost")

    def fail(self, task: Task, error: Exception) -> None:
        """Give a task that raised an error one more try, then drop it: no poison for ever."""
        self.failed += 1
        if self.options.verbose:
            traceback.print_exc()
        event, verb, end = "lost", None, "LOST: it was auto-acknowledged"
        if self.options.acknowledge and task.redelivered:
            event, verb = "rejected", "reject"
            end = "Rejected: dropped, or dead-lettered if the queue is set up so"
        elif self.options.acknowledge:
            event, verb, end = "requeued", "nack", "Returned to the queue for one more try"
        why = f"{type(error).__name__}: {error}"
        self.note(event, task, why=why)
        if verb:
            self.subscription.settle(task, verb)
        say("!", f"Failed on {show(task.body)} ({why}). {end}")

    def stop(self) -> None:
        """Close the connection and say what became of the messages in hand."""
        self.subscription.stop()
        lost = not self.options.acknowledge
        if self.task:
            self.abandoned += 1
            end = "LOST: it was auto-acknowledged" if lost else "returned to the queue"
            say("!", f"Abandoned {show(self.task.body)}: {end}")
            self.note("abandoned", self.task, returned=not lost)
        waiting = 0
        with contextlib.suppress(queue.Empty):
            while True:
                if isinstance(item := self.subscription.inbox.get_nowait(), Task):
                    waiting += 1
                    self.note("abandoned", item, returned=not self.subscription.auto_ack)
        if waiting and self.subscription.auto_ack:
            self.lost += waiting
            say("!", f"{waiting} more had been handed over, LOST: they were auto-acknowledged")
        failed = f", {self.failed} failed" if self.failed else ""
        counts = f"{self.worked} worked, {self.lost} lost, {self.abandoned} abandoned{failed}"
        ended = {name: getattr(self, name) for name in ("worked", "lost", "abandoned", "failed")}
        self.journal.write("stopped", **ended)
        with contextlib.suppress(BrokenPipeError):
            if self.subscription.began:
                say("*", f"Stopped: {counts}")


def main(options: argparse.Namespace, broker: dict) -> int:
    """Work until stopped; return the exit code."""
    worker = Worker(options, broker)
    signal.signal(signal.SIGTERM, worker.terminate)
    worker.subscription.start()
    try:
        worker.run()
    except KeyboardInterrupt:
        return INTERRUPTED if worker.task else OK
    finally:
        worker.stop()
    return OK


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument_group("work").add_argument
    add("--acknowledge", action="store_true", help="acknowledge each message once it is done")
    add("--prefetch", type=number(int, 1, 65535), metavar="N", help="unacknowledged ones at a time")
    add("--lose-every", type=number(int, 1), metavar="N", help="lose every Nth message, to see it")
    add("--seconds-per-character", type=number(float, 0), default=1, metavar="SECONDS",
        help="(default: %(default)s)")  # fmt: skip
    add = parser.add_argument_group("stopping").add_argument
    add("-n", "--limit", type=number(int, 1), metavar="N", help="take N messages, no more")
    add("--exit-when-empty", action="store_true", help="stop when no message is waiting")
    options = parser.parse_args()
    if options.prefetch and not options.acknowledge:
        parser.error("--prefetch needs --acknowledge: it limits what is not acknowledged yet")
    return options, broker_options(parser, options)


# ---- shared block: the same lines in producer.py, consumer.py and qprocessor.py, so that each runs
# ---- when it is uploaded alone. tests/test_standalone.py keeps the three copies equal.

VERSION = "0.1.0"
OK, UNEXPECTED, USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = """exit codes:
  0 done or stopped politely    1 unexpected    2 usage    3 broker unreachable
  4 broker refused (login, vhost, queue, unroutable)
  130 stopped by Ctrl-C in the middle of a task"""

# What a refusal says, and what to do about it. Trying again would not help.
HINTS = {
    "Login was refused": "check --username and --password (or AMQP_URL)",
    "vhost .*not found|access to vhost": "check --vhost: in a classroom it is often your user name",
    "access to .* refused": "check --username and --vhost, or ask whoever runs the broker",
    "transient_nonexcl": "add --durable, or permit such queues as labs/rabbitmq/kit.conf does",
    "inequivalent|invalid prop": "use another --queue name, or delete that queue and what is in it",
    "locked queue|exclusive use": "it is another connection's own: use another --queue name",
    "no queue": "check --queue, or leave out --passive to have it created",
    "[Bb]locked conn": "the broker is short of memory or disk: see its log or its management page",
    "CERTIFICATE_VERIFY_FAILED": "name the authority that signed the certificate: --cafile FILE",
    "WRONG_VERSION_NUMBER|RECORD_LAYER": "that port does not speak TLS: amqps is usually 5671",
}


class BrokerError(Exception):
    """Raised when the broker cannot be used; `hint` says what to do, `code` is the exit code."""

    def __init__(self, what: str, hint: str, code: int) -> None:
        super().__init__(what)
        self.hint, self.code = hint, code


def reason(error: BaseException) -> str:
    """Return an error's cause in a few words: pika wraps causes, and str() may be empty."""
    inner = getattr(error, "exception", None) or (error.args and error.args[0])
    if isinstance(inner, Exception):
        return reason(inner)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return (error.strerror or str(error)).lower()
    text = getattr(error, "reply_text", None) or str(error) or type(error).__name__
    text = re.sub(r"'[^']*'/\(<.*", "", text)  # the inner name of a socket
    quoted = re.search(r"\(\d+[,)] ?['\"](.+)['\"]", text)
    text = quoted[1] if quoted else text.replace("Transport indicated EOF", "it hung up")
    return text.splitlines()[0]


def explain(error: Exception, where: str = "the broker", user: str = "") -> BrokerError:
    """Put an error of pika or the network into words; code UNREACHABLE: trying again may help."""
    why = reason(error)
    closed = isinstance(error, (pika.exceptions.ConnectionClosed, pika.exceptions.ChannelClosed))
    refused = f"no TLS with {where}: {why}" if "SSL: " in why else f"{where} refuses{user}: {why}"
    for said, hint in HINTS.items():
        if re.search(said, why):
            return BrokerError(refused, hint, REFUSED)
    if closed and error.reply_code not in (320, 541) and "timed out" not in why:
        return BrokerError(refused, "see the broker's log", REFUSED)
    nowhere = socket.gaierror, UnicodeError  # the latter for a host such as "broker..example"
    lost = ConnectionError, TimeoutError, *nowhere, ssl.SSLError, AMQPConnectorException
    if not isinstance(error, (pika.exceptions.AMQPError, *lost)):
        hidden = re.search(r"module '(\w+)' has no attribute", str(error))
        hint = f"rename any file of yours called {hidden[1]}.py" if hidden else "look closer: -v"
        return BrokerError(f"{type(error).__name__}: {error}", hint, UNEXPECTED)
    hint = "check --host and --port, and that the broker runs"
    if isinstance(error, nowhere):
        hint, why = "check --host for a slip of the pen", f"no such host: {why}"
    elif isinstance(error, pika.exceptions.IncompatibleProtocolError):
        hint, why = "AMQP is usually port 5672, its web page 15672", "it answers, but not in AMQP"
    elif re.search(r" localhost:| 127\.", where):
        hint = "make broker          (or docker compose up -d --wait)"
    return BrokerError(f"cannot reach {where} ({why})", hint, UNREACHABLE)


def say(mark: str, text: str) -> None:
    """Print one line, whole and at once: trouble ("!") to stderr."""
    stream = sys.stderr if mark == "!" else sys.stdout
    try:
        if stream:
            stream.write(f" [{mark}] {text}\n")
            stream.flush()
    except BrokenPipeError:  # nobody reads any more: whether that matters is for messages to say
        if mark == "x":
            raise


class Journal:
    """Append what happens to a file, one JSON object a line; labs/journal.md tells the format.

    Without a path it does nothing. Several programs may write to one file: a line is one write.
    """

    def __init__(self, path: str | None = None, name: str | None = None, **started) -> None:
        self._path, self._file = path, None
        if not path:
            return
        script, pid = os.path.basename(sys.argv[0]), os.getpid()
        self._who = {"host": socket.gethostname(), "pid": pid, "worker": name or f"{script}-{pid}"}
        try:
            self._file = open(path, "ab", buffering=0)
        except OSError as error:
            self._give_up(error)
        self.write("started", script=script, **started)

    def write(self, event: str, body: bytes | None = None, **what) -> None:
        """Write one line; when that fails, say so once and write no more."""
        if (file := self._file) is None:
            return
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
        when = {"utc": now.replace("+00:00", "Z"), "monotonic": round(time.monotonic(), 6)}
        line = {"v": 1, **when, **self._who, "event": event, **what}
        if body is not None:
            line["message"] = body[:400].decode(errors="backslashreplace")[:100]
        import json  # only here: a start without a journal is a millisecond quicker

        data = json.dumps(line).encode() + b"\n"
        try:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._file = None
        say("!", f"Cannot write the journal {self._path} ({reason(error)}); going on without it")


def show(body: bytes) -> str:
    """Return a message as a person reads it: quoted, cut short, as bytes if it is not UTF-8."""
    try:
        content: str | bytes = body.decode()
    except UnicodeDecodeError:
        content = body
    return repr(content) if len(content) <= 100 else f"{content[:60]!r}... ({len(body)} bytes)"


def broker_parameters(
    *, url=None, host=None, port=None, vhost=None, username=None, password=None, cafile=None,
    heartbeat=60, name=None,
) -> list[pika.URLParameters]:  # fmt: skip
    """Return pika's parameters, one for each host; a part that is None is taken from the URL.

    Raises ValueError for a URL that is none.
    """
    url = url or os.environ.get("AMQP_URL") or "amqp://"
    try:
        if not re.fullmatch(r"amqps?://[^#]*", url):
            raise ValueError
        from_url = pika.URLParameters(re.sub("^amqp:", "amqps:", url) if cafile else url)
    except ValueError:  # whose own words may quote a piece of the password
        example = "amqp://user:password@host:5672/vhost"
        raise ValueError(f"a broker's URL is {example} (write # / ? as %23 %2F %3F)") from None
    hosts = [host] if isinstance(host, str) else host or [from_url.host]
    every = [copy.copy(from_url) for _ in hosts]
    for one, parameters in zip(hosts, every, strict=True):
        login = parameters.credentials
        parameters.host = one
        parameters.port = port or parameters.port
        parameters.virtual_host = vhost or parameters.virtual_host
        parameters.credentials = pika.PlainCredentials(
            username or login.username, login.password if password is None else password
        )
        parameters.heartbeat, parameters.blocked_connection_timeout = heartbeat, 60
        parameters.socket_timeout, parameters.stack_timeout = 5, 10
        parameters.client_properties = {"connection_name": name or os.path.basename(sys.argv[0])}
        if parameters.ssl_options:
            parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=cafile), one)
    return every


def answers(address: tuple[str, int]) -> bool:
    """Tell whether a broker answers: Docker's proxy only hangs up, a frozen broker is silent."""
    try:
        with socket.create_connection(address, timeout=0.5) as probe:
            probe.sendall(b"AMQP\0\0\x09\1")
            return bool(probe.recv(1))
    except (OSError, UnicodeError):
        return False


def wait_for_port(seconds: float, addresses: list[tuple[str, int]]) -> None:
    """Sleep, but wake as soon as a closed port begins to answer: the broker is back."""
    end, was_closed = time.monotonic() + seconds, False
    while (left := end - time.monotonic()) > 0:
        is_open = any(map(answers, addresses))
        if is_open and was_closed:
            return
        was_closed = not is_open
        time.sleep(min(left, random.uniform(0.1, 0.3)))


def connect(
    *, retry_for: float = 60, lost: Exception | None = None, **broker
) -> pika.BlockingConnection:
    """Return a plain pika connection; `broker` is what broker_parameters takes.

    Tries for `retry_for` seconds, waiting longer each time and saying so; in place of a connection
    that was `lost` it tries for ever. Raises BrokerError.
    """
    every = broker_parameters(**broker)
    where = "RabbitMQ at " + ", ".join(f"{p.host}:{p.port}" for p in every)
    user = f" user {every[0].credentials.username!r}, vhost {every[0].virtual_host!r}"
    addresses = [(p.host, p.port) for p in every]
    backoff = tenacity.wait_exponential(8 if lost else 1, max=30) + tenacity.wait_random(0, 1)

    def wait(state: tenacity.RetryCallState) -> float:
        if lost and any(map(answers, addresses)):
            return 1  # it is back, and still booting
        left = math.inf if lost else retry_for - state.seconds_since_start
        return min(backoff(state), left)

    def announce(state: tenacity.RetryCallState) -> None:
        if not lost or state.attempt_number > 1:
            problem = explain(state.outcome.exception(), where)
            say("!", f"C{str(problem)[1:]}; trying again within {state.upcoming_sleep:.0f} s")

    if lost:
        say("!", f"Lost {where} ({reason(lost)}); connecting again")
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: explain(error).code == UNREACHABLE),
        stop=tenacity.stop_never if lost else tenacity.stop_after_delay(retry_for),
        wait=wait,
        before_sleep=announce,
        sleep=lambda seconds: wait_for_port(seconds, addresses),
        reraise=True,
    )
    try:
        return tries(pika.BlockingConnection, every)
    except Exception as error:
        raise explain(error, where, user) from error


def declare_queue(
    connection: pika.BlockingConnection,
    queue: str,
    durable: bool = False,
    queue_type: str | None = None,
    passive: bool = False,
) -> BlockingChannel:
    """Return a channel on which the queue is known to exist.

    Without `durable` and `queue_type` a queue is used as it is found, and created where there is
    none; with them it must be so. `passive` never creates it.
    """
    if passive or not (durable or queue_type):
        channel = connection.channel()
        try:
            channel.queue_declare(queue, passive=True)
            return channel
        except pika.exceptions.ChannelClosedByBroker as error:
            if passive or error.reply_code != 404:
                raise
            say("*", f"There is no queue {queue!r} yet: creating it")
    channel = connection.channel()
    arguments = {"x-queue-type": queue_type} if queue_type else None
    channel.queue_declare(queue, durable=durable or queue_type == "quorum", arguments=arguments)
    return channel


def why_cancelled(channel: BlockingChannel, queue: str) -> Exception:
    """Return the error to raise when the broker has cancelled the consumer of a channel."""
    if channel.is_closed:
        return channel._closing_reason  # pika tells it nowhere else
    try:
        for _ in range(5):  # it may cancel us a moment before the queue is really gone
            channel.queue_declare(queue, passive=True)
            channel.connection.sleep(0.1)
    except pika.exceptions.ChannelClosedByBroker:
        return pika.exceptions.ConsumerCancelled(f"queue {queue!r} was deleted")
    return pika.exceptions.ConsumerCancelled("it cancelled us: the delivery timeout passed")


def number(kind: type, least: float, most: float = math.inf) -> Callable[[str], float]:
    """Return an argparse type for numbers from `least` to `most`, but not infinity."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= kind(text) <= most and kind(text) < math.inf:
                return kind(text)
        limit = "" if most == math.inf else f" and at most {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {least}{limit}")

    return parse


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and what to try."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the options, and end."""
        self.exit(USAGE, f"{self.prog}: error: {message}\n  try: {self.prog} --help\n")


def add_broker_options(parser: Parser) -> Callable:
    """Add a group of options that say where the broker is; return what adds more to the group."""
    add = parser.add_argument_group("broker (or AMQP_URL in the environment)").add_argument
    add("--host", action="append", help="may be repeated: tried in turn (default: localhost)")
    add("--port", type=number(int, 1, 65535), help="(default: 5672, with TLS 5671)")
    add("--vhost", help="(default: /)")
    add("--username", help="(default: guest)")
    add("--password", help="(default: guest); with --username and without this you are asked")
    add("--url", help="amqp://user:password@host:port/vhost, or amqps://, instead of the above")
    add("--cafile", metavar="FILE", help="use TLS, and trust this certificate authority")
    return add


def make_parser(doc: str, examples: str) -> Parser:
    """Return a parser with the options that the three scripts have in common."""
    parser = Parser(
        description=doc.splitlines()[0],
        epilog=f"{examples}\n\n{EXIT_CODES}",
        # Without a width argparse imports shutil to ask the terminal for it, at every start.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=80),
    )
    add = parser.add_argument
    add("-v", "--verbose", action="store_true", help="show tracebacks and pika's own log")
    add("--journal", metavar="FILE", help="append what happens to this file, for labs/timeline.py")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    add = parser.add_argument_group("queue").add_argument
    add("--queue", required=True, help="its name")
    add("--durable", action="store_true", help="it survives a restart of the broker")
    add("--queue-type", choices=["classic", "quorum"], help="quorum is always durable")
    add("--passive", action="store_true", help="it must be there: never create it")
    add = add_broker_options(parser)
    add("--heartbeat", type=number(int, 0, 65535), default=60, metavar="SECONDS",
        help="give a silent connection up after this long (default: %(default)s)")  # fmt: skip
    add("--retry-for", type=number(float, 0), default=60, metavar="SECONDS",
        help="keep trying to reach the broker for this long (default: %(default)s)")  # fmt: skip
    add("--name", help="the connection's name on the management page")
    return parser


def broker_options(parser: Parser, options: argparse.Namespace) -> dict:
    """Return what connect() wants of the options; ask for a missing password at a terminal."""
    parts = ("host", "port", "vhost", "username", "password")
    given = [part for part in parts if getattr(options, part) is not None]
    if not 0 < len(os.fsencode(options.queue)) < 256:
        parser.error("the name of a --queue has 1 to 255 bytes")
    if options.url and given:
        parser.error(f"--url says it all: leave out --{given[0]}, or --url")
    if options.username and options.password is None and sys.stdin and sys.stdin.isatty():
        import getpass  # only here: most starts do without

        try:
            options.password = getpass.getpass(f"Password of {options.username}: ")
        except (KeyboardInterrupt, EOFError):
            parser.exit(INTERRUPTED, "\n")
    wanted = (*parts, "url", "cafile", "heartbeat", "name")
    broker = {name: getattr(options, name) for name in wanted}
    try:
        broker_parameters(**broker)
    except OSError as error:
        parser.error(f"--cafile {options.cafile}: {reason(error)}")
    except ValueError as error:
        parser.error(str(error))
    return {**broker, "retry_for": options.retry_for}


def run(main: Callable[[], int], verbose: bool) -> NoReturn:
    """Run a program to its exit code; what a person can cause is one line and no traceback."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")
    if verbose:
        logging.basicConfig(level=logging.INFO)
    try:
        code = main()
        sys.stdout and sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        code = OK
    except Exception as error:
        problem = error if isinstance(error, BrokerError) else explain(error)
        program = os.path.basename(sys.argv[0])
        print(f"{program}: error: {problem}\n  try: {problem.hint}", file=sys.stderr)
        if verbose:
            traceback.print_exc()
        code = problem.code
    try:
        sys.stdout and sys.stdout.flush()
    except OSError:  # what is left to print has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


# ---- end of the shared block

if __name__ == "__main__":
    chosen, broker = parse()
    run(lambda: main(chosen, broker), chosen.verbose)
