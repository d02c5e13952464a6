#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pika>=1.4.4,<1.5", "tenacity>=9,<10"]
# ///
"""Send messages to a RabbitMQ queue; the broker confirms each of them.

  ./producer.py --queue hello aaa bb c             # three messages
  ./producer.py --queue hello --count 1000 a       # the same message 1000 times
  seq 1000 | ./producer.py --queue tasks --durable --persistent    # one message a line

From ipython:

    from producer import Producer
    with Producer(queue="hello", vhost="ada") as p:
        p.send("Hello World!")
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import datetime
import difflib
import getpass
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

try:
    import pika
    from pika.adapters.blocking_connection import BlockingChannel
    from pika.adapters.utils.connection_workflow import AMQPConnectorException
    from tenacity import RetryCallState, Retrying, wait_random_exponential
except ImportError as missing:
    install = "python3 -m venv v && v/bin/pip install 'pika<1.5' tenacity; then v/bin/python"
    hint = f"{install} {sys.argv[0]}    (rename files of yours called pika.py ...)"
    raise SystemExit(f"{missing}\n  try: {hint}") from None


class Undelivered(Exception):
    """Raised when the broker did not take messages: `messages` is a list of (body, why) pairs."""

    def __init__(self, messages: list[tuple[bytes, str]]) -> None:
        super().__init__(f"{len(messages)} not sent: {messages[0][1]}")
        self.messages = messages


class Producer(contextlib.AbstractContextManager):
    """Send messages to one queue, by way of the default exchange, until the broker has them all.

    Every message is mandatory (it comes back where there is no queue for it) and confirmed. When
    the connection is lost, what lacks its confirm is sent again, with the same message_id. After
    an error the next call begins with a new connection. Threads take turns.
    `durable` and `queue_type` are as in declare_queue; `where` is what Broker takes.
    """

    WINDOW = 8_000_000  # bytes on their way, not confirmed yet: classic queues confirm in bursts

    def __init__(
        self, queue: str, *, durable=False, queue_type=None, persistent=False, broker=None, **where
    ) -> None:
        self._queue = queue_name(queue), durable, queue_type
        self._delivery_mode = 2 if persistent else 1
        self._broker: Broker = broker or Broker(**where)
        self._unconfirmed: dict[int, tuple[bytes, str]] = {}  # delivery tag -> body, message_id
        self._lock, self.confirmed = threading.RLock(), 0  # how many, so far
        self._broker.keep_trying(self._open)

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def unconfirmed(self) -> list[bytes]:
        """What the broker has neither confirmed nor refused, of the last call."""
        return [body for body, _ in self._unconfirmed.values()]

    def send(self, body: str | bytes) -> None:
        """Send one message and wait for its confirm; raises Undelivered or BrokerError."""
        self.send_all([body])

    def send_all(self, bodies: Iterable[str | bytes]) -> None:
        """Send messages, many at a time, and wait for all confirms; raises as send does."""
        with self._lock:
            self._unconfirmed, self._refused = {}, []
            waiting = map(as_bytes, bodies)
            try:
                self._broker.keep_trying(lambda: self._send(waiting))
            except BaseException as error:
                if isinstance(error, Exception):  # after a Ctrl-C it might wait for an answer
                    self.close()
                self._connection = None  # it may be in any state
                raise
            if self._refused:
                raise Undelivered(self._refused)

    def sleep(self, seconds: float) -> None:
        """Wait while the connection's heartbeats go on."""
        with contextlib.suppress(pika.exceptions.AMQPError):  # the next send notices
            self._connection.sleep(seconds)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(pika.exceptions.AMQPError, AttributeError):
            self._connection.close()

    def _open(self) -> None:
        """Connect, and send again what was not confirmed."""
        self._connection = self._broker.connect()
        self._connection.add_on_connection_blocked_callback(
            lambda *_: say("!", "The broker is short of memory or disk and makes us wait")
        )
        # A BlockingChannel waits for each confirm: 1,700 messages a second at most. The channel
        # inside it does not; pika 1.4 has no public name for it, from 1.5 on pika.Connection has.
        self._channel = declare_queue(self._connection, *self._queue)._impl
        self._channel.confirm_delivery(self._on_confirmation)
        self._channel.add_on_return_callback(self._on_return)
        self._channel.add_on_close_callback(self._on_close)
        self._closed, self._returned = None, {}
        self._unconfirmed = dict(enumerate(self._unconfirmed.values(), start=1))
        self._tag = len(self._unconfirmed)
        for body, message_id in self._unconfirmed.values():
            self._publish(body, message_id)
        if self._tag:
            say("*", f"Connected again; {self._tag} message{'s' * (self._tag > 1)} to send again")

    def _send(self, waiting: Iterator[bytes]) -> None:
        """Send what waits until all is confirmed; raises pika's errors."""
        if not self._connection or self._connection.is_closed:
            self._open()
        size = 0
        for body in waiting:
            # First it is remembered, as each line after this may find the connection lost.
            self._tag += 1
            self._unconfirmed[self._tag] = body, str(uuid.uuid4())
            self._publish(*self._unconfirmed[self._tag])
            size += len(body) + 800  # what a message takes in memory besides
            if size > self.WINDOW:
                self._wait()
                size = 0
            elif self._tag % 100 == 0:
                self._connection.process_data_events()
        self._wait()

    def _publish(self, body: bytes, message_id: str) -> None:
        properties = pika.BasicProperties(delivery_mode=self._delivery_mode, message_id=message_id)
        self._broker.journal.write("sent", body, message_id=message_id, bytes=len(body))
        if not self._closed:  # else _wait raises it
            self._channel.basic_publish("", self._queue[0], body, properties, mandatory=True)

    def _wait(self) -> None:
        """Wait until all is confirmed or refused."""
        self._connection.process_data_events()  # notices a connection that was lost meanwhile
        while self._unconfirmed and not self._closed:
            self._connection.process_data_events(time_limit=None)  # until _wake
        if self._closed:
            raise self._closed

    def _wake(self) -> None:
        with contextlib.suppress(pika.exceptions.AMQPError):  # the connection closes
            self._connection.add_callback_threadsafe(lambda: None)

    def _on_confirmation(self, frame: pika.frame.Method) -> None:
        last, refused = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Nack)
        tags = [last]
        if frame.method.multiple:
            tags = list(itertools.takewhile(lambda tag: tag <= last, self._unconfirmed))
        for tag in tags:
            body, message_id = self._unconfirmed.pop(tag)
            why = self._returned.pop(message_id, "the broker refused it" if refused else None)
            if why:
                self._refused.append((body, why))
                self._broker.journal.write("refused", body, message_id=message_id, why=why)
            else:
                self.confirmed += 1
                self._broker.journal.write("confirmed", body, message_id=message_id)
        if not self._unconfirmed:
            self._wake()

    def _on_return(self, channel, method, properties, body: bytes) -> None:
        """Remember a message that came back; the confirm that follows only says "seen"."""
        self._returned[properties.message_id] = f"no queue {method.routing_key!r} to go to"

    def _on_close(self, channel, why: Exception) -> None:
        self._closed = why
        self._wake()


