#!/usr/bin/env python3
"""Propagate the same changes by polling and by messages, and measure the costs.

    ./compare.py

One monolith and several attendees services run as separate processes, with data and queues of their
own. At the end the monolith stops just after a change, and comes back.
"""

import argparse
import random
import re
import statistics
import tempfile
import time
import uuid
from pathlib import Path

try:
    import httpx

    from conference.names import Names
    from kit.amqp import Broker, number
    from kit.cli import OK, lab_parser, run_lab, say, stop_as_with_ctrl_c, wait_until
    from kit.cli.program import Script
    from kit.web.programs import Programs
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"compare.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """what the columns say:
  requests       how often the service asked the monolith
  delay in ms    from requesting a change until the service has it
  last change    made just before the monolith stops: does the service know it meanwhile?
                 And how long after the change did it know?"""
HERE = Path(__file__).resolve().parent
EMAIL = "ada@example.com"
EVERY = number(float, 0.05, 10)  # seconds
PAUSE = (0.05, 0.35)  # seconds from one change to the next: at least, at most
AWAY = 1  # seconds without the monolith
DEADLINE = 30  # seconds for a step that takes one
TITLES = [
    ["", "requests", "mean delay", "worst delay", "last change", "known"],
    ["", "", "ms", "ms", "meanwhile", "after ms"],
]


class Contender:
    """An attendees service that learns of changes by polling or by messages."""

    def __init__(self, title: str, *arguments: object) -> None:
        self.title, self.arguments = title, arguments
        self.service: Script | None = None
        self.meanwhile = ""  # whether it knew the last change while the monolith was away

    def knows_since(self, version: int) -> float | None:
        """Return when it learned of a version or a later one, None if it has not."""
        for line in list(self.service.lines):
            found = re.search(r"version (\d+): .* late", line.text)
            if found and int(found[1]) >= version:
                return line.time
        return None

    def row(self, made: dict[int, float]) -> list[str]:
        """Return the row of the table; `made` has the time of the request for each version."""
        delays = [1000 * (self.knows_since(version) - asked) for version, asked in made.items()]
        requests = re.search(r"requests to the monolith: (\d+)", self.service.text())[1]
        *delays, last = delays
        figures = [statistics.mean(delays), max(delays)]
        cells = [f"{figure:.0f}" for figure in figures]
        return [self.title, requests, *cells, self.meanwhile, f"{last:.0f}"]


class Comparison:
    """All contenders at the same time, with the same changes."""

    def __init__(self, folder: Path, prefix: str, programs: Programs, polls: list[float]) -> None:
        self.folder, self.common, self.programs = folder, ["--prefix", prefix], programs
        self.contenders = [
            Contender(f"polling, every {every:g} s", "--via", "polling", "--every", every)
            for every in polls
        ]
        self.contenders.append(Contender("messages"))
        self.made: dict[int, float] = {}  # version -> when it was requested
        self.random = random.Random(11)  # the same pauses in every run

    def start(self, name: str, *arguments: object, port: int = 0) -> Script:
        """Start a service; the monolith has the same data each time."""
        number = len(self.programs.scripts)
        folder = self.folder / ("monolith" if name == "monolith.py" else str(number))
        own = ["--http-port", port, "--data", folder, *self.common]
        return self.programs.start(name, *own, *arguments)

    def run(self, changes: int) -> None:
        """Run the comparison. Raises AssertionError, TimeoutError, OSError or httpx.HTTPError."""
        monolith = self.start("monolith.py")
        address = address_in(monolith)
        with httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE) as client:
            client.post("/accounts", json={"email": EMAIL, "name": "Ada"}).raise_for_status()
            for one in self.contenders:
                one.service = self.start("attendees.py", "--monolith", address, *one.arguments)
            for one in self.contenders:
                one.service.wait_for("Copied all accounts", within=DEADLINE)
            say("*", f"{changes} changes")
            for _ in range(changes):
                time.sleep(self.random.uniform(*PAUSE))
                self.change(client)
            self.wait_until_all_know()
            say("*", "One more, and the monolith goes away")
            self.change(client)
        monolith.terminate()
        monolith.wait(DEADLINE)
        time.sleep(AWAY)
        for one in self.contenders:
            one.meanwhile = "known" if one.knows_since(max(self.made)) else "not known"
        say("*", "It is back")
        address_in(self.start("monolith.py", port=httpx.URL(address).port))
        self.wait_until_all_know()
        for one in self.contenders:
            one.service.terminate()
            one.service.wait(DEADLINE)

    def change(self, client: httpx.Client) -> None:
        asked = time.monotonic()
        answer = client.patch(f"/accounts/{EMAIL}", json={"name": f"Ada {len(self.made) + 2}"})
        self.made[answer.raise_for_status().json()["version"]] = asked

    def wait_until_all_know(self) -> None:
        newest = max(self.made)
        wait_until(lambda: all(one.knows_since(newest) for one in self.contenders), DEADLINE)

    def print(self) -> None:
        rows = [*TITLES, *(one.row(self.made) for one in self.contenders)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for title, *cells in rows:
            figures = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            print(title.ljust(widths[0]), *figures, sep="   ")


def address_in(service: Script) -> str:
    """Wait until a service answers; return its address."""
    return re.search(r"http://[\w.:]+\d", service.wait_for("Answering", within=DEADLINE).text)[0]


def main(options: argparse.Namespace, broker: Broker) -> int:
    stop_as_with_ctrl_c()
    broker.connect().close()
    prefix = f"compare-{uuid.uuid4().hex[:8]}."
    delete = Names(prefix).delete
    programs = Programs("the comparison", HERE, broker, httpx.HTTPError, delete=delete)
    with tempfile.TemporaryDirectory(prefix="conference-") as folder:
        comparison = Comparison(Path(folder), prefix, programs, options.every)
        say("*", f"A monolith, and {len(comparison.contenders)} attendees services: starting them")
        with programs:
            comparison.run(options.changes)
    comparison.print()
    return OK


def options() -> argparse.Namespace:
    parser = lab_parser(__doc__, EXAMPLES, "compare.py")
    add = parser.add_argument
    changes_help = "how many (default: %(default)s)"
    add("--changes", type=number(int, 1, 1000), default=10, metavar="N", help=changes_help)
    every_help = "pauses of the services that poll (default: 0.2 1)"
    add("--every", type=EVERY, nargs="+", default=[0.2, 1], metavar="SECONDS", help=every_help)
    return parser.parse_args()


if __name__ == "__main__":
    run_lab(main, options())
