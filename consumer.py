#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pika>=1.4.4,<2", "tenacity>=9,<10"]
# ///
"""Print the messages of a RabbitMQ queue as they come.

./consumer.py --queue hello
./consumer.py --queue hello --acknowledge --exit-when-empty
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import errno
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
from collections.abc import Callable
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
  ./consumer.py --queue hello                              # until Ctrl-C
  ./consumer.py --queue hello -n 3                         # three messages
  ./consumer.py --queue hello --exit-when-empty --quiet    # empty the queue; how many were there?
  ./consumer.py --queue hello --host broker.example --vhost ada --username ada"""


class Reader:
    """Read a queue until told to stop, over as many connections as it takes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        started = {name: getattr(options, name) for name in ("queue", "acknowledge", "prefetch")}
        self.journal = Journal(options.journal, options.name, **started)
        self.connections = self.count = self.unprinted = 0
        self.done = self.in_hand = self.interrupted = False
        # With -n nothing is auto-acknowledged: the broker would hand over, and forget, more than N.
        self.auto_ack = not (options.acknowledge or options.limit)
        # Nor is it acknowledged one by one: for each the broker would hand over another one.
        self.batch = min(options.prefetch or options.limit, 65535) if options.limit else 1
        self.unacknowledged: int | None = None  # the newest delivery tag to acknowledge

    def interrupt(self, *_: object) -> None:
        """Stop, but not between printing a message and counting it: the handler of Ctrl-C."""
        if self.interrupted or not self.in_hand:
            raise KeyboardInterrupt
        self.interrupted = True

    def on_message(self, channel: BlockingChannel, method, properties, body: bytes) -> None:
        """Print one message, then acknowledge it."""
        if self.done:  # goes back when the connection is closed, unless it is auto-acknowledged
            self.unprinted += 1
            return
        self.in_hand = True
        identity = {"connection": self.connections, "delivery_tag": method.delivery_tag}
        identity["message_id"] = properties.message_id
        again = method.redelivered
        self.journal.write("received", body, **identity, redelivered=again, bytes=len(body))
        try:
            if not self.options.quiet:
                say("x", f"Received {show(body)}")
            self.count += 1
            self.journal.write("done", body, **identity, acknowledged=True)
            self.done = self.count == self.options.limit
            if not self.auto_ack:
                self.unacknowledged = method.delivery_tag
                if not self.done and self.count % self.batch == 0:
                    self.acknowledge(channel)
        finally:
            self.in_hand = False
        if self.interrupted:
            raise KeyboardInterrupt

    def acknowledge(self, channel: BlockingChannel) -> None:
        """Acknowledge every message that was printed and is not acknowledged yet."""
        if self.unacknowledged:
            channel.basic_ack(self.unacknowledged, multiple=True)
            self.unacknowledged = None

    def cancel(self, channel: BlockingChannel, tag: str) -> None:
        """Stop the deliveries; those that are under way still come to on_message."""
        # pika's own basic_cancel drops them without a word, auto-acknowledged or not.
        cancelled: list = []
        channel._impl.add_callback(cancelled.append, [pika.spec.Basic.CancelOk])
        channel._impl._send_method(pika.spec.Basic.Cancel(tag))
        while not cancelled and channel.is_open:
            channel.connection.process_data_events(time_limit=0.01)
        channel._dispatch_events()  # what Ctrl-C has left over

    def read(self, connection: pika.BlockingConnection) -> None:
        """Read from one connection until done; raises pika's errors when it is lost."""
        options, self.unacknowledged = self.options, None
        channel = declare_queue(
            connection, options.queue, options.durable, options.queue_type, options.passive
        )
        channel.basic_qos(prefetch_count=options.prefetch or (self.batch if options.limit else 0))
        tag = channel.basic_consume(options.queue, self.on_message, auto_ack=self.auto_ack)
        try:
            say("*", f"Waiting for messages on {options.queue!r}. To exit press CTRL+C")
            while not self.done:
                before = self.count
                connection.process_data_events(time_limit=0.2 if options.exit_when_empty else None)
                if not channel.consumer_tags:
                    raise why_cancelled(channel, options.queue)
                if options.exit_when_empty and self.count == before:
                    waiting = channel.queue_declare(options.queue, passive=True)
                    if waiting.method.message_count == 0:
                        break
            self.cancel(channel, tag)
            self.done = True
            self.acknowledge(channel)
        except (KeyboardInterrupt, BrokenPipeError) as stop:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C waits for no broker
            self.done = True
            self.unprinted += isinstance(stop, BrokenPipeError)
            with contextlib.suppress(pika.exceptions.AMQPError):
                self.acknowledge(channel)
                self.cancel(channel, tag)
                if self.auto_ack and self.unprinted:
                    why = "LOST: they were auto-acknowledged"
                    say("!", f"{self.unprinted} more had been handed over, {why}")
            raise


def main(options: argparse.Namespace, broker: dict) -> int:
    """Read until done, connecting again whenever the broker goes away; return the exit code."""
    reader, lost = Reader(options), None
    for number in (signal.SIGINT, signal.SIGTERM):  # kill stops it as Ctrl-C does
        signal.signal(number, reader.interrupt)
    try:
        while not reader.done:
            connection = connect(lost=lost, **broker)
            reader.connections += 1
            if lost:
                reader.journal.write("connection_back")
            try:
                reader.read(connection)
            except pika.exceptions.AMQPError as error:
                reader.journal.write("connection_lost", why=reason(error))
                if explain(error).code != UNREACHABLE:
                    raise
                lost = error
            finally:
                with contextlib.suppress(pika.exceptions.AMQPError):
                    connection.close()
    except KeyboardInterrupt:
        pass
    finally:
        reader.journal.write("stopped", count=reader.count)
    say("*", f"{reader.count} messages received")
    return OK


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument_group("messages").add_argument
    add("--acknowledge", action="store_true", help="acknowledge each message once it is printed")
    add("--prefetch", type=number(int, 1, 65535), metavar="N", help="unacknowledged ones at a time")
    add("--quiet", action="store_true", help="count the messages, do not print them")
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
