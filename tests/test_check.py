"""Test labs/check.py as a student runs it, on a copy without git, like a zip download."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Lab, Script, wait_until

README = """# Lab 1: Hello

## Exercise

<details><summary>Hint 1</summary>

Declare it.

</details>

<details>
<summary>Hint 2</summary>

Look at the key.

</details>
"""


class Student:
    """A copy of the kit, and check.py run in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.labs, self.scripts = folder, folder / "labs", []
        leave = shutil.ignore_patterns("__pycache__", "*.bak*", "exercise.py")
        shutil.copytree(ROOT / "labs", self.labs, ignore=leave)
        self.hello = self.labs / "01-hello"
        self.exercise = self.hello / "exercise.py"
        self.starter = (self.hello / "starter.py").read_text()
        self.solution = (self.hello / "solution.py").read_text()
        self.environment = os.environ | {"AMQP_URL": url, "PYTHONPATH": str(ROOT)}
        self.environment.pop("LAB_EXERCISE", None)

    def start(self, *arguments: object, stdin: int = -3, **environment: str) -> Script:
        command = [sys.executable, self.labs / "check.py", *map(str, arguments)]
        script = Script(command, self.environment | environment, stdin, self.folder)
        self.scripts.append(script)
        return script

    def run(self, *arguments: object, code: int, **environment: str) -> str:
        """Run check.py; return its output."""
        script = self.start(*arguments, **environment)
        assert script.wait(60) == code, script.text()
        for noise in ("Traceback", "pytest", "_pytest", "=====", "assert "):
            assert noise not in script.text()
        return script.text()


@pytest.fixture
def student(lab: Lab, tmp_path: Path):
    student = Student(tmp_path / "kit", lab.url)
    yield student
    for script in student.scripts:
        if script.process.poll() is None:
            script.terminate()
        script.wait()
    wait_until(lambda: lab.broker.api("GET", f"queues/{lab.vhost}") == [], "no queue is left")


def test_a_starter_then_a_solution(student: Student):
    printed = student.run(code=0)
    assert " [ ] 1  hello             not begun yet" in printed
    assert " [ ] 10 log-pipeline      not begun yet" in printed

    printed = student.run(1, code=1)
    assert printed.count(" [!] ") == 3
    assert "line 37 of exercise.py, ChannelClosedByBroker" in printed
    assert " [*] 0 of 3 tasks done. Change labs/01-hello/exercise.py, and check again." in printed
    assert " [*] Read: labs/01-hello/README.md, https://" in printed
    assert " [ ] 1  hello             0 of 3 tasks done" in student.run(code=0)

    student.exercise.write_text(student.solution)
    printed = student.run(1, code=0)
    assert printed.count(" [x] ") == 3
    assert "3 of 3 tasks done. One way to do it: labs/01-hello/solution.py" in printed
    printed = student.run(code=0)
    assert " [x] 1  hello             3 of 3 tasks done" in printed
    assert " [*] Next: labs/02-work-queues/README.md, then labs/check.py 2" in printed

    student.exercise.write_text(student.solution + "\n")
    assert "3 of 3 tasks done, changed since" in student.run(code=0)


def test_a_single_task(student: Student):
    student.exercise.write_text(student.solution)
    assert student.run(1, "--task", 2, code=0).count(" [x] ") == 1
    assert "1 of 3 tasks done" in student.run(code=0)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("def main() ->", "def main( ->", "Line 39 of labs/01-hello/exercise.py is not Python yet"),
        ("\n", "\0", "labs/01-hello/exercise.py is not Python yet"),
        ("args = parser", "args = parsley", "line 44 of exercise.py, NameError: name 'parsley'"),
        ("import pika", "import pikachu", "ModuleNotFoundError: No module named 'pikachu'"),
        ("import pika", "import sys; sys.exit(3)", "had ended by then"),
        (
            "    connection = connect()",
            "    while True: print('me again', end='')",
            "prints without end: it is in a loop",
        ),
    ],
)
def test_what_cannot_work_is_one_sentence(student: Student, old: str, new: str, says: str):
    assert old in student.solution
    student.exercise.write_text(student.solution.replace(old, new, 1))
    printed = " ".join(student.run(1, code=1).split())
    assert says in printed
    assert "not begun yet" not in student.run(code=0).splitlines()[0]


@pytest.mark.parametrize(
    ("instead_of", "says"),
    [
        ("connection = connect()", "never printed that it is waiting"),
        ("text = body", "did not print that it received the first of two messages"),
    ],
)
def test_an_endless_loop_is_given_up(student: Student, instead_of: str, says: str):
    loop = student.solution.replace(instead_of, f"while True: time.sleep(1)  # {instead_of}")
    student.exercise.write_text(loop.replace("import os", "import os, time"))
    assert says in student.run(1, "--task", 3, code=1)


def test_the_first_check_makes_the_exercise_and_no_other_changes_it(student: Student):
    assert not student.exercise.exists()
    assert " [*] labs/01-hello/exercise.py is made: yours to change." in student.run(1, code=1)
    assert student.exercise.read_text() == student.starter
    student.exercise.write_text(student.solution)
    assert "is made" not in student.run(1, code=0)
    assert student.exercise.read_text() == student.solution


