#!/usr/bin/env python3
"""Watch the broker as it breathes: a live screen of the queues and their consumers.

    labs/watch.py films other             # these queues
    labs/watch.py                         # all queues of the vhost; q or Ctrl-C quits

Ready and consumers are counted by the broker itself at each tick. Unacknowledged, rates and who
consumes come from the management page: the rates, and what a consumer holds, are up to 5 s old.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from kit.cli import requirements, say

with requirements():
    from rich.console import Console
    from rich.text import Text

    from kit.amqp import Broker, number
    from kit.cli import OK, REFUSED, UNREACHABLE, Trouble, run_lab
    from kit.cli.terminal import REDRAW, Alarm, can_show, show
    from kit.management.api import NAME_THEM, Page, broker_parser, name_of_queue
    from kit.management.poller import MISSING, Counter, Look, Pulse, Queue, consumers_of
    from kit.management.statistics import Reader
    from kit.management.view import BARS, Board

EXAMPLES = """examples:
  labs/watch.py                                       # all queues, in a pane beside the workers
  labs/watch.py --once tasks                          # one table, and done
  labs/watch.py --once --json tasks | jq '.queues[0].ready'
  labs/watch.py --json --interval 5 >> figures.jsonl  # one JSON object a line
  labs/watch.py --host broker.example --vhost ada --username ada tasks"""
HEARTBEAT = 10  # seconds: a broker that falls silent is noticed after two
PATIENCE = 2  # seconds that the page of a broker may take
FIRST = 1  # seconds that the screen waits, so that a refusal is one line and no screen


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = broker_parser(__doc__, EXAMPLES, "watch.py")
    parser.add_argument(
        "queues", nargs="*", type=name_of_queue, metavar="QUEUE", help="default: all of the vhost"
    )
    add = parser.add_argument_group("watching").add_argument
    add("--once", action="store_true", help="print one table and end; 4 if a queue is not there")
    add("--json", action="store_true", help="print JSON; without --once an object a line")
    add("--interval", type=number(float, 0.1, 3600), default=1, metavar="SECONDS",
        help="from one look to the next (default: %(default)s)")  # fmt: skip
    parser.set_defaults(heartbeat=HEARTBEAT)
    options = parser.parse_args()
    options.queues = list(dict.fromkeys(options.queues))
    return options


class Watch:
    """What is watched where, and the three ways to show it."""

    def __init__(self, options: argparse.Namespace, broker: Broker) -> None:
        self.options, self.broker = options, broker
        every = broker.parameters
        self.vhost = every[0].virtual_host
        self.place = ", ".join(f"{one.host}:{one.port}" for one in every)
        page = options.management_port, options.management_url
        self.page = Page(every[0], *page, timeout=PATIENCE)

    def once(self) -> int:
        """Print one look; return the exit code."""
        connection = self.broker.connect()
        told = Reader(self.page).look()
        if told.trouble and not self.options.queues:
            raise Trouble(told.trouble, NAME_THEM, UNREACHABLE)
        queues = Counter(connection).look(self.options.queues or sorted(told.queues), told)
        connection.close()
        look = Look(tuple(queues), consumers_of(queues, told), told.trouble)
        if self.options.json:
            print(json.dumps(self.document(look), indent=2))
        else:
            self.print(look)
        missing = any(queue.note == MISSING for queue in queues)
        return REFUSED if missing and self.options.queues else OK

    def stream(self) -> int:
        """Print a JSON object at each tick; return the exit code."""
        with self.beating() as (pulse, alarm):
            shown, printed = None, 0.0
            while not alarm.stopped:
                if pulse.error:
                    raise pulse.error
                look, now = pulse.latest, time.monotonic()
                # While the broker is away, tries come faster than ticks.
                again = shown and look.away and shown.away
                if look is not shown and not (again and now < printed + self.options.interval):
                    print(json.dumps(self.document(look)), flush=True)
                    shown, printed = look, now
                alarm.wait(REDRAW)
        return OK

    def screen(self) -> int:
        """Show a live screen until somebody quits; return the exit code."""
        board = self.board()
        with self.beating() as (pulse, alarm):

            def draw(width: int, height: int, keys: str) -> Text:
                if pulse.error:
                    raise pulse.error
                return board.screen(pulse.latest, width, height, keys)

            end = time.monotonic() + FIRST
            while not (pulse.latest or pulse.error or alarm.stopped) and time.monotonic() < end:
                alarm.wait(0.1)
            if pulse.error:
                raise pulse.error
            show(draw, alarm)
        return OK

    @contextlib.contextmanager
    def beating(self) -> Iterator[tuple[Pulse, Alarm]]:
        """Look at the queues in the background, and ring at each look."""
        alarm = Alarm()
        alarm.catch_signals()
        options = self.options
        pulse = Pulse(self.broker, self.page, options.queues, options.interval, alarm.ring)
        pulse.start()
        try:
            yield pulse, alarm
        finally:
            pulse.stop()

    def print(self, look: Look) -> None:
        """Print the tables of a look."""
        if look.trouble:
            say("!", f"Unacknowledged, rates and consumers are not known: {look.trouble}")
        if not look.queues:
            return say("*", "There is no queue in this vhost")
        width = Console().width if sys.stdout.isatty() else None
        for line in self.board().tables(look, width):
            print(line.plain)

    def document(self, look: Look) -> dict:
        """Return a look as JSON has it; without the broker there are no figures."""
        here = not look.away
        return {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "broker": self.place,
            "vhost": self.vhost,
            "away": look.away or None,
            "management": (here and look.trouble) or None,
            "queues": [figures(queue) for queue in look.queues if here],
            "consumers": [vars(consumer) for consumer in look.consumers if here],
        }

    def board(self) -> Board:
        """Return what lays out the figures for our output."""
        try:
            BARS.encode(sys.stdout.encoding)
            ascii_only = False
        except UnicodeEncodeError:
            ascii_only = True
        where = f"RabbitMQ at {self.place}, vhost {self.vhost}"
        return Board(where, self.options.interval, ascii_only=ascii_only)


def figures(queue: Queue) -> dict:
    """Return a queue as JSON has it; null is what is not known."""
    return {
        "name": queue.name,
        "exists": queue.note != MISSING,
        "ready": queue.ready,
        "unacknowledged": queue.unacknowledged,
        "consumers": queue.consumers,
        "in_per_second": queue.rate_in,
        "out_per_second": queue.rate_out,
    }


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Show the queues in the way that was asked for; return the exit code."""
    watch = Watch(options, broker)
    if options.json and not options.once:
        return watch.stream()
    if not options.once and not can_show():
        say("!", "No live screen here, as this is not a terminal: one look, as with --once")
    return watch.once() if options.once or not can_show() else watch.screen()


if __name__ == "__main__":
    run_lab(main, parse())
