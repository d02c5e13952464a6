#!/usr/bin/env python3
"""Poll a publisher for its events.

    ./poll.py --every 2
    ./poll.py http://127.0.0.1:8007/events --every 0.5 --after 12

The publisher is publisher.py --http. It keeps only the newest events: ask too seldom and you miss
some, ask too often and most requests are in vain.
"""

import argparse
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

try:
    from kit.amqp import number, reason, show
    from kit.cli import OK, UNREACHABLE, Trouble, plain_parser, run, say, stop_as_with_ctrl_c
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"poll.py: error: {missing}\n  try: {hint}") from None

EXIT_CODES = "exit codes: 0 stopped, 1 unexpected, 2 usage, 3 nobody answers"
PATIENCE = 5  # seconds for an answer
LONGEST = 10_000_000  # bytes of an answer


def address(text: str) -> str:
    """Check the address of a publisher: an argparse type."""
    try:
        parts = urllib.parse.urlsplit(text)
        if parts.scheme == "http" and parts.hostname and (parts.port or 80):  # .port may raise
            if text.isascii() and text.isprintable() and " " not in text and not parts.query:
                return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError("an address is http://HOST:PORT/events")


def parse() -> argparse.Namespace:
    parser = plain_parser(__doc__, EXIT_CODES)
    port = os.environ.get("LAB_HTTP_PORT") or "8007"
    add = parser.add_argument
    here = f"http://127.0.0.1:{port}/events"
    add(
        "address",
        nargs="?",
        type=address,
        default=here,
        metavar="ADDRESS",
        help="as publisher.py --http prints it (default: %(default)s)",
    )
    add(
        "--every",
        type=number(float, 0.01, 86400),
        default=2,
        metavar="SECONDS",
        help="pause between two requests (default: %(default)s)",
    )
    add(
        "--after",
        type=number(int, 0, 10**9),
        default=0,
        metavar="NUMBER",
        help="the last event that you already have (default: %(default)s)",
    )
    return parser.parse_args()


class Poller:
    """Polls a publisher, prints new events, and counts the requests."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.address, self.every, self.newest = options.address, options.every, options.after
        self.started: float | None = None  # when the publisher was started
        self.requests = self.wasted = self.events = 0
        # Bypass HTTP_PROXY: a proxy could not reach a publisher on this machine.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self) -> None:
        """Ask once, and print new events. Raises Trouble if there is no answer."""
        before = self.events
        try:
            self.take(self.fetch())
        finally:
            self.wasted += self.events == before

    def fetch(self) -> dict:
        """Return the publisher's answer. Raises Trouble."""
        self.requests += 1
        hint = "./publisher.py --http"
        try:
            with self.opener.open(f"{self.address}?after={self.newest}", timeout=PATIENCE) as page:
                answer = json.loads(page.read(LONGEST))
            started, newest = float(answer["started"]), int(answer["newest"])
            events = [(int(one["number"]), str(one["text"])) for one in answer["events"]]
            return {"started": started, "newest": newest, "events": events}
        except urllib.error.HTTPError as error:
            why = f"it says {error.code}"
            if error.code == 404:
                hint = "the address ends in /events"
        except (OSError, urllib.error.URLError) as error:
            why = reason(error)
        except (ValueError, TypeError, KeyError):
            why = "it answers, but is no publisher.py"
        raise Trouble(f"no events from {self.address} ({why})", hint, UNREACHABLE)

    def take(self, answer: dict) -> None:
        """Print the events of an answer, and how many were missed."""
        if self.started not in (None, answer["started"]) or answer["newest"] < self.newest:
            say("!", "The publisher was started anew: its events begin with number 1 again")
            self.started, self.newest = answer["started"], 0
            return self.take(self.fetch())
        self.started = answer["started"]
        for event, text in answer["events"]:
            if missed := event - self.newest - 1:
                say("!", f"Missed {missed} event{'s' * (missed > 1)}: no longer kept")
            self.newest = event
            self.events += 1
            say("x", f"Event {event}: {show(text.encode(errors='backslashreplace'))}")

    def run(self) -> None:
        """Ask until we are stopped. Raises Trouble if there is no answer the first time."""
        self.ask()
        say("*", f"Asking every {self.every:g} s. To exit press CTRL+C")
        silent = False
        while True:
            time.sleep(self.every)
            try:
                self.ask()
                if silent:
                    say("*", "The publisher answers again")
                silent = False
            except Trouble as error:
                if not silent:
                    say("!", f"N{str(error)[1:]}; asking on")
                silent = True


def main(options: argparse.Namespace) -> int:
    """Ask until Ctrl-C; return the exit code."""
    stop_as_with_ctrl_c()
    poller = Poller(options)
    try:
        poller.run()
    except KeyboardInterrupt:
        pass
    requests = f"{poller.requests} request{'s' * (poller.requests != 1)}"
    events = f"{poller.events} event{'s' * (poller.events != 1)}"
    say("*", f"{requests}, {poller.wasted} of them in vain; {events}")
    return OK


if __name__ == "__main__":
    run(main, parse())