def test_an_exercise_that_cannot_be_made_or_read_is_a_sentence(student: Student):
    student.exercise.symlink_to("nowhere")
    assert "labs/01-hello/exercise.py cannot be read: No such file" in student.run(1, code=1)
    student.exercise.unlink()
    student.run(1, "--reset", code=0)
    assert student.exercise.read_text() == student.starter


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("amqp://localhost:1", 3, "cannot reach RabbitMQ at localhost:1 (Connection refused)"),
        ("amqp://guest:no@{where}", 4, "Login was refused"),
        ("http://{where}", 2, "AMQP_URL is not amqp://user:password@host:5672/vhost"),
    ],
)
def test_no_broker(student: Student, lab: Lab, url: str, code: int, says: str):
    url = url.format(where=f"127.0.0.1:{lab.broker.port}")
    printed = student.run(1, code=code, AMQP_URL=url)
    assert says in printed and "  try: " in printed
    assert len(printed.splitlines()) == 4  # exercise created, lab, error, hint
    assert not (student.folder / ".progress.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [99],
        ["x"],
        ["--hint"],
        ["--reset"],
        ["--watch"],
        ["--task", 1],
        [1, "--task", 9],
        [1, "--yes"],
        [1, "--json", "--watch"],
        [1, "--hint", "--watch"],
        [1, "--reset", "--file", "a.py"],
    ],
)
def test_usage(student: Student, arguments: list):
    assert "check.py: error: " in student.run(*arguments, code=2)


def test_hints(student: Student):
    (student.hello / "README.md").write_text(README)
    first = student.run(1, "--hint", code=1)
    assert " [!] 1" in first and "Hint for task 1:\n\n    Declare it." in first
    again = student.run(1, "--hint", code=1, AMQP_URL="amqp://localhost:1")
    assert "Declare it." in again and "[!]" not in again  # not checked again: no change

    declared = "    channel.queue_declare(args.queue, durable=True)\n    if args.texts"
    student.exercise.write_text(student.starter.replace("    if args.texts", declared))
    assert "Hint for task 2:\n\n    Look at the key." in student.run(1, "--hint", code=1)
    assert "Hint: labs/check.py 1 --hint" in student.run(1, code=1)
    assert "there is no hint for task 3" in student.run(1, "--hint", "--task", 3, code=1)

    student.exercise.write_text(student.solution)
    assert "no hint is left to give" in student.run(1, "--hint", code=0)


def test_reset(student: Student):
    assert "is as it was" in student.run(1, "--reset", code=0)
    assert not list(student.hello.glob("*.bak*"))

    student.exercise.write_text("mine")
    assert "Nothing is changed" in student.run(1, "--reset", code=1)  # the question gets no answer
    asked = student.start(1, "--reset", stdin=-1)
    asked.process.stdin.write(b"n\n")
    asked.process.stdin.close()
    assert asked.wait() == 1
    assert student.exercise.read_text() == "mine"

    printed = student.run(1, "--reset", "--yes", code=0)
    assert "Yours is kept as labs/01-hello/exercise.py.bak" in printed
    assert student.exercise.read_text() == student.starter
    student.exercise.write_text("mine again")
    student.run(1, "--reset", "--yes", code=0)
    kept = [student.hello / f"exercise.py.bak{n}" for n in ("", "2")]
    assert [path.read_text() for path in kept] == ["mine", "mine again"]


def test_watch(student: Student):
    watching = student.start(1, "--watch")
    watching.wait_for("Waiting for you to save labs/01-hello/exercise.py")
    student.exercise.write_text("def")
    watching.wait_for("is not Python yet")
    watching.wait_for("Waiting for you to save", count=2)
    new = student.exercise.with_name("new")  # most editors save this way
    new.write_text(student.solution)
    new.replace(student.exercise)
    assert watching.wait() == 0
    assert "3 of 3 tasks done" in watching.lines[-2].text


def test_json(student: Student):
    starter = json.loads(student.run(1, "--json", code=1))
    assert (starter["lab"], starter["name"], starter["passed"]) == (1, "hello", False)
    assert starter["tasks"] == [{"task": n, "done": False} for n in (1, 2, 3)]
    assert set(starter["checks"][0]) == {"task", "asks", "outcome", "says", "read"}

    handed_in = student.folder / "ada.py"
    handed_in.write_text(student.solution)
    assert json.loads(student.run(1, "--json", "--file", handed_in, code=0))["passed"]
    everything = json.loads(student.run("--json", code=0))
    assert everything[0] == {"lab": 1, "name": "hello", "done": 0, "tasks": 3}

    handed_in.write_text("def")
    assert (
        "ada.py is not Python yet"
        in json.loads(student.run(1, "--json", "--file", handed_in, code=1))["problem"]
    )
    nowhere = student.start(1, "--json", AMQP_URL="amqp://localhost:1")
    assert nowhere.wait() == 3
    assert "cannot reach" in json.loads(nowhere.text("stdout"))["problem"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle(student: Student, lab: Lab, number: int):
    stuck = student.solution.replace("    connection = connect()", "    time.sleep(60)")
    student.exercise.write_text(stuck.replace("import os", "import os, time"))
    checking = student.start(1)
    marks = str(student.exercise)
    wait_until(lambda: processes_with(marks), "the student's program runs")
    checking.signal(number)
    assert checking.wait() == 130
    assert "Stopped by Ctrl-C" in checking.text() and "Traceback" not in checking.text()
    assert not processes_with(marks)


def processes_with(part: str) -> list[int]:
    """Return the processes with this text in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if part.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def test_progress_that_cannot_be_read_is_no_progress(student: Student):
    (student.folder / ".progress.json").write_text("[")
    assert "not begun yet" in student.run(code=0)
    student.exercise.write_text(student.solution)
    student.run(1, code=0)
    assert "3 of 3 tasks done" in student.run(code=0)


def test_git_ignores_what_it_leaves():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".progress.json", "*.py.bak*"} <= set(ignored)
