"""The output of labs/check.py: each check as it ends, a summary, and the progress in each lab."""

import json
import os
import shutil
import sys
import textwrap
from pathlib import Path

from kit.cli import say
from kit.exercise.checks import Check, Result
from kit.exercise.labs import all_labs, relative


def paragraph(text: str, indent: int, mark: str = "") -> str:
    """Wrap a text to a readable width, indented; put `mark` before the first line."""
    width = max(min(shutil.get_terminal_size((100, 24)).columns, 100), 20 + indent)
    return textwrap.fill(
        text,
        width,
        initial_indent=mark.ljust(indent),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )


class Printer:
    """Prints each check as it ends, and each sentence for the student only once."""

    def __init__(self) -> None:
        self.printed: set[str] = set()

    def __call__(self, check: Check) -> None:
        mark = {"passed": "x", "skipped": "-"}.get(check.outcome, "!")
        print(paragraph(check.asks, 8, f" [{mark}] {check.task}"), flush=True)
        if check.says and check.outcome != "no broker":
            says = "(as above)" if check.says in self.printed else check.says
            print(paragraph(says, 8), flush=True)
        self.printed.add(check.says)


def print_summary(result: Result, path: Path) -> None:
    """Print how many tasks are done, and what to do next."""
    lab, done = result.lab, result.done
    if result.problem:
        print(paragraph(result.problem, 5))
        return
    so_far = f"{sum(done.values())} of {len(done)} tasks done."
    if result.passed:
        say("*", f"{so_far} One way to do it: {relative(lab.solution)}")
        following = [other for number, other in all_labs().items() if number > lab.number]
        if following:
            say("*", f"Next: {relative(following[0].page)}")
        return
    to_do = [check for check in result.checks if not done[check.task] and check.says]
    failed = min(to_do, key=lambda check: "cannot be judged before" in check.says)
    say("*", f"{so_far} Change {relative(path)}, and check again.")
    say("*", f"Read: {relative(lab.page)}{failed.read and f', {failed.read}'}")
    if failed.task in lab.hints():
        task = f" --task {failed.task}" if failed is not to_do[0] else ""
        say("*", f"Hint: {_this_program()} {lab.number} --hint{task}")


def print_hint(task: int, hint: str) -> None:
    paragraphs = (paragraph(text, 4) for text in hint.split("\n\n"))
    print(f"Hint for task {task}:", *paragraphs, sep="\n\n")


def print_labs() -> None:
    """Print the progress in each lab, and which lab is next."""
    following = None
    for lab in all_labs().values():
        done, tasks = lab.count_done(), len(lab.tasks)
        state = f"{done} of {tasks} tasks done" if lab.tasks_done() else "not begun yet"
        if done and not lab.is_as_checked():
            state += ", changed since"
        print(f" [{'x' if done == tasks else ' '}] {lab.number:<3}{lab.name:18}{state}")
        if done < tasks:
            following = following or lab
    if following:
        page = relative(following.page)
        say("*", f"Next: {page}, then {_this_program()} {following.number}")
    else:
        say("*", "All done. That worker is yours now.")


def print_labs_as_json() -> None:
    every = [
        {"lab": lab.number, "name": lab.name, "done": lab.count_done(), "tasks": len(lab.tasks)}
        for lab in all_labs().values()
    ]
    print(json.dumps(every, indent=1))


def _this_program() -> str:
    return os.path.relpath(sys.argv[0])
