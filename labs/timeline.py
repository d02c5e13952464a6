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
from pathlib import Path

from kit.cli import OK, Trouble, requirements, run, say

with requirements():
    from kit.amqp import VERSION, Parser
    from kit.timeline.file import ENDINGS, write_picture
    from kit.timeline.lines import same
    from kit.timeline.run import Run, read_run

EXAMPLES = """examples:
  labs/timeline.py worker-1.jsonl worker-2.jsonl producer.jsonl    # one run, three files
  labs/timeline.py run.jsonl | less                                # without colour
  labs/timeline.py --compare in-turn.jsonl fair.jsonl -o both.png  # two runs on one axis

exit codes: 0 drawn, 1 unexpected (a file that cannot be read or written), 2 usage"""


def parse() -> argparse.Namespace:
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
    options = parser.parse_args()
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
    for note in (note for one in runs for note in one.notes):
        say("!", note)
    return runs


def show_in_terminal(runs: list[Run]) -> None:
    """Draw the runs on standard output. Raises Trouble."""
    if not importlib.util.find_spec("rich"):
        raise Trouble("a picture in the terminal needs rich", "pip install rich", code=1)
    from kit.timeline.terminal import show

    show(runs)


def main(options: argparse.Namespace) -> int:
    """Draw the journals; return the exit code."""
    runs = read_runs(options)
    if options.output:
        write_picture(runs, options.output)
        say("*", f"Drawn: {options.output}")
    else:
        show_in_terminal(runs)
    return OK


if __name__ == "__main__":
    run(main, parse())
