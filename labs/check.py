#!/usr/bin/env python3
"""Check your exercises: run them against a real broker, and say what is wrong in a sentence.

labs/check.py             # the labs, and what you have done
labs/check.py 3           # check labs/03-acknowledgements/exercise.py; the first time, make it
labs/check.py 3 --watch   # and again whenever you save it

The broker is the one of AMQP_URL, or the one on this machine (labs/broker.py up).
"""

import argparse
import ast
import contextlib
import hashlib
import json
import os
import re
import shutil
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kit.cli import UNEXPECTED, Trouble, how_to_get_packages, report, run, say, stop_as_with_ctrl_c

LABS = Path(__file__).resolve().parent
PROGRESS = LABS.parent / ".progress.json"  # not for git: it is one student's

EPILOG = """\
  labs/check.py 3 --hint              # the hint for the first task that is not done
  labs/check.py 3 --reset             # the exercise as it was; yours is kept as exercise.py.bak
  labs/check.py 3 --json              # for a teacher's programs
  labs/check.py 3 --file ada.py       # another file than labs/03-.../exercise.py

exit codes: 0 all passed, 1 some did not, 2 usage, 3 no broker, 130 stopped by Ctrl-C
"""


@dataclass
class Check:
    """What came of one check."""

    task: int
    asks: str
    outcome: str  # passed, failed, skipped, no broker, broken
    says: str
    read: str


@dataclass
class Result:
    """What came of the checks of an exercise; `problem` is what kept them from being made."""

    lab: "Lab"
    checks: list[Check] = field(default_factory=list)
    problem: str = ""
    no_broker: bool = False

    @property
    def done(self) -> dict[int, bool]:
        """Tell for each task that was checked whether it is done."""
        done: dict[int, bool] = {}
        for check in self.checks:
            done[check.task] = done.get(check.task, True) and check.outcome in ("passed", "skipped")
        return done

    @property
    def passed(self) -> bool:
        """Tell whether everything is right."""
        return not self.problem and bool(self.done) and all(self.done.values())

    @property
    def code(self) -> int:
        """Return the exit code."""
        return 3 if self.no_broker else 0 if self.passed else 1

    def as_json(self) -> str:
        """Return all of it for a program to read."""
        document = {
            "lab": self.lab.number,
            "name": self.lab.name,
            "passed": self.passed,
            "problem": self.problem or None,
            "tasks": [{"task": task, "done": done} for task, done in self.done.items()],
            "checks": [vars(check) for check in self.checks],
        }
        return json.dumps(document, indent=1, ensure_ascii=False)


class Lab:
    """A lab with an exercise: where its files are, and what is remembered about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        number, _, self.name = folder.name.partition("-")
        self.number = int(number)
        self.exercise = folder / "exercise.py"
        self.starter = folder / "starter.py"
        self.tasks = sorted(set(map(int, re.findall(r"TODO\((\d+)\)", self.starter.read_text()))))

    def begin(self) -> bool:
        """Make the student's exercise.py from the starter unless it is there; return if so."""
        try:
            with self.exercise.open("xb") as file:
                file.write(self.starter.read_bytes())
        except FileExistsError:
            return False
        except OSError as error:
            what = f"{shown(self.exercise)} cannot be made: {error.strerror}"
            raise Trouble(what, "a folder of your own: git clone, or cp -r", UNEXPECTED) from error
        return True

    def remembered(self) -> dict:
        """Return what was found when the exercise was last checked: tasks, and of which text."""
        return read_progress().get(str(self.number), {"tasks": {}, "hash": ""})

    def done(self) -> int:
        """Return how many tasks are done."""
        return sum(self.remembered()["tasks"].values())

    def remember(self, done: dict[int, bool]) -> None:
        """Write down which tasks are done."""
        progress = read_progress()
        tasks = self.remembered()["tasks"] | {str(task): value for task, value in done.items()}
        progress[str(self.number)] = {"tasks": tasks, "hash": fingerprint(self.exercise)}
        new = PROGRESS.with_name(PROGRESS.name + ".new")
        new.write_text(json.dumps(progress, indent=1) + "\n")
        new.replace(PROGRESS)

    def forget(self) -> None:
        """Remember that nothing is done."""
        self.remember(dict.fromkeys(self.tasks, False))

    def hints(self) -> dict[int, str]:
        """Return the hints of the worksheet by their tasks."""
        with contextlib.suppress(OSError):
            text = (self.folder / "README.md").read_text(encoding="utf-8")
            folded = r"<details>\s*<summary>Hint (\d+)</summary>(.*?)</details>"
            found = re.findall(folded, text, re.DOTALL)
            return {int(number): hint.strip() for number, hint in found}
        return {}


