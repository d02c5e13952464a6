"""Test the exercises: starters fail, solutions pass, every task has its hint and its check."""

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT, Lab, wait_until
from kit.exercise.checks import Result, check_exercise
from kit.exercise.labs import all_labs

FOLDERS = sorted(path.parent for path in (ROOT / "labs").glob("[0-9]*/test_exercise.py"))
FILES = {"README.md", "starter.py", "solution.py", "test_exercise.py"}
EXERCISES = {int(folder.name[:2]): folder for folder in FOLDERS}


def starter(number: int) -> str:
    return (EXERCISES[number] / "starter.py").read_text()


def solution(number: int) -> str:
    """Return the solution, with usage lines that name the exercise file."""
    return (EXERCISES[number] / "solution.py").read_text().replace("solution.py", "exercise.py")


def tasks(number: int) -> list[int]:
    return sorted(set(map(int, re.findall(r"TODO\((\d+)\)", starter(number)))))


def changes(number: int):
    """Yield each changed passage in the starter and in the solution, with its TODO.

    A change without a TODO belongs to the previous one if at most two lines are between them.
    """
    old, new = (text.splitlines(keepends=True) for text in (starter(number), solution(number)))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    latest, end = set(), -9
    for verb, a, b, c, d in matcher.get_opcodes():
        passage, todo = "".join(old[a:b]), None
        if verb != "equal":
            todo = {int(n) for n in re.findall(r"TODO\((\d+)\)", passage)}
            todo = todo or (latest if a - end <= 2 else set())
            latest, end = todo, b
        yield passage, "".join(new[c:d]), todo


def variant(number: int, fixed: set[int]) -> str:
    """Return the starter with some of its tasks solved."""
    return "".join(new if todo and todo <= fixed else old for old, new, todo in changes(number))


@dataclass
class Checked(Result):
    """A Result with the sentences of all checks in one text."""

    @property
    def says(self) -> str:
        return " ".join(one.says for one in self.checks)


Check = Callable[..., Checked]


