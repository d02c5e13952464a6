#!/usr/bin/env python3
"""Check your exercises: run them against a real broker, and say in a sentence what is wrong.

labs/check.py             # list the labs and your progress
labs/check.py 3           # check labs/03-acknowledgements/exercise.py; make it the first time
labs/check.py 3 --watch   # check it again whenever you save it

The broker is that of AMQP_URL, or the one on this machine (labs/broker.py up).
"""

import argparse
import json
import os
import time
from pathlib import Path

from kit.cli import (
    OK,
    UNEXPECTED,
    Trouble,
    plain_parser,
    report,
    requirements,
    run,
    say,
    stop_as_with_ctrl_c,
)

with requirements():
    from kit.amqp import Broker, BrokerError
    from kit.broker.lab import broker_url
    from kit.exercise import printing
    from kit.exercise.checks import Result, check_exercise
    from kit.exercise.labs import Lab, all_labs, relative

EPILOG = """\
  labs/check.py 3 --hint              # print the hint for the first task that is not done
  labs/check.py 3 --reset             # start again; your file is kept as exercise.py.bak
  labs/check.py 3 --json              # for a teacher's programs
  labs/check.py 3 --file ada.py       # another file than labs/03-.../exercise.py

exit codes: 0 all passed, 1 some did not, 2 usage, 3 no broker, 4 broker refused, 130 Ctrl-C
"""


def parse() -> argparse.Namespace:
    parser = plain_parser(__doc__, EPILOG, verbose="show tracebacks of check.py itself")
    labs = all_labs()
    numbers = ", ".join(map(str, labs))
    add = parser.add_argument
    add("lab", nargs="?", type=int, choices=labs, metavar="LAB", help=f"one of {numbers}")
    add("--task", type=int, metavar="N", help="only the checks of TODO(N)")
    add("--file", type=Path, metavar="FILE", help="check this file (default: exercise.py)")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--json", action="store_true", help="print the results as JSON")
    one.add_argument("--watch", action="store_true", help="check again whenever the file is saved")
    one.add_argument("--hint", action="store_true", help="print a hint for the first task not done")
    one.add_argument("--reset", action="store_true", help="replace the exercise with the starter")
    add("--yes", action="store_true", help="with --reset: do not ask")
    options = parser.parse_args()
    if options.lab is None:
        for name in ("watch", "hint", "reset", "task", "file", "yes"):
            if getattr(options, name):
                parser.error(f"--{name} needs the number of a lab: labs/check.py 3 --{name}")
    elif options.task is not None and options.task not in labs[options.lab].tasks:
        tasks = ", ".join(map(str, labs[options.lab].tasks))
        parser.error(f"--task: the tasks of lab {options.lab} are {tasks}")
    if options.yes and not options.reset:
        parser.error("--yes goes with --reset")
    if options.reset and options.file:
        parser.error("--reset does not go with --file: it replaces the lab's own exercise.py")
    return options


def check(lab: Lab, options: argparse.Namespace) -> Result:
    """Check an exercise, print the outcome, and save it. Raises Trouble or BrokerError."""
    path = options.file or lab.exercise
    if not options.json:
        print(f"Lab {lab.number}, {lab.name}: {relative(path)}", flush=True)
    os.environ["AMQP_URL"] = broker_url()
    Broker().connect().close()
    on_check = (lambda check: None) if options.json else printing.Printer()
    result = check_exercise(lab, path, options.task, on_check)
    if not options.file:
        lab.save(result.done)
    if options.json:
        print(result.as_json())
    else:
        printing.print_summary(result, path)
    return result


def watch(lab: Lab, options: argparse.Namespace) -> int:
    """Check an exercise again whenever its file is saved, until all checks pass."""
    path = options.file or lab.exercise

    def changed_at() -> int:
        try:
            return path.stat().st_mtime_ns
        except OSError:  # an editor is replacing it
            return 0

    while True:
        before = changed_at()
        try:
            if check(lab, options).passed and options.task is None:
                return OK
        except (Trouble, BrokerError) as problem:
            report(problem)
        say("*", f"Waiting for you to save {relative(path)}. To stop press CTRL+C")
        while changed_at() in (before, 0):
            time.sleep(0.5)
        print(flush=True)


def hint(lab: Lab, options: argparse.Namespace) -> int:
    """Print the hint for the first task not done; check first if the file has changed."""
    done = lab.tasks_done()
    if options.file or not lab.is_as_checked():
        done = {str(task): value for task, value in check(lab, options).done.items()}
        print()
    to_do = [options.task] if options.task else [n for n in lab.tasks if not done.get(str(n))]
    if not to_do:
        say("*", "All tasks are done: no hint is left to give.")
        return OK
    if to_do[0] not in lab.hints():
        raise Trouble(f"there is no hint for task {to_do[0]}", code=UNEXPECTED)
    printing.print_hint(to_do[0], lab.hints()[to_do[0]])
    return UNEXPECTED


def reset(lab: Lab, sure: bool) -> int:
    """Replace the exercise with the starter; keep the student's file beside it."""
    name = relative(lab.exercise)
    if lab.is_changed() and not sure and not confirmed(f"Put {name} back to how it was? [y/N] "):
        say("*", "Nothing is changed.")
        return UNEXPECTED
    if kept := lab.reset():
        say("*", f"Yours is kept as {relative(kept)}")
    say("*", f"{name} is as it was.")
    return OK


def confirmed(question: str) -> bool:
    """Return True if the user answers yes; no answer means no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def act(options: argparse.Namespace) -> int:
    if options.lab is None:
        printing.print_labs_as_json() if options.json else printing.print_labs()
        return OK
    lab = all_labs()[options.lab]
    if options.reset:
        return reset(lab, options.yes)
    if not options.file and lab.make_exercise() and not options.json:
        say("*", f"{relative(lab.exercise)} is made: yours to change. Open it in your editor.")
    if options.hint:
        return hint(lab, options)
    if options.watch:
        return watch(lab, options)
    return OK if check(lab, options).passed else UNEXPECTED


def main(options: argparse.Namespace) -> int:
    stop_as_with_ctrl_c()  # SIGTERM must end the student's program too
    try:
        return act(options)
    except (Trouble, BrokerError) as problem:
        if options.json:
            print(json.dumps({"lab": options.lab, "passed": False, "problem": str(problem)}))
        raise


if __name__ == "__main__":
    run(main, parse())