def labs() -> dict[int, Lab]:
    """Return the labs that have an exercise, by their numbers."""
    folders = sorted(path.parent for path in LABS.glob("[0-9][0-9]-*/test_exercise.py"))
    return {lab.number: lab for lab in map(Lab, folders)}


def read_progress() -> dict:
    """Return what is remembered of all labs; a file that cannot be read is no file."""
    try:
        progress = json.loads(PROGRESS.read_text())
        return progress if isinstance(progress, dict) else {}
    except (OSError, ValueError):
        return {}


def fingerprint(path: Path) -> str:
    """Return what changes when a file does, "" if there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def shown(path: Path) -> str:
    """Return a path as the student would type it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


# ---- checking


class Collector:
    """The pytest plugin that takes the place of pytest's own printing."""

    def __init__(self, task: int | None, on_check: Callable[[Check], None]) -> None:
        self.task, self.on_check = task, on_check
        self.checks: list[Check] = []
        self.trouble = ""

    def pytest_collection_modifyitems(self, config, items: list) -> None:
        """Leave only the checks of the wanted task."""
        items[:] = [item for item in items if self.task in (None, task_of(item))]

    def pytest_collectreport(self, report) -> None:
        """Keep why the checks could not be read."""
        if report.failed:
            self.trouble = str(report.longrepr)

    def pytest_runtest_logreport(self, report) -> None:
        """Keep what came of a check, once: its end, or the start that failed."""
        if report.when == "call" or report.outcome != "passed":
            if report.when == "teardown":
                return
            check = Check(report.task, report.asks, report.kind, report.says, report.read)
            self.checks.append(check)
            self.on_check(check)


def task_of(item) -> int:
    """Return the number of the task that a check is for."""
    return item.get_closest_marker("task").args[0]


def find_broker() -> None:
    """See whether there is a broker to check with. Raises Trouble."""
    from kit.amqp import Broker, BrokerError
    from kit.exercise.plugin import broker_url

    export = "export AMQP_URL=amqp://USER:PASSWORD@HOST/VHOST"
    try:
        # Without a URL it is the one of AMQP_URL, which is then what an error names.
        url = None if os.environ.get("AMQP_URL") else broker_url()
        Broker(url=url, retry_for=0).connect().close()
    except BrokerError as error:
        here = re.search(r" (localhost|127\.[\d.]+):", str(error))
        unreachable = "labs/broker.py up" if here else error.hint
        raise Trouble(str(error), unreachable if error.code == 3 else export) from error


def check(lab: Lab, path: Path, task: int | None, on_check: Callable[[Check], None]) -> Result:
    """Run the checks of an exercise on a file."""
    result = Result(lab)
    try:
        ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        result.problem = f"{shown(path)} cannot be read: {error.strerror}."
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"Line {line} of {shown(path)}" if line else shown(path)
        result.problem = f"{where} is not Python yet: {getattr(error, 'msg', error)}."
    if result.problem:
        return result
    import pytest

    os.environ["LAB_EXERCISE"] = str(path.absolute())
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    collector = Collector(task, on_check)
    options = "-p kit.exercise.plugin -p no:terminal -p no:cacheprovider -p no:unraisableexception"
    options += " -p no:threadexception --assert=plain --import-mode=importlib --capture=no"
    places = ["--noconftest", "--rootdir", str(LABS.parent), "-c", os.devnull]
    code = pytest.main(
        [*options.split(), *places, str(lab.folder / "test_exercise.py")], plugins=[collector]
    )
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    result.checks = collector.checks
    if broken := [one for one in result.checks if one.outcome == "no broker"]:
        result.problem, result.no_broker = broken[0].says, True
    elif not result.checks:
        result.problem = f"The checks themselves cannot be run: {collector.trouble or code}"
    return result


# ---- printing


def paragraph(text: str, indent: int, first: str = "") -> str:
    """Return a text in lines of a readable length; `first` stands before the first of them."""
    width = max(min(shutil.get_terminal_size((100, 24)).columns, 100), 20 + indent)
    before = first.ljust(indent)
    return textwrap.fill(
        text, width, initial_indent=before, subsequent_indent=" " * indent, break_on_hyphens=False
    )


