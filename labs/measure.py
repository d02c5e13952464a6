#!/usr/bin/env python3
"""How fast are the kit's scripts, beside what else one could use? All in one run, in turn.

    labs/measure.py --quick                           # a look, in 20 seconds
    labs/measure.py --only sending,working-1          # some of it
    labs/measure.py --full --peers -o results.svg     # everything, and a plot; half an hour

Each contender does the same work in each round, one after the other; what counts are the medians
of all rounds, and their ratios. Nothing else should run meanwhile.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from kit.cli import OK, Trouble, requirements, run, say, stop_as_with_ctrl_c

with requirements():
    import pika
    from speed import growth, life, machine, report, send, sizes, ways, work
    from speed.bench import Bench
    from speed.model import Contender, Measurement, Result, Values
    from speed.plot import as_svg
    from speed.program import LINUX, Failed
    from speed.quiet import Quiet

    from kit.amqp import Broker, BrokerError, Parser, explain, number
    from kit.broker.lab import broker_url

EPILOG = """\
  labs/measure.py --list                            # what there is to measure
  labs/measure.py --quick -o a.md -o a.svg -o a.json
  pip install -r labs/13-how-fast/requirements-peers.txt && labs/measure.py --peers

exit codes: 0 measured, 1 something could not be measured, 2 usage, 3 broker unreachable,
  4 broker refused, 130 stopped by Ctrl-C (what there is by then is printed)"""
FAMILIES = (
    send.sending, work.reading, work.working, send.calling, life.living, life.redelivering,
    life.sharing, growth.growing,
)  # fmt: skip
WRITERS: dict[str, Callable[[dict, str, list[Result]], str]] = {
    ".json": report.as_json,
    ".md": report.as_markdown,
    ".svg": as_svg,
}


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = Parser(
        description=__doc__.splitlines()[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", metavar="NAME,...", help="these, or all whose names begin so; see --list")
    add("--list", action="store_true", help="say what there is to measure, and end")
    add("--peers", action="store_true", help="Celery, dramatiq, aio-pika, kombu, amqp-tools too")
    how = parser.add_mutually_exclusive_group().add_argument
    how("--quick", action="store_true", help="small numbers, one round: a look, no more")
    how("--full", action="store_true", help="up to 1,000,000 messages and 32 workers")
    add("--rounds", type=number(int, 1), metavar="N", help="(default: 5, with --quick 1)")
    add("--patience", type=number(float, 0), metavar="SECONDS",
        help="wait for other programs to be quiet (default: 10, with --quick 0)")  # fmt: skip
    add("-o", "--output", action="append", default=[], type=Path, metavar="FILE",
        help="write it to FILE.json, .md or .svg as well; may be repeated")  # fmt: skip
    add("--url", help="the broker (default: AMQP_URL, or that of labs/broker.py)")
    options = parser.parse_args()
    for file in options.output:
        if file.suffix not in WRITERS:
            parser.error(f"-o {file}: the name must end in {', '.join(WRITERS)}")
        if not file.absolute().parent.is_dir():
            parser.error(f"-o {file}: there is no such folder")
    try:
        Broker(url=options.url)
    except BrokerError as error:
        parser.error(str(error))
    options.url = options.url or broker_url()
    if options.patience is None:
        options.patience = 0 if options.quick else 10
    options.sizes = sizes.QUICK if options.quick else sizes.FULL if options.full else sizes.NORMAL
    if options.rounds:
        options.sizes = replace(options.sizes, rounds=options.rounds)
    return options


def chosen(options: argparse.Namespace, bench: Bench | None) -> list[Measurement]:
    """Return the measurements that are wanted. Raises Trouble if a name is wrong."""
    every = [one for make in FAMILIES for one in make(bench, options.sizes, options.peers)]
    if not options.only:
        return every
    wanted = [name.strip() for name in options.only.split(",") if name.strip()]
    for name in wanted:
        if not any(one.name.startswith(name) for one in every):
            what = f"there is nothing called {name!r} to measure"
            raise Trouble(what, "measure.py --list", code=2)
    names = {one.name for one in every}
    return [
        one
        for one in every
        if any(one.name == w or (w not in names and one.name.startswith(w)) for w in wanted)
    ]


def take_turns(measurement: Measurement, rounds: int) -> Iterator[tuple[int, Contender]]:
    """Yield who is next: all in each round, beginning with another one each time."""
    every = measurement.contenders
    for turn in range(rounds):
        first = turn % len(every)
        for contender in every[first:] + every[:first]:
            yield turn + 1, contender


def measure(measurement: Measurement, rounds: int, result: Result, quiet: Quiet) -> None:
    """Take all values of one measurement; a contender that fails twice is left out."""
    tried: dict[str, int] = {}
    rounds = min(rounds, measurement.most_rounds)
    for turn, contender in take_turns(measurement, rounds):
        name = contender.name
        if tried.get(name, 0) >= 2:
            continue
        now = f"{measurement.name}, round {turn} of {rounds}: {name}"
        try:
            values = take_quietly(contender, quiet, now)
            result.values.setdefault(name, []).append(values)
        except Failed as error:
            tried[name] = tried.get(name, 0) + 1
            result.failed[name] = str(error)
            progress("")
            say("!", f"{measurement.name}: {name}: {error}")


def take_quietly(contender: Contender, quiet: Quiet, now: str) -> Values:
    """Take the values of one contender; once more if it was disturbed, and then as they are."""
    for last in (False, True):
        quiet.wait(lambda: progress(f"{now} (waiting until others are quiet)"))
        progress(now)
        quiet.begin()
        values = contender.take()
        disturbed = quiet.was_disturbed()
        if last or not disturbed:
            break
    quiet.note(disturbed)
    return values


def progress(text: str) -> None:
    """Show what is going on, in a line of its own that the next one overwrites."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text and f' [*] {text}'}", end="", file=sys.stderr, flush=True)


