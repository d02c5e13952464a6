#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pika>=1.4.4,<2", "tenacity>=9,<10"]
# ///
"""Send messages to a RabbitMQ queue; the broker confirms each of them.

    ./producer.py --queue hello aaa bb c
    seq 1000 | ./producer.py --queue tasks --durable --persistent

From ipython:

    from producer import Producer
    with Producer(queue="hello", vhost="ada") as p:
        p.send("Hello World!")
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import errno
import io
import itertools
import logging
import math
import os
import random
import re
import signal
import socket
import ssl
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

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

EXAMPLES = """examples:
  ./producer.py --queue hello aaa bb c            # three messages
  ./producer.py --queue hello --count 1000 a      # the same message 1000 times
  ./producer.py --queue hello < messages.txt      # one message a line
  ./producer.py --queue tasks --durable --persistent --host broker.example --vhost ada aaa"""


class Undelivered(Exception):
    """Raised when the broker did not take messages: `messages` is a list of (body, why) pairs."""

    def __init__(self, messages: list[tuple[bytes, str]]) -> None:
        super().__init__(f"{len(messages)} not sent: {messages[0][1]}")
        self.messages = messages


class Producer:
    """Send messages to one queue, by way of the default exchange, until the broker has them all.

    `durable`, `queue_type` and `passive` are as in declare_queue, `broker` as in connect. Every
    message is mandatory (it comes back where there is no queue for it) and confirmed. When the
    connection is lost, the messages that lack a confirm are sent again, with the same message_id.
    """

    WINDOW = 10_000  # messages on their way, not confirmed yet: a classic queue confirms in bursts
    WINDOW_BYTES = 8_000_000

    def __init__(
        self,
        queue: str,
        *,
        durable: bool = False,
        queue_type: str | None = None,
        passive: bool = False,
        persistent: bool = False,
        on_confirm: Callable[[bytes], None] = lambda body: None,
        journal: Journal | None = None,
        **broker,
    ) -> None:
        self._queue = {
            "queue": queue, "durable": durable, "queue_type": queue_type, "passive": passive
        }  # fmt: skip
        self._broker = broker
        self._delivery_mode = 2 if persistent else 1
        self._on_confirm = on_confirm
        self._journal = journal or Journal()
        self._unconfirmed: dict[int, tuple[bytes, str]] = {}  # delivery tag -> body, message_id
        self._returned: dict[str, str] = {}  # message_id -> why
        self._failed: list[tuple[bytes, str]] = []  # body, why
        self._enough = -1  # wake _settle when no more than this many are unconfirmed
        self._open()

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def unconfirmed(self) -> list[bytes]:
        """The messages handed to send or send_all that the broker has not confirmed."""
        return [body for body, _ in [*self._failed, *self._unconfirmed.values()]]

    def send(self, body: str | bytes) -> None:
        """Send one message and wait for its confirm; raises Undelivered or BrokerError."""
        self.send_all([body])

    def send_all(self, bodies: Iterable[str | bytes]) -> None:
        """Send messages, many at a time, and wait for all confirms; raises as send does."""
        self._settle(at_most=0)  # notices a connection that was closed since the last call
        size = 0
        for count, body in enumerate(bodies, start=1):
            body = body.encode() if isinstance(body, str) else body
            self._publish(body, str(uuid.uuid4()))
            size += len(body)
            if len(self._unconfirmed) >= self.WINDOW or size >= self.WINDOW_BYTES:
                self._settle(at_most=self.WINDOW // 2 if size < self.WINDOW_BYTES else 0)
                size = 0
            elif count % 100 == 0:
                self._settle(at_most=self.WINDOW)
        self._settle(at_most=0)
        if self._failed:
            failed, self._failed = self._failed, []
            raise Undelivered(failed)

    def sleep(self, seconds: float) -> None:
        """Wait while the connection's heartbeats go on."""
        with contextlib.suppress(pika.exceptions.AMQPError):  # the next send opens it again
            self._connection.sleep(seconds)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(pika.exceptions.AMQPError):
            self._connection.close()

    def _open(self, lost: Exception | None = None) -> None:
        self._connection = connect(lost=lost, **self._broker)
        self._connection.add_on_connection_blocked_callback(
            lambda *_: say("!", "The broker is short of memory or disk and makes us wait")
        )
        # A BlockingChannel waits for every confirm, 1,700 times a second at most. The asynchronous
        # channel inside it goes on sending while confirms come in: as fast as without confirms.
        self._channel = declare_queue(self._connection, **self._queue)._impl
        self._channel.confirm_delivery(self._on_ack)
        self._channel.add_on_return_callback(self._on_return)
        self._channel.add_on_close_callback(self._on_close)
        self._closed: Exception | None = None
        self._tag, self._returned = 0, {}
        again, self._unconfirmed = self._unconfirmed, {}
        for body, message_id in again.values():
            self._publish(body, message_id)
        if lost:
            self._journal.write("connection_back")
            say("*", f"Connected again; {len(again)} messages to send again")

    def _publish(self, body: bytes, message_id: str) -> None:
        self._tag += 1
        self._unconfirmed[self._tag] = body, message_id
        if self._channel.is_open:  # else _settle notices and sends it on a new one
            properties = pika.BasicProperties(
                delivery_mode=self._delivery_mode, message_id=message_id
            )
            self._journal.write("sent", body, message_id=message_id, bytes=len(body))
            self._channel.basic_publish("", self._queue["queue"], body, properties, mandatory=True)

    def _settle(self, at_most: int) -> None:
        """Send and receive until no more than `at_most` messages lack their confirm."""
        lost = None
        while True:
            try:
                if lost:
                    self._open(lost)
                    lost = None
                if self._connection.is_closed:  # while we slept
                    raise pika.exceptions.StreamLostError("the connection was closed meanwhile")
                self._connection.process_data_events(time_limit=0)
                while len(self._unconfirmed) > at_most and not self._closed:
                    self._enough = at_most
                    self._connection.process_data_events(time_limit=None)
                if not self._closed:
                    return
                raise self._closed
            except pika.exceptions.AMQPError as error:
                problem = explain(error)
                self._journal.write("connection_lost", why=reason(error))
                if problem.code != UNREACHABLE:
                    raise problem from error
                lost = error

    def _on_ack(self, frame: pika.frame.Method) -> None:
        last, refused = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Nack)
        tags = [last]
        if frame.method.multiple:
            tags = list(itertools.takewhile(lambda tag: tag <= last, self._unconfirmed))
        for tag in tags:
            body, message_id = self._unconfirmed.pop(tag)
            why = self._returned.pop(message_id, "the broker refused it" if refused else None)
            if why:
                self._journal.write("refused", body, message_id=message_id, why=why)
                self._failed.append((body, why))
            else:
                self._journal.write("confirmed", body, message_id=message_id)
                self._on_confirm(body)
        if len(self._unconfirmed) <= self._enough:
            self._enough = -1
            self._connection.add_callback_threadsafe(lambda: None)  # wakes _settle

    def _on_return(self, channel, method, properties, body: bytes) -> None:
        """Remember a message that came back; the ack that follows means no more than "seen"."""
        self._returned[properties.message_id] = f"no queue {method.routing_key!r} to go to"

    def _on_close(self, channel, why: Exception) -> None:
        self._closed = why


