#!/usr/bin/env python3
"""Watch the queues and their consumers on a live screen.

    labs/watch.py films other             # these queues
    labs/watch.py                         # all queues of the vhost; q or Ctrl-C quits

Ready and consumers are counted by the broker itself at each tick. Unacknowledged, rates and who
consumes come from the management page: the rates, and what a consumer holds, are up to 5 s old.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timezone

from kit.cli import requirements, say, stop_as_with_ctrl_c

with requirements():
    from rich.console import Console
    from rich.live import Live

    from kit.amqp import Broker, number
    from kit.cli import OK, REFUSED, UNREACHABLE, Trouble, closing, first_broker, run_lab
    from kit.cli.terminal import can_show, keyboard, note_signals, read_keys
    from kit.management.api import NAME_THEM, Page, queues_parser
    from kit.management.poller import Poller, Snapshot
    from kit.management.view import UNKNOWN, UNLIMITED, View

EXAMPLES = """examples:
  labs/watch.py                                       # all queues, in a pane beside the workers
  labs/watch.py --once tasks                          # one table, then exit
  labs/watch.py --once --json tasks | jq '.queues[0].ready'
  labs/watch.py --json --interval 5 >> figures.jsonl  # one JSON object a line
  labs/watch.py --host broker.example --vhost ada --username ada tasks"""
HEARTBEAT = 10  # seconds: a broker that falls silent is noticed after two of them
PATIENCE = 2  # seconds that the management page may take
REACTION = 0.2  # seconds until a new snapshot, a signal or a new size is noticed


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = queues_parser(__doc__, EXAMPLES, "watch.py")
    add = parser.add_argument_group("watching").add_argument
    add("--once", action="store_true", help="print one table and exit; 4 if a queue is missing")
    add("--json", action="store_true", help="print JSON; without --once an object a line")
    add("--interval", type=number(float, 0.1, 3600), default=1, metavar="SECONDS",
        help="time between two looks (default: %(default)s)")  # fmt: skip
    parser.set_defaults(heartbeat=HEARTBEAT)
    options = parser.parse_args()
    options.queues = list(dict.fromkeys(options.queues))
    return options


def document(snapshot: Snapshot, broker: Broker) -> dict:
    """Return a snapshot as a JSON document, without figures while the broker is away."""
    if snapshot.away:
        snapshot = Snapshot(away=snapshot.away)
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "broker": broker.where.removeprefix("RabbitMQ at "),
        "vhost": first_broker(broker).virtual_host,
        "away": snapshot.away or None,
        "management": snapshot.page_trouble or None,
        "queues": [dataclasses.asdict(queue) for queue in snapshot.queues],
        "consumers": [dataclasses.asdict(consumer) for consumer in snapshot.consumers],
    }


def print_once(poller: Poller, options: argparse.Namespace, view: View) -> int:
    """Print one snapshot; return the exit code."""
    with closing(poller.broker.connect()) as connection:
        snapshot = poller.look(connection)
    if snapshot.page_trouble and not options.queues:
        raise Trouble(snapshot.page_trouble, NAME_THEM, UNREACHABLE)
    if options.json:
        print(json.dumps(document(snapshot, poller.broker), indent=2))
    else:
        if snapshot.page_trouble:
            say("!", f"{UNKNOWN.capitalize()}: {snapshot.page_trouble}")
        view.console.print(*view.tables(snapshot), sep="\n")
    exist = all(queue.exists for queue in snapshot.queues)
    return OK if exist or not options.queues else REFUSED


def print_json_lines(poller: Poller) -> int:
    """Print a JSON object at each tick until stopped; return the exit code."""
    stop_as_with_ctrl_c()
    with contextlib.suppress(KeyboardInterrupt):
        for snapshot in poller.snapshots():
            print(json.dumps(document(snapshot, poller.broker)), flush=True)
    return OK


def show_screen(poller: Poller, view: View) -> int:
    """Show a live screen until the user quits; return the exit code."""
    snapshots = poller.snapshots()
    next(snapshots)  # before the screen opens, so that a refusal prints as one line
    polling = ThreadPoolExecutor().submit(exhaust, snapshots)
    sys.stdout.reconfigure(errors="replace")  # unknown letters still take one cell
    signals = note_signals("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP")
    with contextlib.suppress(OSError):  # the terminal is gone
        while "SIGTSTP" in draw(poller, view, polling, signals):
            signals.clear()
            os.kill(os.getpid(), signal.SIGSTOP)
    poller.stopping = True
    wait([polling], timeout=0.5)
    return OK


def exhaust(snapshots: Iterator[Snapshot]) -> None:
    """Keep polling; each snapshot becomes the poller's `latest`."""
    for _ in snapshots:
        pass


def draw(poller: Poller, view: View, polling: Future, signals: set[str]) -> set[str]:
    """Draw each change on a screen, until q or a signal comes; return the signals."""
    before = None
    with keyboard() as keys, Live(console=view.console, screen=True, auto_refresh=False) as live:
        how_to_quit = "Ctrl-C quits" if keys is None else "q quits"
        while not signals:
            if polling.done():
                polling.result()  # raises the error that ended it
            picture = poller.latest, view.silence(poller.latest), how_to_quit
            if (picture, view.console.size) != before:  # send only changes
                live.update(view.screen(*picture), refresh=True)
                before = picture, view.console.size
            if read_keys(keys, REACTION)[:1] in (b"q", b"Q"):
                break
    return signals


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Show the queues as the options say; return the exit code."""
    where = first_broker(broker)
    page = Page(where, options.management_port, options.management_url, PATIENCE)
    poller = Poller(broker, page, options.queues, options.interval)
    if options.json and not options.once:
        return print_json_lines(poller)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED)
    view = View(console, f"{broker.where}, vhost {where.virtual_host}", options.interval)
    if options.once or not can_show():
        if not options.once:
            say("!", "No live screen here, as this is not a terminal: one look, as with --once")
        return print_once(poller, options, view)
    return show_screen(poller, view)


if __name__ == "__main__":
    run_lab(main, parse())
