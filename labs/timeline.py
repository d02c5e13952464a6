#!/usr/bin/env python3
"""Draw who worked on what, when: the journals that the scripts write with --journal.

    labs/timeline.py run.jsonl                             # in the terminal
    labs/timeline.py run.jsonl -o timeline.svg             # or .png, or a page: .html
    labs/timeline.py --compare in-turn.jsonl fair.jsonl    # one above the other

A lane a worker, a bar a task, the queue's depth below, the figures underneath. Several files are
one run, unless they are compared. What a journal is: labs/journal.md
"""

import argparse
import gc
import importlib.util
import os
import sys
import traceback
from pathlib import Path

from kit.say import Trouble, requirements, warn

with requirements():
    from kit.amqp import INTERRUPTED, OK, UNEXPECTED, VERSION, Parser
    from kit.timeline_file import ENDINGS, write_picture
    from kit.timeline_lines import same
    from kit.timeline_run import Run, read_run

EXAMPLES = """examples:
  labs/timeline.py worker-1.jsonl worker-2.jsonl producer.jsonl    # one run, three files
  labs/timeline.py run.jsonl | less                                # without colour
  labs/timeline.py --compare in-turn.jsonl fair.jsonl -o both.png  # two runs on one axis

exit codes: 0 drawn, 1 unexpected (a file that cannot be read or written), 2 usage"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = Parser(
        prog="timeline.py",
        description=__doc__.splitlines()[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="a journal")
    add("-o", "--output", type=Path, metavar="FILE",
        help="ends in .svg, .png or .html (default: drawn in the terminal)")  # fmt: skip
    add("--compare", action="store_true", help="each file is a run of its own: on one time axis")
    add("-v", "--verbose", action="store_true", help="show tracebacks")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    options = parser.parse_args(arguments)
    if options.compare and len(options.files) < 2:
        parser.error("--compare needs two files or more")
    if options.output and options.output.suffix.lower() not in ENDINGS:
        parser.error(f"-o {str(options.output)!r} must end in {', '.join(ENDINGS)}")
    if options.output and any(same(options.output, path) for path in options.files):
        parser.error(f"-o {str(options.output)!r} is one of the journals")
    return options


def read_runs(options: argparse.Namespace) -> list[Run]:
    """Read the journals; tell what is odd about them. Raises Trouble."""
    gc.disable()  # nothing read is let go before the end: a third of the time in a long journal
    groups = [[path] for path in options.files] if options.compare else [options.files]
    runs = [read_run(paths) for paths in groups]
    for note in (note for run in runs for note in run.notes):
        warn(note)
    return runs


def show_in_terminal(runs: list[Run]) -> None:
    """Draw the runs on standard output. Raises Trouble."""
    if not importlib.util.find_spec("rich"):
        raise Trouble("a picture in the terminal needs rich", "pip install rich", code=1)
    from kit.timeline_terminal import show

    show(runs)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; what a person can cause is one line and what to try."""
    options = parse(arguments)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")
    try:
        runs = read_runs(options)
        if options.output:
            write_picture(runs, options.output)
            print(f" [*] Drawn: {options.output}")
        else:
            show_in_terminal(runs)
        sys.stdout.flush()
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        told = isinstance(error, Trouble)
        what = str(error) if told else f"{type(error).__name__}: {error}"
        print(f"timeline.py: error: {what}", file=sys.stderr)
        if hint := error.hint if told else "look closer: -v":
            print(f"  try: {hint}", file=sys.stderr)
        if options.verbose:
            traceback.print_exc()
        return error.code if told else UNEXPECTED


if __name__ == "__main__":
    sys.exit(main())
