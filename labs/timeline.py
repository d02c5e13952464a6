#!/usr/bin/env python3
"""Draw which worker did which task when, from the journals that the scripts write with --journal.

    labs/timeline.py run.jsonl                             # in the terminal
    labs/timeline.py run.jsonl -o timeline.svg             # or .png, or a page: .html
    labs/timeline.py --compare in-turn.jsonl fair.jsonl    # one above the other

Each worker has a lane and each task a bar; below are the queue's depth and the figures.
Several files make one run, unless they are compared. The journal's format: labs/journal.md
"""

import argparse
from pathlib import Path

from kit.cli import OK, requirements, run, say

with requirements():
    from kit.cli import plain_parser
    from kit.timeline import terminal
    from kit.timeline.run import Run
    from kit.timeline.scene import Scene

ENDINGS = (".svg", ".png", ".html")
EXAMPLES = """examples:
  labs/timeline.py worker-1.jsonl worker-2.jsonl producer.jsonl    # one run, three files
  labs/timeline.py run.jsonl -o run.svg -o run.png --title "Lab 5" # two files

exit codes: 0 drawn, 1 unexpected (a file that cannot be read or written), 2 usage"""


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = plain_parser(__doc__, EXAMPLES)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a journal")
    parser.add_argument("-o", "--output", action="append", default=[], type=Path, metavar="FILE",
        help="ends in .svg, .png or .html; may be repeated (default: the terminal)")  # fmt: skip
    parser.add_argument("--compare", action="store_true", help="each file is a run of its own")
    parser.add_argument("--title", default="", metavar="TEXT", help="write this above the picture")
    options = parser.parse_args()
    if options.compare and len(options.files) < 2:
        parser.error("--compare needs two files or more")
    journals = {path.resolve() for path in options.files}
    for output in options.output:
        if output.suffix.lower() not in ENDINGS:
            parser.error(f"-o {str(output)!r} must end in {', '.join(ENDINGS)}")
        if output.resolve() in journals:
            parser.error(f"-o {str(output)!r} is one of the journals")
    return options


def main(options: argparse.Namespace) -> int:
    """Draw the journals; return the exit code."""
    groups = [[path] for path in options.files] if options.compare else [options.files]
    runs = [Run(paths) for paths in groups]
    for warning in (warning for one in runs for warning in one.warnings):
        say("!", warning)
    scene = Scene(runs, options.title)
    if not options.output:
        terminal.show(scene)
        return OK
    with requirements():
        from kit.timeline import picture  # imported late: matplotlib takes a second
    for output in options.output:
        picture.write_picture(scene, output)
        say("*", f"Drawn: {output}")
    return OK


if __name__ == "__main__":
    run(main, parse())