def as_bytes(body: str | bytes) -> bytes:
    """Return a message as bytes; raises TypeError."""
    if not isinstance(body, (str, bytes)):
        raise TypeError(f"a message is str or bytes, not {type(body).__name__} (try json.dumps)")
    return body.encode() if isinstance(body, str) else body


def connect(**where) -> pika.BlockingConnection:
    """Return a plain pika connection; `where` is what Broker takes. Raises BrokerError."""
    broker = Broker(**where)
    return broker.keep_trying(broker.connect)


def batches(options: argparse.Namespace) -> Iterator[list[bytes]]:
    """Yield the messages, some at a time: the arguments, or standard input as it comes."""
    if options.messages:
        bodies = [os.fsencode(message) for message in options.messages]
        every = itertools.chain.from_iterable(itertools.repeat(bodies, options.count))
        while batch := list(itertools.islice(every, 10_000)):
            yield batch
        return
    if sys.stdin.isatty():
        say("!", "Type a message, then Enter; end with Ctrl-D (Windows: Ctrl-Z, Enter)")
    mark = codecs.BOM_UTF8  # with which Notepad begins a file
    while chunk := sys.stdin.buffer.read1(65536):
        *lines, begun = chunk.removeprefix(mark).split(b"\n")
        yield [line.removesuffix(b"\r") for line in lines]
        if begun:  # a line whose end may take a while
            line = begun + sys.stdin.buffer.readline()
            yield [line.removesuffix(b"\n").removesuffix(b"\r")]
        mark = b""


def main(options: argparse.Namespace) -> int:
    """Send everything; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill stops it as Ctrl-C does
    broker, kind = options.parser.broker(options), options.queue_type
    producer = Producer(options.queue, durable=options.durable, queue_type=kind,
                        persistent=options.persistent, broker=broker)  # fmt: skip
    start, total, missing = time.monotonic(), len(options.messages) * options.count, []
    many, rest = False, "" if options.messages else "; the rest was not read"
    try:
        for batch in batches(options):
            total += 0 if options.messages else len(batch)
            many = many or (len(batch) > 20 and not options.interval)
            for some in [batch] if many else [[body] for body in batch]:
                try:
                    producer.send_all(some)
                    if not many:
                        with contextlib.suppress(OSError):  # if nobody reads it, we send on
                            say("x", f"Sent {show(some[0])}")
                except Undelivered as error:
                    missing += error.messages[: 10 - len(missing)]
                producer.sleep(options.interval)
        rest = ""
    finally:
        missing += [(body, "not confirmed") for body in producer.unconfirmed[:10]]
        count = total - producer.confirmed
        for body, why in missing[:10]:
            say("!", f"Not sent: {show(body)} ({why})")
        if count or many or rest:
            seconds, sent = time.monotonic() - start, producer.confirmed
            sent = f"{sent} message{'s' * (sent != 1)} confirmed in {seconds:.1f} s"
            with contextlib.suppress(BrokenPipeError):
                say("*", f"{sent}, {count} not sent{rest}")
        broker.journal.write("stopped", count=producer.confirmed)
    producer.close()
    return REFUSED if count else OK


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = script_parser(__doc__)
    parser.add_argument("messages", nargs="*", metavar="MESSAGE", help="default: lines of stdin")
    add = parser.add_argument_group("messages").add_argument
    add("--persistent", action="store_true", help="a durable queue keeps them over a restart")
    add("--count", type=number(int, 1), default=1, metavar="N", help="send them all N times")
    add("--interval", type=number(float, 0), default=0, metavar="SECONDS", help="wait after each")
    options = parser.parse_args()
    if not options.messages and (options.count > 1 or not sys.stdin):
        parser.error("no MESSAGE to send: give one or more after the options")
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