def has_quorum(bench: Bench) -> bool:
    """Tell whether the broker knows quorum queues."""
    try:
        with bench.queue("quorum"):
            return True
    except pika.exceptions.AMQPError:
        return False


def prepare(options: argparse.Namespace, bench: Bench) -> list[Measurement]:
    """Return what can be measured here; say what cannot."""
    wanted = chosen(options, bench)
    if not LINUX:
        say("!", "CPU time and memory are only measured on Linux; elsewhere they are shown as -")
    if options.peers:
        every = {one.needs for one in (*ways.PEER_SENDERS, *ways.PEER_WORKERS)}
        if missing := sorted(what for what in every if not ways.has(what)):
            say("!", f"Not installed, so not measured: {', '.join(missing)}")
    if any("quorum" in one.name for one in wanted) and not has_quorum(bench):
        say("!", "The broker refuses quorum queues: sending-quorum is left out")
        wanted = [one for one in wanted if "quorum" not in one.name]
    return wanted


def run_all(options: argparse.Namespace) -> int:
    """Measure, print, write; return the exit code."""
    began, results, code = time.monotonic(), [], 0
    how = shlex.join(["labs/measure.py", *sys.argv[1:]])
    bench, quiet = Bench(options.url), Quiet(options.url, options.patience)
    try:
        found = machine.describe(bench, options.peers)
        for key, value in found.items():
            print(f"{key:<12} {value}")
        try:
            for measurement in prepare(options, bench):
                results.append(Result(measurement))
                measure(measurement, options.sizes.rounds, results[-1], quiet)
                progress("")
                print(report.as_text(results[-1]), flush=True)
                if results[-1].failed:
                    code = 1
        except (KeyboardInterrupt, BrokerError, pika.exceptions.AMQPError) as stop:
            progress("")
            if results and not results[-1].values:
                results.pop()
            elif results:
                print(report.as_text(results[-1]))
            why, code = "Stopped by Ctrl-C", 130
            if not isinstance(stop, KeyboardInterrupt):
                problem = stop if isinstance(stop, BrokerError) else explain(stop)
                why, code = f"The broker is lost: {problem}", problem.code
            say("!", f"{why}; this is what there is by then")
    finally:
        bench.close()
    found["Noise"] = quiet.summary()
    if text := report.targets_as_text(results):
        print(text)
    for file in options.output:
        file.write_text(WRITERS[file.suffix](found, how, results), encoding="utf-8")
    names = "".join(f", written to {file}" for file in options.output)
    print(f"\nNoise: {found['Noise']}")
    if options.quick:
        say("*", "This was a look, no more: without --quick it takes longer and says more")
    say("*", f"Measured in {time.monotonic() - began:.0f} s{names}")
    return code


def main(options: argparse.Namespace) -> int:
    """Do what is asked; return the exit code."""
    stop_as_with_ctrl_c()
    every = chosen(options, None)  # a wrong name is said before anything is tried
    if not options.list:
        return run_all(options)
    for one in every:
        print(f"{one.name:<18} {one.title}")
    return OK


if __name__ == "__main__":
    run(main, parse())
