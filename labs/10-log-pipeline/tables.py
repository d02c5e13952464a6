#!/usr/bin/env python3
"""Print the tables from the workers' files, counting each record once.

./tables.py rows
./tables.py rows --game 3
./tables.py rows --json
"""

import argparse
import json
from pathlib import Path

try:
    from kit.amqp import EXIT_CODES, number, reason
    from kit.cli import OK, UNEXPECTED, Trouble, plain_parser, run, say
    from logpipe.reader import Tables, read_tables
    from logpipe.transforms import OTHER, REJECTS
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"tables.py: error: {missing}\n  try: {hint}") from None


def parse() -> argparse.Namespace:
    parser = plain_parser(__doc__, EXIT_CODES)
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="where worker.py writes: its --output")
    add("--game", type=number(int, 1), metavar="N", help="only this game of each run")
    add("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def print_table(title: str, rows: list[dict]) -> None:
    """Print one table, numbers aligned to the right."""
    if not rows:
        print(f"{title}: no rows\n", flush=True)
        return
    lines = [[*rows[0]], *([*map(str, row.values())] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rights = [isinstance(value, int) for value in rows[0].values()]
    print(title)
    for line in lines:
        cells = zip(line, widths, rights, strict=True)
        text = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells)
        print(" ", "  ".join(text).rstrip())
    print(flush=True)


def as_json(tables: Tables, of_game) -> str:
    document = {
        "participants": [*filter(of_game, tables.participants())],
        "podium": [*filter(of_game, tables.podium())],
        "records": tables.records,
        "twice": tables.twice,
        OTHER: tables.rows[OTHER],
        REJECTS: tables.rows[REJECTS],
    }
    return json.dumps(document, indent=1)


def main(options: argparse.Namespace) -> int:
    try:
        tables = read_tables(options.folder)
    except OSError as error:
        what = f"cannot read {error.filename or options.folder} ({reason(error)})"
        raise Trouble(what, "the --output of worker.py", UNEXPECTED) from None
    except ValueError as error:
        raise Trouble(str(error), "a folder with worker.py's files only", UNEXPECTED) from None

    def of_game(row: dict) -> bool:
        return options.game in (None, row["game"])

    if not tables.records:
        say("!", f"There is no file of rows in {options.folder}")
    if options.json:
        print(as_json(tables, of_game), flush=True)
        return OK
    print_table("participants", [*filter(of_game, tables.participants())])
    print_table("podium", [*filter(of_game, tables.podium())])
    say("*", f"{tables.records} records, and {tables.twice} that came twice")
    for table in (OTHER, REJECTS):
        if rows := tables.rows[table]:
            say("!", f"of these {len(rows)} in table {table!r}: see --json")
    return OK


if __name__ == "__main__":
    run(main, parse())