class Printer:
    """Prints each check as it comes."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def __call__(self, check: Check) -> None:
        """Print what came of one check, and the sentence for the student once."""
        mark = {"passed": "x", "skipped": "-"}.get(check.outcome, "!")
        print(paragraph(check.asks, 8, f" [{mark}] {check.task}"), flush=True)
        if check.says and check.outcome != "no broker":
            print(paragraph("(as above)" if check.says in self.said else check.says, 8), flush=True)
        self.said.add(check.says)


def print_summary(result: Result, path: Path) -> None:
    """Print what comes after the checks: how far it is, and how to go on."""
    lab, done = result.lab, result.done
    if result.problem:
        print(paragraph(result.problem, 5))
        return
    if result.passed:
        say("*", f"{sum(done.values())} of {len(done)} tasks done. One way to do it: "
            f"{shown(lab.folder / 'solution.py')}")  # fmt: skip
        following = [other for number, other in labs().items() if number > lab.number]
        if following:
            say("*", f"Next: {shown(following[0].folder / 'README.md')}")
        return
    to_do = [check for check in result.checks if not done[check.task] and check.says]
    failed = min(to_do, key=lambda check: "cannot be judged before" in check.says)
    say(
        "*",
        f"{sum(done.values())} of {len(done)} tasks done. Change {shown(path)}, and check again.",
    )
    say(
        "*",
        f"Read: {shown(lab.folder / 'README.md')}" + (f", {failed.read}" if failed.read else ""),
    )
    if failed.task in lab.hints():
        this = f" --task {failed.task}" if failed is not to_do[0] else ""
        say("*", f"Hint: {os.path.relpath(__file__)} {lab.number} --hint{this}")


def show_labs() -> int:
    """Print the labs with what is done."""
    every = labs().values()
    for lab in every:
        done, of = lab.done(), len(lab.tasks)
        state = f"{done} of {of} tasks done" if lab.remembered()["tasks"] else "not begun yet"
        if done and lab.remembered()["hash"] != fingerprint(lab.exercise):
            state += ", changed since"
        print(f" [{'x' if done == of else ' '}] {lab.number}  {lab.name:18}{state}")
    following = next((lab for lab in every if lab.done() < len(lab.tasks)), None)
    if following is None:
        say("*", "All done. That worker is yours now.")
    else:
        where = shown(following.folder / "README.md")
        say("*", f"Next: {where}, then {os.path.relpath(__file__)} {following.number}")
    return 0


def show_labs_json() -> int:
    """Print the same for a program to read."""
    every = [
        {"lab": lab.number, "name": lab.name, "done": lab.done(), "tasks": len(lab.tasks)}
        for lab in labs().values()
    ]
    print(json.dumps(every, indent=1))
    return 0


# ---- what can be done


def run_once(lab: Lab, options: argparse.Namespace) -> Result:
    """Check an exercise, print what came of it, and remember it."""
    path = options.file or lab.exercise
    if not options.json:
        print(f"Lab {lab.number}, {lab.name}: {shown(path)}", flush=True)
    find_broker()
    result = check(lab, path, options.task, (lambda check: None) if options.json else Printer())
    if result.no_broker:
        raise Trouble(result.problem, "labs/broker.py status, then again")
    if not options.file:
        lab.remember(result.done or dict.fromkeys(lab.tasks, False))
    print(result.as_json()) if options.json else print_summary(result, path)
    return result


def watch(lab: Lab, options: argparse.Namespace) -> int:
    """Check an exercise again whenever its file is saved, until all is right."""
    path = options.file or lab.exercise
    while True:
        before = changed_at(path)
        try:
            result = run_once(lab, options)
            if result.passed and options.task is None:
                return 0
        except Trouble as trouble:
            report(trouble)
        say("*", f"Waiting for you to save {shown(path)}. To stop press CTRL+C")
        while changed_at(path) in (before, 0):
            time.sleep(0.5)
        print(flush=True)


def changed_at(path: Path) -> int:
    """Return when a file was last changed, 0 while there is none (an editor is replacing it)."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def hint(lab: Lab, options: argparse.Namespace) -> int:
    """Print the hint for the first task that is not done; check first if the file is new."""
    if lab.remembered()["hash"] != fingerprint(lab.exercise) or options.file:
        result = run_once(lab, options)
        done = {str(task): value for task, value in result.done.items()}
        print()
    else:
        done = lab.remembered()["tasks"]
    wanted = [options.task] if options.task else lab.tasks
    task = next((task for task in wanted if options.task or not done.get(str(task))), None)
    if task is None:
        say("*", "All tasks are done: no hint is left to give.")
        return 0
    if task not in lab.hints():
        raise Trouble(f"there is no hint for task {task}", code=1)
    paragraphs = (paragraph(text, 4) for text in lab.hints()[task].split("\n\n"))
    print(f"Hint for task {task}:", *paragraphs, sep="\n\n")
    return 1