@pytest.fixture
def check(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Check:
    """Return a function that checks a text in this process, as `labs/check.py --watch` does.

    The broker is the student's own, which a check may restart, only with `own_lab`.
    """

    def check(
        number: int, text: str, task: int | None = None, own_lab: Lab | None = None
    ) -> Checked:
        brokers = own_lab.broker.node.folder.parent if own_lab else tmp_path / "none"
        monkeypatch.setattr("kit.broker.lab.BROKERS", brokers)
        monkeypatch.setenv("AMQP_URL", (own_lab or request.getfixturevalue("lab")).url)
        for name in ("LAB_EXERCISE", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS"):
            monkeypatch.setenv(name, "")  # check_exercise sets them, and we restore them
        file = tmp_path / "exercise.py"
        file.write_text(text)
        result = check_exercise(all_labs()[number], file, task, lambda check: None)
        assert not result.problem
        assert not [one for one in result.checks if one.outcome == "broken"], result
        return Checked(**vars(result))

    return check


# All tasks but the last of each exercise.
NOT_LAST = [(number, task) for number in EXERCISES for task in tasks(number)[:-1]]


@pytest.mark.parametrize("number", EXERCISES)
def test_a_starter_fails_in_every_task(number: int, check: Check):
    result = check(number, starter(number))
    assert result.done == dict.fromkeys(tasks(number), False)
    assert all(one.says for one in result.checks if one.outcome != "passed")
    assert "Traceback" not in result.says


@pytest.mark.parametrize("number", EXERCISES)
def test_a_solution_passes(number: int, lab: Lab, check: Check):
    result = check(number, solution(number))
    assert result.done == dict.fromkeys(tasks(number), True), result.says
    wait_until(lambda: lab.broker.api("GET", f"queues/{lab.vhost}") == [], "no queue is left")


@pytest.mark.parametrize(("number", "task"), NOT_LAST)
def test_who_goes_from_task_to_task_sees_each_pass(number: int, task: int, check: Check):
    result = check(number, variant(number, set(range(1, task + 1))))
    so_far = {other: done for other, done in result.done.items() if other <= task + 1}
    assert so_far == {other: other <= task for other in so_far}, result.says


@pytest.mark.parametrize(("number", "task"), NOT_LAST)
def test_a_task_left_out_fails(number: int, task: int, check: Check):
    assert check(number, variant(number, set(tasks(number)) - {task}), task).done == {task: False}


ACK = "        channel.basic_ack(method.delivery_tag)\n"
BATCH_ACK = "        channel.basic_ack(self.last_tag, multiple=True)\n"
WHISPER = """startswith("/msg "):
        name, _, text = text.removeprefix("/msg ").partition(" ")"""
TAKE_IF_ACTIVE = """    if account["active"]:
        copy[email] = account"""
# An exercise, the task that fails, the right and the wrong text, and a part of the sentence.
MISTAKES = [
    (1, 3, "body.decode()", "str(body)", "that is bytes"),
    (1, 2, "routing_key=queue", 'routing_key="hello"', "the name of the queue"),
    (2, 3, "        time.sleep(seconds)", "        time.sleep(0.1)", "the work takes 1.0 s"),
    (2, 2, "channel.start_consuming()", "connection.process_data_events(1)", "went home"),
    (3, 1, "        try:\n", ACK + "        try:\n", "acknowledged it before the work was done"),
    (3, 2, ACK, ACK * 2, "acknowledged only once"),
    (3, 3, "requeue=False", "requeue=True", "put the task back"),
    (3, 2, ACK, "        channel.basic_nack(method.delivery_tag)\n", "broker knows nothing"),
    (4, 3, ", mandatory=True", "", "publish with mandatory=True"),
    (4, 3, "    channel.confirm_delivery()\n", "", "ask for confirms"),
    (4, 3, ", pika.exceptions.NackError)", ",)", "Nothing caught the broker's refusal: line "),
    (4, 1, "durable=True", "durable=False", "not durable"),
    (5, 1, "        time.sleep", ACK + "        time.sleep", "looks free while it is busy"),
    (5, 1, ACK, "", "acknowledge the first when it is done"),
    (5, 2, "prefetch_count=args.prefetch", "prefetch_count=0", "prefetch of 0 is not 1"),
    (5, 2, "    channel.basic_qos(prefetch_count=args.prefetch)\n", "", "Limit what it may hold"),
    (6, 2, " and not isinstance(error, always)", "", "wrong the next time too"),
    (6, 1, "max=5)", "max=0.001)", "in peace"),
    (6, 3, "if not worth_another_try(error)", "if False", "took that for a lost connection"),
    (7, 1, 'f"{args.queue}-{place}"', "args.queue", "each place needs a queue of its own"),
    (
        7,
        3,
        'f"{args.queue}-{place}"',
        "args.queue",
        "Task 3 cannot be judged before task 1 is done",
    ),
    (7, 2, '"#.error"', '"*.error"', "lacks 'payments.db.error no connection': the pattern of its"),
    (7, 2, '"#.error"', '"*.error"', "does not fit this key of 3 words"),
    (7, 3, '"#.error"', '"error"', "Task 3 cannot be judged before task 2 is done"),
    (
        7,
        2,
        '"#.error"',
        '"#"',
        "which does not belong there: bind its queue with the pattern for any",
    ),
    (7, 2, 'f"{service}.#"', 'f"{service}.*"', "payments.log lacks 'payments.db"),
    (7, 2, 'f"{service}.#"', 'f"#.{service}.#"', "payments.log has 'shop.payments.info"),
    (7, 3, "queue, durable=True", "queue, exclusive=True", "not exclusive=True, but durable=True"),
    (7, 3, "            channel.basic_ack(method.delivery_tag)\n", "", "did not acknowledge every"),
    (8, 1, "private, routing_key=name", "private, routing_key=''", "not with her name"),
    (8, 2, 'removeprefix("/msg ").partition', "partition", "routing key 'bob'"),
    (8, 3, 'partition(" ")', 'split(" ")', "Your program crashed: line"),
    (
        8,
        2,
        WHISPER,
        WHISPER.replace('/msg "', '/msg"').replace(").p", ").strip().p"),
        "is no whisper",
    ),
    (
        8,
        2,
        '_, text = text.removeprefix("/msg ").partition(" ")',
        'text = text.removeprefix("/msg ").split(" ", 1)',
        "with no words after the name",
    ),
    (8, 2, "return private, name, text", "return private, name, '/' + text", "without the command"),
    (8, 2, "return private, name, text", "return everybody, name, text", "can read your whisper"),
    (8, 3, "    channel.confirm_delivery()\n", "", "makes an UnroutableError of that"),
    (8, 3, ", mandatory=True", "", "Publish with mandatory=True"),
    (9, 1, ".read_text().splitlines()", ".read_text()", "'order 1' is a part of 'order 12'"),
    (9, 2, '"x-message-ttl": int(args.delay * 1000),', "", "needs the argument x-message-ttl"),
    (9, 2, "int(args.delay * 1000)", "int(args.delay)", "waits 0 ms in your retry queue"),
    (
        9,
        2,
        "int(args.delay * 1000)",
        "str(args.delay)",
        "declared (line 56 of exercise.py): invalid arg",
    ),
    (9, 1, "int(args.delay * 1000)", "args.delay * 1000", "Task 1 cannot be judged before task 2"),
    (9, 2, "int(args.delay * 1000)", "args.delay * 1000", "pika cannot send 800.0 as an argument"),
    (9, 2, '-routing-key": args.queue', '-routing-key": retry', "routing-key has to be the name"),
    (9, 3, "attempts >= ATTEMPTS", "attempts > ATTEMPTS", "makes a fourth attempt"),
    (9, 3, "parked if attempts >= ATTEMPTS else retry", "parked", "parked after attempt 1"),
    (10, 1, ", multiple=True", "", "some records of a batch, not all"),
    (10, 2, BATCH_ACK, "    " + BATCH_ACK, "in which nothing is new must be acknowledged too"),
    (10, 1, BATCH_ACK, "", "the broker knows nothing of it: acknowledge the batch"),
    (10, 1, "        if rows:\n", BATCH_ACK + "        if rows:\n", "acknowledge after writing"),
    (10, 2, "known_ids(folder)\n", "set()\n", "Your sink was restarted, and has written once more"),
    (10, 3, "    os.replace(part, path)\n", "", "rename the file when it is whole"),
    (11, 1, "args.queue, durable=True", "args.queue, exclusive=True", "goes with its service"),
    (11, 1, "args.queue, durable=True", '"", durable=True', "each start makes another queue"),
    (11, 2, "<= copy[email]", "> copy[email]", "what is new has to get in"),
    (11, 3, "<= copy[email]", "< 1 + 0 * copy[email]", "cannot be judged before task 2"),
    (11, 3, "    copy[email] = account", TAKE_IF_ACTIVE, "it is still active"),
    (11, 1, "        channel.basic_ack(method.delivery_tag)\n", "", "is not acknowledged"),
]


@pytest.mark.parametrize(("number", "task", "right", "wrong", "says"), MISTAKES)
def test_the_sentence_names_the_mistake(
    number: int, task: int, right: str, wrong: str, says: str, check: Check
):
    text = solution(number)
    assert text.count(right) == 1
    result = check(number, text.replace(right, wrong), task)
    assert result.done == {task: False}
    assert says in result.says


def test_the_hint_is_that_of_the_task_to_blame(lab: Lab, tmp_path: Path):
    file = tmp_path / "exercise.py"
    file.write_text(solution(9).replace("int(args.delay * 1000)", "-1"))
    done = subprocess.run(
        [sys.executable, ROOT / "labs/check.py", "9", "--file", file],
        env=os.environ | {"AMQP_URL": lab.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "9 --hint --task 2" in done.stdout and "crashed" not in done.stdout


@pytest.mark.usefixtures("transient_queues")
def test_exercise_7_wants_queues_that_survive_a_restart(check: Check):
    text = solution(7)
    assert text.count("queue, durable=True") == 1
    result = check(7, text.replace("queue, durable=True", "queue"))
    assert result.done == {1: True, 2: True, 3: False}
    assert "not over a restart of the broker: add durable=True." in result.says


def test_a_broker_of_ours_is_restarted(own_lab: Lab, check: Check):
    result = check(4, solution(4), own_lab=own_lab)
    assert result.passed, result.says
    last = result.checks[-1]
    assert ("restarted" in last.asks, last.outcome) == (True, "passed")
    own_lab.reconnect()


# ---- the files


@pytest.mark.parametrize("number", EXERCISES)
def test_a_solution_differs_at_the_todos_only(number: int):
    seen = [todo for _, _, todo in changes(number) if todo is not None]
    assert all(len(todo) == 1 for todo in seen), "a change without its TODO, or two in one"
    assert sorted({task for todo in seen for task in todo}) == tasks(number)
    assert tasks(number) == list(range(1, len(tasks(number)) + 1))
    assert "TODO" not in solution(number)


@pytest.mark.parametrize("number", EXERCISES)
def test_every_task_has_a_hint_and_a_check(number: int):
    folder = EXERCISES[number]
    marks = re.findall(r"mark\.task\((\d+)\)", (folder / "test_exercise.py").read_text())
    assert sorted(set(map(int, marks))) == tasks(number)
    _, _, section = (folder / "README.md").read_text().partition("\n## Exercise\n")
    section = section.partition("\n## ")[0]
    hints = re.findall(r"<details>\s*<summary>Hint (\d+)</summary>.+?</details>", section, re.S)
    assert list(map(int, hints)) == tasks(number)


@pytest.mark.parametrize("number", EXERCISES)
def test_no_file_is_stray(number: int):
    folder = EXERCISES[number]
    mine = re.compile(r"__pycache__|exercise\.py|.*\.py\.bak\d*")  # ignored by git
    there = {path.name for path in folder.iterdir() if not mine.fullmatch(path.name)}
    there = git("ls-files", "-z", folder.name) or there
    assert there >= FILES
    # A lab with an application keeps all of it in its folder, and its page lists the files.
    page = (folder / "README.md").read_text()
    assert [name for name in there - FILES if not re.search(rf"`{re.escape(name)}/?`", page)] == []


def test_an_exercise_is_its_students_and_not_tracked():
    assert not any("exercise.py" in git("ls-files", "-z", folder.name) for folder in FOLDERS)


@pytest.mark.parametrize("number", EXERCISES)
def test_an_exercise_imports_nothing_of_the_kit(number: int):
    imported = re.findall(r"^(?:import|from) (\w+)", solution(number), re.MULTILINE)
    assert set(imported) <= {*sys.stdlib_module_names, "pika", *(["tenacity"] * (number == 6))}


def git(command: str, *arguments: str) -> set[str]:
    """Return the names in a folder that a git command prints; none without git."""
    where = ["git", "-C", ROOT / "labs", command, *arguments]
    try:
        printed = subprocess.run(where, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {Path(name).parts[1] for name in printed.split("\0") if name}
