"""How every lab program speaks, fails and stops. `program` runs another one, `terminal` reads keys.

It imports kit.amqp only, and only for the options of a broker: labs/broker.py runs without pika.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pika import BlockingConnection

    from kit.amqp import Broker, Parser

LOCALHOST = "127.0.0.1"
KIT = Path(__file__).resolve().parents[3]
OK, UNEXPECTED, USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130  # as in kit.amqp
LOOK_EVERY = 0.03  # seconds


class Trouble(Exception):
    """Raised for a problem that the user can fix: what is wrong, what to try, and the exit code.

    `final`: no other way of starting a broker would help.
    """

    def __init__(
        self, what: str, hint: str = "", code: int = UNREACHABLE, *, final: bool = False
    ) -> None:
        super().__init__(what)
        self.hint, self.code, self.final = hint, code, final


# ---- speaking


def say(mark: str, text: str) -> None:
    """Print one line at once: "*" the program's state, "x" a message, "!" trouble (to stderr)."""
    print(f" [{mark}] {text}\n", end="", file=sys.stderr if mark == "!" else sys.stdout, flush=True)


def clean(text: str) -> str:
    """Escape the characters that could move a terminal's cursor or reverse its text."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "replace").decode()
        for one in text
    )


# ---- failing


def run(main: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> NoReturn:
    """Run a program to its exit code; errors that the user can fix print as one line and a hint."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # their encoding may lack a character
        stream.reconfigure(errors="backslashreplace")
    verbose = getattr(options, "verbose", False)
    try:
        code = main(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("!", "Stopped by Ctrl-C.")
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        code = OK
    except Exception as error:
        problem = to_trouble(error)
        report(problem)
        code = problem.code
        if verbose:
            traceback.print_exc()
    os._exit(code)  # not sys.exit: flushing to a closed pipe fails, and a thread may still work


def report(problem: Trouble) -> None:
    """Print an error, and what to try."""
    hint = f"\n  try: {problem.hint}" if problem.hint else ""
    print(f"{os.path.basename(sys.argv[0])}: error: {problem}{hint}", file=sys.stderr, flush=True)


def to_trouble(error: Exception) -> Trouble:
    """Return an error as the Trouble to report."""
    if isinstance(error, Trouble):
        return error
    with contextlib.suppress(ImportError):
        from kit.amqp import BrokerError, explain, pika

        if isinstance(error, (BrokerError, pika.exceptions.AMQPError)):
            problem = explain(error)
            return Trouble(str(problem), problem.hint, problem.code)
    return Trouble(f"{type(error).__name__}: {error}", "look closer: -v", UNEXPECTED)


@contextlib.contextmanager
def requirements() -> Iterator[None]:
    """Guard imports of third-party packages: if one is missing, end with one line and a hint."""
    try:
        yield
    except ImportError as missing:
        program, kit = os.path.basename(sys.argv[0]), Path(os.path.relpath(KIT))
        install = f"(if that is not enough: pip install -r {kit / 'requirements.txt'})"
        hint = f". {kit / '.venv/bin/activate'}    {install}"
        raise SystemExit(f"{program}: error: {missing}\n  try: {hint}") from None


# ---- stopping


def stop_as_with_ctrl_c() -> None:
    """Let SIGTERM and a closed terminal stop this program as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _hung_up)


def _hung_up(*_: object) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a shell that ends sends another one
    signal.raise_signal(signal.SIGTERM)  # defer_signals() defers this one, not SIGHUP


@contextlib.contextmanager
def closing(connection: "BlockingConnection") -> Iterator["BlockingConnection"]:
    """Close pika's connection at the end of the block, but not after Ctrl-C.

    Ctrl-C may stop pika in the middle of a call: closing would then fail, or wait for ever.
    """
    interrupted = False
    try:
        yield connection
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if connection.is_open and not interrupted:
            connection.close()


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM until the end of the block; other threads never get them.

    Start a program and store it in such a block: an interrupt between the two would orphan it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda received, _: came.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition was not met within {seconds:g} s")
        time.sleep(LOOK_EVERY)


# ---- options


def plain_parser(doc: str, epilog: str, verbose: str = "show tracebacks") -> "Parser":
    """Return a parser with the options of every lab program; `verbose` is the help of -v."""
    from kit.amqp import VERSION, Parser

    parser = Parser(
        description=doc.splitlines()[0],
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help=verbose)
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    parser.set_defaults(parser=parser)
    return parser


def lab_parser(doc: str, examples: str, name: str) -> "Parser":
    """Return a parser with the options for a broker; `name` is the connection's name."""
    from kit.amqp import EXIT_CODES

    parser = plain_parser(doc, f"{examples}\n\n{EXIT_CODES}")
    parser.add_broker_options()
    # The scripts have options for these; here nobody needs to choose.
    parser.set_defaults(heartbeat=60, name=name, retry_for=0)
    return parser


def run_lab(
    main: Callable[[argparse.Namespace, "Broker"], int], options: argparse.Namespace
) -> NoReturn:
    """Run a program with the broker that its options name."""

    def start(options: argparse.Namespace) -> int:
        from kit.amqp import explain, pika

        broker = options.parser.broker(options)
        try:
            return main(options, broker)
        except pika.exceptions.AMQPError as error:
            raise explain(error, broker.where) from error

    run(start, options)


def first_broker(broker: "Broker"):
    """Return the pika parameters of the broker that connect() tries first."""
    return broker.parameters[0]


def url_of(broker: "Broker") -> str:
    """Return the URL of the broker that the options name: for an environment, never for `ps`."""
    where = first_broker(broker)
    login, scheme = where.credentials, "amqps" if where.ssl_options else "amqp"
    parts = (login.username, login.password, where.virtual_host)
    user, password, vhost = (urllib.parse.quote(part, safe="") for part in parts)
    host = f"[{where.host}]" if ":" in where.host else where.host
    return f"{scheme}://{user}:{password}@{host}:{where.port}/{vhost}"
