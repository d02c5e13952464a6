#!/usr/bin/env python3
"""Measure how fast the kit's scripts are, in the same run as programs that could replace them.

    labs/measure.py --quick                           # a first impression, in 20 seconds
    labs/measure.py --only sending,working-1          # some of the measurements
    labs/measure.py --full --peers -o results.svg     # everything, and a plot; half an hour

In each round all contenders do the same work, one after the other; compare the ratios of their
medians over all rounds. Nothing else should run on the machine meanwhile.
"""

import argparse
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kit.cli import (
    INTERRUPTED,
    OK,
    UNEXPECTED,
    USAGE,
    Trouble,
    requirements,
    run,
    say,
    stop_as_with_ctrl_c,
)

with requirements():
    import pika
    from speed import plot, report
    from speed.bench import Bench
    from speed.contenders import Contender, is_installed
    from speed.machine import Noise, describe
    from speed.measurements import FULL, NORMAL, QUICK, Sizes, measurements
    from speed.program import LINUX, Failed
    from speed.result import Measurement, Result

    from kit.amqp import BrokerError, Parser, explain, number
    from kit.broker.lab import broker_url

EPILOG = """\
  labs/measure.py --list                            # what can be measured
  labs/measure.py --quick -o a.md -o a.svg -o a.json
  make speed                                        # before a release: are the targets reached?
  pip install -r labs/13-how-fast/requirements-peers.txt && labs/measure.py --peers

exit codes: 0 measured, 1 something could not be measured, 2 usage, 3 broker unreachable,
  4 broker refused, 130 stopped by Ctrl-C (the results so far are printed)"""
WRITERS = {".json": report.as_json, ".md": report.as_markdown, ".svg": plot.as_svg}