class Report:
    """Count the confirmed messages: a line for each, or a line of progress where they are many."""

    def __init__(self) -> None:
        self.count, self.many, self.start, self.shown = 0, False, time.monotonic(), 0.0
        self.unsaid: OSError | None = None  # why the output could not be written
        self.given = 0  # how many there are to send, so far
        self.left: Iterator[bytes] = iter(())  # those that the producer has not taken yet

    def confirmed(self, body: bytes) -> None:
        """Report one message."""
        self.count += 1
        if not self.many:
            try:
                say("x", f"Sent {show(body)}")
            except OSError as error:  # raised here, pika would take it for a lost connection
                self.unsaid = error
        elif sys.stderr and sys.stderr.isatty() and time.monotonic() - self.shown > 0.2:
            self.shown = time.monotonic()
            print(f" [*] {self.count} messages confirmed\r", end="", file=sys.stderr, flush=True)

    def close(self, missing: list[tuple[bytes, str]]) -> None:
        """Name what is missing; sum up."""
        count = self.given - self.count
        rest = ((body, "not tried") for body in self.left)
        for body, why in itertools.islice(itertools.chain(missing, rest), 10):
            say("!", f"Not sent: {show(body)} ({why})")
        if count > 10:
            say("!", f"... and {count - 10} more")
        if self.many or count:
            seconds = time.monotonic() - self.start
            say("*", f"{self.count} messages confirmed in {seconds:.1f} s, {count} not sent")


def read_lines(stream: io.BufferedReader) -> Iterator[list[bytes]]:
    """Yield the lines of a stream, as many at once as have come; never wait for more."""
    rest = b""
    while chunk := stream.read1(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield [line.removesuffix(b"\r") for line in lines]
    if rest:
        yield [rest]


def send_input(producer: Producer, report: Report, options: argparse.Namespace) -> None:
    """Send the messages of the command line, or standard input as it comes."""
    if options.messages:
        bodies = [os.fsencode(message) for message in options.messages]
        every = itertools.chain.from_iterable(itertools.repeat(bodies, options.count))
        batches = iter([(len(bodies) * options.count, every)])
    else:
        if sys.stdin.isatty():
            say("!", "Type a message, then Enter; end with Ctrl-D (Windows: Ctrl-Z, Enter)")
        batches = ((len(lines), iter(lines)) for lines in read_lines(sys.stdin.buffer))
    for count, report.left in batches:
        report.given += count
        report.many = count > 20 and not options.interval
        if not options.interval:
            producer.send_all(report.left)
        while options.interval and report.given > report.count:
            producer.send_all(itertools.islice(report.left, 1))
            producer.sleep(options.interval)


def main(options: argparse.Namespace, broker: dict) -> int:
    """Send everything; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill stops it as Ctrl-C does
    report, journal = Report(), Journal(options.journal, options.name, queue=options.queue)
    producer = Producer(
        options.queue,
        durable=options.durable,
        queue_type=options.queue_type,
        passive=options.passive,
        persistent=options.persistent,
        on_confirm=report.confirmed,
        journal=journal,
        **broker,
    )
    code, missing = OK, []
    try:
        send_input(producer, report, options)
    except Undelivered as error:
        code, missing = REFUSED, error.messages
    except BaseException:
        missing = [(body, "not confirmed") for body in producer.unconfirmed]
        raise  # without a polite close: Ctrl-C must not wait for a broker that does not answer
    finally:
        journal.write("stopped", count=report.count)
        report.close(missing)
    producer.close()
    if report.unsaid and code == OK:
        raise report.unsaid
    return code


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = make_parser(__doc__, EXAMPLES)
    parser.add_argument("messages", nargs="*", metavar="MESSAGE", help="default: lines of stdin")
    add = parser.add_argument_group("messages").add_argument
    add("--persistent", action="store_true", help="a durable queue keeps them over a restart")
    add("--count", type=number(int, 1), default=1, metavar="N", help="send them all N times")
    add("--interval", type=number(float, 0), default=0, metavar="SECONDS", help="wait after each")
    options = parser.parse_args()
    if not options.messages and (options.count > 1 or not sys.stdin):
        parser.error("no MESSAGE to send: give one or more after the options")
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
