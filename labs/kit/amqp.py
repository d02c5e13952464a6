"""What a program that talks to RabbitMQ needs: connect, come back, explain what is wrong.

This is the original of the block that producer.py, consumer.py and qprocessor.py carry, so that
each of them runs when it is uploaded alone. `make sync` copies it into them.
"""

import argparse
import contextlib
import datetime
import difflib
import getpass
import json
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from tenacity import RetryCallState, Retrying, wait_random_exponential

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