def parse() -> argparse.Namespace:
    parser = Parser(
        description=__doc__.splitlines()[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", metavar="NAME,...", help="measure these, or all that begin with NAME; see --list")
    add("--list", action="store_true", help="list the measurements and exit")
    add("--peers", action="store_true", help="add Celery, dramatiq, aio-pika, kombu, amqp-tools")
    size = parser.add_mutually_exclusive_group().add_argument
    size("--quick", action="store_true", help="small numbers, one round: a first impression")
    size("--full", action="store_true", help="up to 1,000,000 messages and 32 workers")
    add("--rounds", type=number(int, 1), metavar="N", help="(default: 5, with --quick 1)")
    patience = "wait for other programs to be quiet (default: 10, with --quick 0)"
    add("--patience", type=number(float, 0), metavar="SECONDS", help=patience)
    output = "also write the results to FILE.json, .md or .svg; may be repeated"
    add("-o", "--output", action="append", default=[], type=Path, metavar="FILE", help=output)
    add("--url", help="the broker (default: AMQP_URL, or that of labs/broker.py)")
    options = parser.parse_args()
    for file in options.output:
        if file.suffix not in WRITERS:
            parser.error(f"-o {file}: the name must end in {', '.join(WRITERS)}")
        if not file.absolute().parent.is_dir():
            parser.error(f"-o {file}: there is no such folder")
    options.sizes = QUICK if options.quick else FULL if options.full else NORMAL
    if options.rounds:
        options.sizes = replace(options.sizes, rounds=options.rounds)
    if options.patience is None:
        options.patience = 0 if options.quick else 10
    return options


def choose(options: argparse.Namespace) -> list[Measurement]:
    """Return the measurements that --only names: whole names, else beginnings. Raises Trouble."""
    every = {one.name: one for one in measurements(options.sizes)}
    chosen = set()
    for name in filter(None, map(str.strip, (options.only or "").split(","))):
        matches = [name] if name in every else [one for one in every if one.startswith(name)]
        if not matches:
            what = f"there is nothing called {name!r} to measure"
            raise Trouble(what, "measure.py --list", USAGE)
        chosen.update(matches)
    return [one for name, one in every.items() if name in chosen or not chosen]


def show(text: str) -> None:
    """Print lines; wrap and indent those that are too long for the terminal."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        print(textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False))
    sys.stdout.flush()


def progress(text: str) -> None:
    """Show the current state in a line of the terminal that the next call overwrites."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text and f' [*] {text}'}", end="", file=sys.stderr, flush=True)


def take_turns(everybody: list[Contender], rounds: int) -> Iterator[tuple[int, Contender]]:
    """Yield each round's number with each contender; each round begins with another one."""
    for turn in range(rounds):
        first = turn % len(everybody)
        yield from ((turn + 1, one) for one in everybody[first:] + everybody[:first])


def prepare(options: argparse.Namespace) -> list[Measurement]:
    """Return the chosen measurements with the installed contenders; warn about the others."""
    if not LINUX:
        say("!", "CPU time and memory are only measured on Linux; elsewhere they are shown as -")
    chosen = choose(options)
    everybody = [contender for measurement in chosen for contender in measurement.contenders]
    needs = {one.needs for one in everybody if options.peers or one.kind != "peer"}
    installed = set(filter(is_installed, needs))
    if missing := sorted(needs - installed):
        say("!", f"Not installed, so not measured: {', '.join(missing)}")
    return [
        one._replace(contenders=[who for who in one.contenders if who.needs in installed])
        for one in chosen
    ]


def measure(bench: Bench, result: Result, noise: Noise, sizes: Sizes) -> None:
    """Take all values of one measurement; leave a contender out once it has failed."""
    measurement = result.measurement
    rounds = min(sizes.rounds, measurement.most_rounds)
    for turn, contender in take_turns(measurement.contenders, rounds):
        name = contender.name
        if name in result.failed:
            continue
        now = f"{measurement.name}, round {turn} of {rounds}: {name}"
        noise.wait_for_quiet(lambda now=now: progress(f"{now} (waiting for other programs)"))
        progress(now)
        try:
            values = measurement.take(bench, contender, sizes)
            result.values.setdefault(name, []).append(values)
        except (Failed, TimeoutError, pika.exceptions.ChannelClosedByBroker) as error:
            result.failed[name] = str(error)
            progress("")
            say("!", f"{measurement.name}: {name}: {error}")
            bench.broker.connect().close()  # raises BrokerError if the broker is lost


def measure_all(options: argparse.Namespace) -> int:
    """Measure, print, write; return the exit code."""
    began, results, code = time.monotonic(), [], OK
    bench, noise = Bench(options.url), Noise(options.patience)
    machine = describe(options.url, options.peers)
    for key, value in machine.items():
        show(f"{key:<12} {value}")
    try:
        for measurement in prepare(options):
            result = Result(measurement)
            try:
                measure(bench, result, noise, options.sizes)
            finally:
                progress("")
                if result.values or result.failed:
                    results.append(result)
                    show(report.as_text(result))
            code = UNEXPECTED if result.failed else code
    except KeyboardInterrupt:
        say("!", "Stopped by Ctrl-C; these are the results so far")
        code = INTERRUPTED
    except (BrokerError, pika.exceptions.AMQPError) as error:
        problem = explain(error)
        say("!", f"The broker is lost: {problem}; these are the results so far")
        code = problem.code
    machine["Noise"] = noise.summary()
    show(f"{report.targets_as_text(results)}\nNoise: {machine['Noise']}")
    command = shlex.join(["labs/measure.py", *sys.argv[1:]])
    for file in options.output:
        file.write_text(WRITERS[file.suffix](machine, command, results), encoding="utf-8")
    if options.quick:
        say("*", "This is only a first impression: without --quick the figures are better")
    names = "".join(f", written to {file}" for file in options.output)
    say("*", f"Measured in {time.monotonic() - began:.0f} s{names}")
    return code


def main(options: argparse.Namespace) -> int:
    stop_as_with_ctrl_c()
    chosen = choose(options)  # reports a wrong name before anything starts
    if not options.list:
        options.url = options.url or broker_url()
        return measure_all(options)
    for one in chosen:
        show(f"{one.name:<18} {one.title}")
    return OK


if __name__ == "__main__":
    run(main, parse())
