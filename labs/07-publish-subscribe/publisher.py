#!/usr/bin/env python3
"""Publish events, one per line of standard input, in one of three ways.

./publisher.py --http                # they ask for them (poll.py)
./publisher.py --queue jobs          # each event goes to one of the workers (consumer.py)
./publisher.py --exchange news       # each event goes to everybody (subscribe.py)
"""

import argparse
import copy
import json
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

try:
    from exchanges import Announcer, broker_of, make_parser, read_lines, valid_name

    from kit.amqp import Broker, BrokerError, declare_queue, number, reason, show
    from kit.cli import LOCALHOST, OK, REFUSED, UNEXPECTED, Trouble, run, say, stop_as_with_ctrl_c
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"publisher.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./publisher.py --http --keep 100                # for readers that poll seldom
  ./publisher.py --queue jobs --durable < events.txt"""


class Server(ThreadingHTTPServer):
    """A server that ignores clients who hang up before the answer."""

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Board:
    """The newest events, and an HTTP service that hands them out.

    Older ones are dropped: to keep events until every reader has asked, a publisher would have to
    know all readers, and keep for ever what one of them never fetches.
    """

    def __init__(self, port: int, keep: int) -> None:
        self.started = time.time()  # tells clients when the numbers begin again
        self.events: deque[tuple[int, str]] = deque(maxlen=keep)
        self.made = self.answered = self.in_vain = 0
        self.lock = threading.Lock()
        try:
            self.server = Server((LOCALHOST, port), self.handler())
        except OSError as error:
            what = f"cannot answer on port {port} ({reason(error)})"
            raise Trouble(what, "another --http-port, 0 for any", UNEXPECTED) from None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://{LOCALHOST}:{self.server.server_port}/events"

    def publish(self, event: bytes) -> bool:
        """Keep an event; drop the oldest if there are too many."""
        with self.lock:
            self.made += 1
            self.events.append((self.made, event.decode(errors="backslashreplace")))
        return True

    def answer(self, after: int) -> dict:
        """Return the events after a number that are still kept."""
        with self.lock:
            new = [{"number": n, "text": text} for n, text in self.events if n > after]
            self.answered += 1
            self.in_vain += not new
            return {"started": self.started, "newest": self.made, "events": new}

    def close(self) -> None:
        pass  # the server's thread ends with the program

    def report(self) -> None:
        """Print how many requests there were."""
        requests = f"{self.answered} request{'s' * (self.answered != 1)}"
        say("*", f"{requests} answered, {self.in_vain} of them with nothing new")

    def handler(self) -> type[BaseHTTPRequestHandler]:
        board = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # seconds for a client that connects and asks nothing

            def do_GET(self) -> None:
                """Answer GET /events?after=NUMBER."""
                asked = re.fullmatch(r"/events(?:\?after=(\d{1,15}))?", self.path)
                if not asked:
                    return self.send_error(404, "ask for /events or /events?after=NUMBER")
                body = json.dumps(board.answer(int(asked[1] or 0))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Print nothing: somebody may be typing events in this terminal."""

        return Handler


class Outlet(Announcer):
    """Publishes to a fanout exchange, or to a queue through the default exchange.

    The events are persistent, so a durable queue keeps them over a restart of the broker.
    """

    def __init__(self, options: argparse.Namespace, broker: Broker) -> None:
        self.queue, self.sent = options.queue_name or "", 0
        if self.queue:
            first, durable = copy.copy(broker), options.durable
            first.keep_trying(
                lambda: declare_queue(first.connect(), self.queue, durable).connection.close()
            )
        super().__init__(broker, options.exchange or "", "fanout", persistent=True)

    def publish(self, event: bytes) -> bool:
        """Publish an event; return True if any queue took it."""
        self.sent += 1
        return super().publish(event, self.queue)

    def report(self) -> None:
        """Print how many events were sent."""
        say("*", f"{self.sent} event{'s' * (self.sent != 1)} sent")

    def _open(self) -> None:
        try:
            super()._open()
        except BrokerError as error:
            if "arg 'type' for exchange" in str(error):
                only_fanout = "(publisher.py knows fanout only; emit.py has --type)"
                error.hint = f"another --exchange name {only_fanout}"
            raise


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLES, "publisher.py")
    parser.set_defaults(heartbeat=0)  # nobody answers heartbeats while we wait for a line
    add = parser.add_argument_group("how").add_mutually_exclusive_group(required=True).add_argument
    add("--http", action="store_true", help="wait until readers ask")
    add("--queue", dest="queue_name", type=valid_name, metavar="NAME", help="send to this queue")
    add("--exchange", type=valid_name, metavar="NAME", help="a fanout exchange")
    add = parser.add_argument_group("with --http").add_argument
    add(
        "--http-port",
        type=number(int, 0, 65535),
        metavar="PORT",
        default=os.environ.get("LAB_HTTP_PORT") or "8007",
        help="0 for any free one (default: LAB_HTTP_PORT, or 8007)",
    )
    add(
        "--keep",
        type=number(int, 1),
        default=3,
        metavar="N",
        help="how many events to keep (default: %(default)s)",
    )
    add = parser.add_argument_group("with --queue").add_argument
    add("--durable", action="store_true", help="the queue survives a restart of the broker")
    options = parser.parse_args()
    if options.durable and not options.queue_name:
        parser.error("--durable goes with --queue")
    return options


def read_events() -> Iterator[bytes]:
    """Yield the lines that a person types, or those of standard input, as they come."""
    if not sys.stdin:
        return
    if not sys.stdin.isatty():
        yield from read_lines()
        return
    say("*", "Type an event, then Enter; end with Ctrl-C")
    while True:
        try:
            yield os.fsencode(input("> "))
        except EOFError:
            return


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Publish every event; return the exit code."""
    stop_as_with_ctrl_c()
    code = OK
    if options.http:
        outlet = Board(options.http_port, options.keep)
        say("*", f"Answering at {outlet.address}, newest {options.keep} events only")
    else:
        outlet = Outlet(options, broker)
        worker = f"one worker of queue {options.queue_name!r}"
        say("*", f"Each event goes to {worker if options.queue_name else repr(options.exchange)}")
    count = 0
    try:
        for event in filter(bytes.strip, read_events()):
            count += 1
            if outlet.publish(event):
                say("x", f"Event {count}: {show(event)}")
            elif options.exchange:
                say("!", f"Event {count}: nobody is subscribed, {show(event)} is dropped")
            else:
                say("!", f"Event {count}: the queue is gone, {show(event)} is dropped")
                code = REFUSED
        outlet.close()
    except KeyboardInterrupt:
        pass  # perhaps in the middle of a call of pika: closing would then fail
    outlet.report()
    return code


if __name__ == "__main__":
    run(lambda options: main(options, broker_of(options)), parse())