def reset(lab: Lab, sure: bool) -> int:
    """Bring the starter back; what the student has written is kept beside it."""
    path, starter = lab.exercise, lab.starter.read_bytes()
    if path.exists() and path.read_bytes() != starter:
        if not sure and not confirmed(f"Put {shown(path)} back to how it was? [y/N] "):
            say("*", "Nothing is changed.")
            return 1
        kept = next(name for name in backups(path) if not name.exists())
        path.rename(kept)
        say("*", f"Yours is kept as {shown(kept)}")
    path.write_bytes(starter)
    lab.forget()
    say("*", f"{shown(path)} is as it was.")
    return 0


def backups(path: Path):
    """Yield names for a backup of a file: exercise.py.bak, .bak2 and so on."""
    yield path.with_name(path.name + ".bak")
    for number in range(2, 10_000):
        yield path.with_name(f"{path.name}.bak{number}")


def confirmed(question: str) -> bool:
    """Ask; no answer is a no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = labs()
    add = parser.add_argument
    add("lab", nargs="?", type=int, choices=known, metavar="LAB", help=f"one of {list_of(known)}")
    add("--task", type=int, metavar="N", help="only the checks of TODO(N)")
    add("--file", type=Path, metavar="FILE", help="check this file (default: the exercise.py)")
    add("--json", action="store_true", help="print what came of it as JSON")
    add("-v", "--verbose", action="store_true", help="show tracebacks of check.py itself")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--watch", action="store_true", help="again whenever the file is saved")
    one.add_argument("--hint", action="store_true", help="a hint for the first task not done")
    one.add_argument("--reset", action="store_true", help="bring the exercise back as it was")
    add("--yes", action="store_true", help="with --reset: do not ask")
    options = parser.parse_args()
    special = [f"--{name}" for name in ("watch", "hint", "reset") if getattr(options, name)]
    if options.lab is None:
        alone = ("task", "file", "yes")
        if wrong := special or [f"--{name}" for name in alone if getattr(options, name)]:
            parser.error(f"{wrong[0]} needs the number of a lab: labs/check.py 3 {wrong[0]}")
    elif options.task is not None and options.task not in known[options.lab].tasks:
        parser.error(
            f"--task: the tasks of lab {options.lab} are {list_of(known[options.lab].tasks)}"
        )
    if options.json and special:
        parser.error(f"--json does not go with {special[0]}")
    if options.yes and not options.reset:
        parser.error("--yes goes with --reset")
    if options.reset and options.file:
        parser.error("--reset does not go with --file: it is about the lab's own exercise.py")
    return options


def list_of(numbers) -> str:
    """Return numbers as people write them: 1, 2, 3."""
    return ", ".join(map(str, numbers))


def act(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit code."""
    if options.lab is None:
        return show_labs_json() if options.json else show_labs()
    lab = labs()[options.lab]
    if options.reset:
        return reset(lab, options.yes)
    if not options.file and lab.begin() and not options.json:
        say("*", f"{shown(lab.exercise)} is made: yours to change. Open it in your editor.")
    if options.hint:
        return hint(lab, options)
    if options.watch:
        return watch(lab, options)
    return run_once(lab, options).code


def main(options: argparse.Namespace) -> int:
    """Do what is asked; return the exit code."""
    stop_as_with_ctrl_c()  # and end what we have started
    try:
        return act(options)
    except Trouble as trouble:
        if options.json:
            print(json.dumps({"lab": options.lab, "passed": False, "problem": str(trouble)}))
        raise
    except ModuleNotFoundError as error:
        raise Trouble(str(error), how_to_get_packages(), UNEXPECTED) from error


if __name__ == "__main__":
    run(main, parse())
