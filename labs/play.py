#!/usr/bin/env python3
"""Play a worksheet in tmux: show its text and panes; Enter types the commands of a step.

    labs/play.py 3                          # press Enter for each step, as at a projector
    labs/play.py 3 --auto                   # go on without keys, and wait for each expected text

It plays on the broker of AMQP_URL, or on the local one. When you leave, nothing keeps running:
neither tmux nor a worker.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

from kit.cli import (
    KIT,
    OK,
    UNEXPECTED,
    USAGE,
    Trouble,
    plain_parser,
    requirements,
    run,
    say,
    stop_as_with_ctrl_c,
)

with requirements():
    from kit.amqp import Broker, number
    from kit.broker.lab import BROKERS, broker_url, our_broker
    from kit.management.counts import count
    from kit.worksheet.environment import pane_environment
    from kit.worksheet.page import Worksheet, find_page, read
    from kit.worksheet.panes import Stage, tmux
    from kit.worksheet.player import DEADLINE, Mismatch, Player
    from kit.worksheet.presenter import OUTCOME, present

EPILOG = """\
examples:
  labs/play.py 3 --list                   # the steps and their panes
  labs/play.py 3 --from 4                 # plays steps 1 to 3 quickly, then waits for you
  labs/play.py 3 --auto > log.txt         # without a screen: a line for each step

keys in the narrow pane:
  Enter   type the step's commands; once they are done, read on, then show the next step
  s       stop waiting for a text that does not appear
  Space b up down     scroll forward and back
  a       show the answers and hints of the step, or hide them
  q       leave, as Ctrl-C does; everything that runs in the panes is stopped

Click into another pane to type there yourself, and into the narrow one to go on.

exit codes: 0 done, 1 a text did not appear, 2 usage, 3 no broker, 4 broker refused, 130 Ctrl-C
"""


def parse() -> argparse.Namespace:
    parser = plain_parser(__doc__, EPILOG)
    add = parser.add_argument
    add("lab", metavar="LAB", help="its number, or the path of a worksheet")
    add("--auto", action="store_true", help="need no keys; stop at a text that does not appear")
    add("--list", action="store_true", help="list the steps, play nothing")
    add(
        "--from",
        dest="begin",
        type=number(int, 0),
        default=0,
        metavar="STEP",
        help="play the steps before this one without waiting for keys (numbers: --list)",
    )
    add(
        "--wait",
        type=number(float, 0),
        default=DEADLINE,
        metavar="SECONDS",
        help="how long to wait for a text to appear (default: %(default)s)",
    )
    # play.py passes these to a second copy of itself, which runs in the narrow pane.
    for name, kind in (("--stage", Path), ("--tmux", Path), ("--parent", int)):
        add(name, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def list_steps(page: Worksheet) -> None:
    """Print the steps with their numbers and panes."""
    for index, step in enumerate(page.steps):
        names = ", ".join(dict.fromkeys(block.pane for block in step.blocks))
        print(f"{index:3}  {step.title}{f'   ({names})' if names else ''}")


def check_broker(page: Worksheet) -> None:
    """Raise BrokerError without a broker, Trouble if the page cannot be played on this one."""
    connection = Broker(url=None if os.environ.get("AMQP_URL") else broker_url()).connect()
    queues = " ".join(queue for queue in sorted(page.queues) if count(connection, queue))
    connection.close()
    if queues:
        what = f"the page must begin without its queues, but these exist: {queues}"
        raise Trouble(what, f"labs/queues.py --delete {queues}", UNEXPECTED)
    broker = our_broker(broker_url())
    if page.breaks_the_broker and (broker is None or broker.name != "lab"):
        what = "this lab restarts its broker, but this one is not node 'lab' of labs/broker.py"
        by_hand = "or play it by hand, as the box at the page's top says"
        raise Trouble(what, f"labs/broker.py up, without AMQP_URL; {by_hand}")


def play_without_screen(page: Worksheet, stage: Stage, wait: float) -> int:
    """Play to the end and print a line for each step; return the exit code."""
    player = Player(stage.panes, deadline=wait)
    for index, step in enumerate(page.steps):
        say("*", f"{index}/{len(page.steps) - 1} {step.title}")
        try:
            for block in step.blocks:
                player.play(block)
        except Mismatch as mismatch:
            say("!", str(mismatch))
            print(mismatch.screen, file=sys.stderr)
            return UNEXPECTED
    say("*", "Played to the end, all as printed")
    return OK


def play_on_screen(page: Worksheet, stage: Stage, options: argparse.Namespace) -> int:
    """Show the stage on this terminal until the reader leaves; return the exit code."""
    width = max(32, min(50, os.get_terminal_size().columns * 2 // 5))
    command = [sys.executable, __file__, page.file.absolute(), "--from", options.begin]
    command += ["--wait", options.wait, *(["--auto"] if options.auto else [])]
    command += ["--stage", stage.socket, "--tmux", stage.program, "--parent", os.getpid()]
    stage.show("play", "exec " + shlex.join(map(str, command)), width)
    stage.attach()
    try:
        outcome = json.loads((stage.folder / OUTCOME).read_text())
    except OSError:  # detached, or the window was closed
        return OK
    if outcome["code"]:
        say("!", outcome["says"])
        print(outcome.get("screen", ""), file=sys.stderr)
    elif outcome["says"]:
        say("*", outcome["says"])
    return outcome["code"]


def main(options: argparse.Namespace) -> int:
    page = read(find_page(options.lab))
    if options.stage:
        present(page, options)
        return OK
    stop_as_with_ctrl_c()  # SIGTERM must close the stage too
    if options.list:
        list_steps(page)
        return OK
    if options.begin >= len(page.steps):
        raise Trouble(f"there is no step {options.begin}", "--list shows them", USAGE)
    on_screen = sys.stdin.isatty() and sys.stdout.isatty()
    if not on_screen and not options.auto:
        raise Trouble("a terminal is needed to press Enter", "--auto, or --list", USAGE)
    check_broker(page)
    program = tmux(BROKERS / "unpacked")
    width, height = size = tuple(os.get_terminal_size()) if on_screen else (120, 0)
    if on_screen and (width < 64 or height < 12):
        raise Trouble(f"{width}x{height} is too small to show anything", "80x24 or more", USAGE)
    with Stage(program, page.panes, pane_environment(), cwd=KIT, size=size) as stage:
        if on_screen:
            return play_on_screen(page, stage, options)
        return play_without_screen(page, stage, options.wait)


if __name__ == "__main__":
    run(main, parse())
