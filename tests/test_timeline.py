"""Test labs/timeline.py: its pictures of known journals, and of odd ones."""

import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from pytest import approx
from rich.cells import cell_len
from rich.console import Console

from kit.cli import Trouble
from kit.timeline import figures, picture, terminal
from kit.timeline.run import Lane, Run
from kit.timeline.scene import Scene
from kit.timeline.words import mishaps, notes, wrap

ROOT = Path(__file__).resolve().parents[1]
LONG, SHORT = "dddddd", "a"  # half a second a character
TASKS = [LONG, SHORT, SHORT] * 4
WORKERS = ("worker-1", "worker-2", "worker-3")
NOTHING = {"lost": 0, "returned": 0, "failed": 0}  # in a worker's `stopped`
BOOTED = datetime(2026, 11, 21, 14, 0, tzinfo=timezone.utc)


class Log:
    """Writes a journal in the format of labs/journal.md, with times of our choice."""

    def __init__(self, host: str = "ada-laptop", booted: datetime = BOOTED) -> None:
        self.host, self.booted = host, booted
        self.events: list[tuple[float, int, str]] = []
        self.tags: dict[str, int] = {}

    def write(self, time: float, worker: str, event: str, pid: int | None = None, **more) -> None:
        """Add a line; time in seconds."""
        utc = (self.booted + timedelta(seconds=time)).isoformat(timespec="microseconds")
        line = {
            "v": 1,
            "utc": utc.replace("+00:00", "Z"),
            "monotonic": time,
            "host": self.host,
            "pid": pid or 4000 + sum(map(ord, worker)),
            "worker": worker,
            "event": event,
            **more,
        }
        self.events.append((time, len(self.events), json.dumps(line, ensure_ascii=False)))

    def start(self, time: float, worker: str, acknowledge=False, prefetch=None, **more) -> None:
        """Start a worker."""
        self.write(time, worker, "started", script="qprocessor.py", queue="films",
                   acknowledge=acknowledge, prefetch=prefetch, **more)  # fmt: skip

    def send(self, time: float, number: int, message: str) -> None:
        """Send and confirm a message."""
        one = {"message_id": f"m{number}", "message": message}
        self.write(time, "producer", "sent", bytes=len(message), **one)
        self.write(time + 0.002, "producer", "confirmed", **one)

    def receive(
        self, time: float, worker: str, number, message: str, redelivered=False, pid=None
    ) -> dict:
        """Write a delivery; return the fields that its other events repeat."""
        self.tags[worker] = self.tags.get(worker, 0) + 1
        message_id = None if number is None else f"m{number}"
        delivery = {"connection": 1, "delivery_tag": self.tags[worker], "message_id": message_id,
                    "message": message}  # fmt: skip
        self.write(time, worker, "received", pid, redelivered=redelivered, bytes=len(message),
                   **delivery)  # fmt: skip
        return delivery

    def work(
        self, begun: float, worker: str, delivery: dict, end: str | None = "done", pid=None, **more
    ) -> float:
        """Work on a delivery, half a second a character; return when it ends."""
        seconds = len(delivery["message"]) / 2
        self.write(begun, worker, "working", pid, seconds=seconds, **delivery)
        if end == "done":
            more = {"acknowledged": True, **more}
        if end:
            self.write(begun + seconds, worker, end, pid, **delivery, **more)
        return begun + seconds

    def lines(self) -> list[str]:
        """Return the lines in order of time."""
        return [line for _, _, line in sorted(self.events)]

    def save(self, path: Path) -> Path:
        path.write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")
        return path


def in_turn() -> Log:
    """Log three workers with automatic acknowledgement: tasks are delivered at once, in turn."""
    log, free = Log(), dict.fromkeys(WORKERS, 100.003)
    for worker in WORKERS:
        log.start(98, worker)
        log.write(112.5, worker, "stopped", worked=4, **NOTHING)
    for number, message in enumerate(TASKS):
        time, worker = 100 + number / 1000, WORKERS[number % 3]
        log.send(time, number, message)
        delivery = log.receive(time + 0.001, worker, number, message)
        free[worker] = log.work(max(time + 0.001, free[worker]), worker, delivery)
    return log


def fair() -> Log:
    """Log three workers with --prefetch 1; the first is killed, and the third gets its task."""
    log = Log()
    for number, message in enumerate(TASKS):
        log.send(100 + number / 1000, number, message)
    shares = [0], [1, 3, 6, 10, 11], [2, 4, 5, 0, 7, 8, 9]
    for worker, share in zip(WORKERS, shares, strict=True):
        log.start(98, worker, acknowledge=True, prefetch=1)
        time = 100.003
        for place, number in enumerate(share):
            delivery = log.receive(time, worker, number, TASKS[number], redelivered=place > number)
            end = None if worker == "worker-1" else "done"
            time = log.work(time, worker, delivery, end) + 0.001
        if worker != "worker-1":
            log.write(109, worker, "stopped", worked=6, **NOTHING)
    return log


def run_of(log: Log, tmp_path: Path, name: str = "run.jsonl") -> Run:
    return Run([log.save(tmp_path / name)])


def spans(lane: Lane) -> list[tuple]:
    """Return message, start of work, end and outcome of a lane's bars; times to 0.1 s."""
    return [
        (one.message.text, round(one.begun, 1), round(one.ended, 1), one.outcome)
        for one in lane.deliveries
    ]


def depth_at(run: Run, time: float) -> tuple:
    """Return the counts of ready and held messages at a time."""
    return next(step[1:] for step in reversed(run.depth) if step[0] <= time)


def timeline(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run labs/timeline.py in a pipe."""
    where = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment}
    command = [sys.executable, ROOT / "labs/timeline.py", *arguments]
    return subprocess.run(command, env=where, capture_output=True, text=True, timeout=60)


# ---- known journals


def test_in_turn_all_tasks_are_handed_out_at_once(tmp_path):
    run = run_of(in_turn(), tmp_path)
    assert [lane.worker for lane in run.lanes] == list(WORKERS)
    assert spans(run.lanes[0]) == [(LONG, 3.0 * n, 3.0 * n + 3, "done") for n in range(4)]
    assert spans(run.lanes[2]) == [(SHORT, n / 2, n / 2 + 0.5, "done") for n in range(4)]
    assert depth_at(run, 0.1) == (0, 12)
    assert depth_at(run, 11) == (0, 1)
    assert run.counts == {"tasks": 12, "worked": 12, "lost": 0, "returned": 0, "failed": 0,
                          "left": 0, "redelivered": 0, "duplicates": 0}  # fmt: skip
    assert (run.finish, run.shortest) == (approx(12, abs=0.01), approx(6, abs=0.01))
    assert run.in_turn == approx(6.5, abs=0.01)
    assert run.warnings == []


def test_killed_worker_is_known_by_what_others_got(tmp_path):
    run = run_of(fair(), tmp_path)
    [lost] = run.lanes[0].deliveries
    assert spans(run.lanes[0]) == [(LONG, 0, 1.5, "killed")]
    assert lost.process.killed == approx(1.5, abs=0.01)
    assert lost.is_repeated and lost.after.redelivered and lost.after in run.lanes[2].deliveries
    assert (run.counts["worked"], run.counts["redelivered"], run.counts["lost"]) == (12, 1, 0)
    assert [depth_at(run, time) for time in (0.2, 1.4, 8)] == [(9, 3), (6, 3), (0, 1)]
    said = "killed; handed out again to worker-3, done there at 4.5 s"
    assert mishaps(run) == [f"  1.5 s, 'dddddd' at worker-1: {said}"]


def test_worker_that_goes_on_is_not_called_killed(tmp_path):
    log = Log()
    for worker in WORKERS[:2]:
        log.start(98, worker)
    log.send(100, 1, "aaaaaa")
    log.work(100.1, "worker-1", log.receive(100.1, "worker-1", 1, "aaaaaa"), end=None)
    log.send(100.2, 2, "b")
    log.work(100.3, "worker-2", log.receive(100.3, "worker-2", 2, "b"))
    run = run_of(log, tmp_path)
    assert spans(run.lanes[0]) == [("aaaaaa", 0.1, float("inf"), "working")]
    assert (run.counts["left"], run.counts["lost"]) == (1, 0)
    log.write(200, "worker-2", "stopped", worked=1, **NOTHING)  # long after the work was due
    run = run_of(log, tmp_path)
    assert spans(run.lanes[0]) == [("aaaaaa", 0.1, 3.1, "killed")]
    assert (run.counts["left"], run.counts["lost"]) == (0, 1)


def test_automatic_acknowledgement_loses_what_waits_at_a_killed_worker(tmp_path):
    log = Log()
    log.start(98, "worker-1")
    for number in range(3):
        log.send(100, number, "aaaa")
        delivery = log.receive(100.01, "worker-1", number, "aaaa")
        if number == 0:
            log.work(100.02, "worker-1", delivery, end=None)
    log.start(101, "worker-1", pid=77)  # the next worker with this name
    log.write(105, "worker-1", "stopped", pid=77, worked=0, **NOTHING)
    run = run_of(log, tmp_path)
    [lane] = run.lanes
    assert [one.outcome for one in lane.deliveries] == ["killed", "lost", "lost"]
    assert [process.killed < 2 for process in lane.processes] == [True, False]
    assert run.counts["lost"] == len(mishaps(run)) == 3
    assert sorted(words(run)) == ["killed", "lost", "lost"]


@pytest.fixture
def mess() -> Log:
    """Return a journal with every kind of failure."""
    log = Log()
    for worker in WORKERS:
        log.start(98, worker, acknowledge=True, prefetch=2)
    one, two, three = WORKERS
    for number, message in enumerate(["aaaa", "b", "cccccc", "ddd", "ee", "f"]):
        log.send(100 + number * 0.1, number, message)
    log.work(100.01, one, log.receive(100.01, one, 0, "aaaa"), "lost")
    log.work(100.11, two, log.receive(100.11, two, 1, "b"), "requeued", why="boom")
    delivery = log.receive(100.21, three, 2, "cccccc")
    log.work(100.21, three, delivery, end=None)
    log.write(101, three, "abandoned", returned=True, **delivery)
    log.write(101, three, "abandoned", returned=True, **log.receive(100.51, three, 5, "f"))
    log.write(101, three, "stopped", worked=0, lost=0, returned=2, failed=0)
    log.work(100.62, two, log.receive(100.62, two, 1, "b", True), "rejected", why="boom")
    log.work(102.1, one, log.receive(100.31, one, 3, "ddd"))
    log.work(101.2, two, log.receive(101.1, two, 2, "cccccc", True))
    delivery = log.receive(100.41, two, 4, "ee")
    log.write(104.5, two, "connection_lost", why="reset")
    log.write(104.9, two, "connection_back")
    log.work(104.3, two, delivery, acknowledged=False)
    log.work(104.6, one, log.receive(104.6, one, 4, "ee", True))
    log.write(106, one, "stopped", worked=2, lost=0, returned=1, failed=0)
    log.work(106.1, two, log.receive(106.1, two, 0, "aaaa", True))
    return log


def test_every_mishap_has_its_outcome_and_arrow(mess, tmp_path):
    run = run_of(mess, tmp_path)
    found = {
        (one.message.text, one.redelivered): one for lane in run.lanes for one in lane.deliveries
    }
    assert {key: (one.outcome, one.fate) for key, one in found.items() if one.fate != "worked"} == {
        ("aaaa", False): ("returned", "returned"),  # as it was not acknowledged
        ("b", False): ("returned", "returned"),
        ("b", True): ("failed", "failed"),
        ("cccccc", False): ("abandoned", "returned"),
        ("f", False): ("returned", "returned"),
    }
    repeated = sorted(text for (text, _), one in found.items() if one.is_repeated)
    assert repeated == ["aaaa", "b", "cccccc", "ee"]
    assert [key for key, one in found.items() if one.again] == [("ee", True)]
    assert run.counts == {"tasks": 6, "worked": 4, "lost": 0, "returned": 4, "failed": 1,
                          "left": 1, "redelivered": 4, "duplicates": 1}  # fmt: skip
    said = mishaps(run)
    assert "  0.61 s, 'b' at worker-2: returned; handed out again to worker-2" in said
    assert "  1.1 s, 'b' at worker-2: failed; moved to 'films.failed'" in said
    assert "  1.0 s, 'f' at worker-3: never begun; returned to the queue" in said
    assert depth_at(run, 1.05) == (2, 4)  # "cccccc" and "f" are back, "aaaa" is held
    assert depth_at(run, 4.55) == (2, 1)  # so is "ee": its connection is lost
    assert run.depth[-1][1:] == (1, 0)
    assert len(Scene([run]).panels[0].arrows) == 3  # "b" came back at once, to the same worker


def test_message_set_aside_before_its_work_began_has_failed(tmp_path):
    """The worker moves a message that a quorum queue would drop at its next return."""
    log = Log()
    log.start(98, "worker-1", acknowledge=True, prefetch=1)
    log.send(100, 1, "heavy")
    delivery = log.receive(100.1, "worker-1", 1, "heavy", redelivered=True)
    log.write(100.2, "worker-1", "rejected", why="returned 20 times, never done", **delivery)
    run = run_of(log, tmp_path)
    assert (run.counts["failed"], run.counts["left"]) == (1, 0)
    assert mishaps(run) == ["  0.2 s, 'heavy' at worker-1: failed; moved to 'films.failed'"]
    assert run.depth[-1][1:] == (0, 0)
    log.work(110, "worker-1", log.receive(110, "worker-1", 1, "heavy"))  # after it was moved back
    run = run_of(log, tmp_path)
    assert (run.counts["worked"], run.counts["failed"]) == (1, 0)


@pytest.mark.parametrize(("acknowledge", "fate"), [(True, "returned"), (False, "lost")])
def test_message_lost_on_purpose_returns_if_it_was_not_acknowledged(tmp_path, acknowledge, fate):
    log = Log()
    log.start(98, "worker-1", acknowledge=acknowledge)
    log.send(100, 1, "aa")
    log.work(100.1, "worker-1", log.receive(100.1, "worker-1", 1, "aa"), "lost")
    log.write(102, "worker-1", "stopped", worked=0, **NOTHING)
    run = run_of(log, tmp_path)
    assert run.lanes[0].deliveries[0].fate == fate
    assert run.counts["left"] == (fate == "returned")
    assert words(run) == [fate]
    assert "killed by" not in show([run], 80)


def test_without_message_ids_the_text_tells_which(tmp_path):
    log = Log()
    for worker in WORKERS[:2]:
        log.start(99, worker, acknowledge=True, prefetch=1)
    for number in range(2):  # the same text twice makes two tasks
        log.work(100 + number, "worker-2", log.receive(100 + number, "worker-2", None, "a"))
    log.work(102, "worker-1", log.receive(102, "worker-1", None, "b"), end=None)
    log.work(103, "worker-2", log.receive(103, "worker-2", None, "b", redelivered=True))
    run = run_of(log, tmp_path)
    assert run.lanes[0].deliveries[0].after is run.lanes[1].deliveries[-1]
    assert (run.counts["tasks"], run.counts["worked"], run.counts["duplicates"]) == (3, 3, 0)
    assert "unknown" in run.warnings[0]
    assert "first free worker" not in show([run], 80)  # the sending times are unknown


def test_consumer_only_takes_messages(tmp_path):
    log = Log()
    log.write(99, "consumer.py-7", "started", script="consumer.py", queue="films")
    log.send(100, 1, "a")
    delivery = log.receive(100.1, "consumer.py-7", 1, "a")
    log.write(100.1, "consumer.py-7", "done", acknowledged=True, **delivery)
    run = run_of(log, tmp_path)
    [panel] = Scene([run]).panels
    assert [box[:3] for box in panel.shapes if box.kind == "done"] == [
        ("done", approx(0.1), approx(0.1))
    ]
    assert (run.counts["worked"], run.tasks) == (1, [])


def test_two_of_one_name_at_a_time_have_two_lanes(tmp_path):
    log = Log()
    for worker, pid in (("w-10", 3), ("w-9", 1), ("w-9", 2)):
        log.start(99, worker, pid=pid)
        log.write(105, worker, "stopped", pid=pid, worked=0, **NOTHING)
    run = run_of(log, tmp_path)
    assert [lane.worker for lane in run.lanes] == ["w-9", "w-10", "w-9 (2)"]


def test_files_of_one_run_are_put_together(tmp_path):
    lines = fair().lines()
    paths = []
    for worker in ("producer", *WORKERS):
        paths.append(tmp_path / f"{worker}.jsonl")
        mine = [line for line in lines if json.loads(line)["worker"] == worker]
        paths[-1].write_text("\n".join(mine))
    run = Run([*paths, paths[0]])
    assert run.counts == run_of(fair(), tmp_path).counts
    assert run.name == "producer.jsonl and 4 more"


def test_machines_are_compared_by_utc(tmp_path):
    here, there = Log(), Log("eve-laptop", booted=BOOTED - timedelta(days=9))
    here.start(990, "worker-1", acknowledge=True)
    here.send(995, 1, "aaaa")
    here.work(995, "worker-1", here.receive(995, "worker-1", 1, "aaaa"), end=None)
    later = 9 * 86400 + 996
    there.start(later, "worker-2", acknowledge=True)
    there.work(later, "worker-2", there.receive(later, "worker-2", 1, "aaaa", True))
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(there.lines() + here.lines()))
    assert [spans(lane)[0][1:] for lane in Run([path]).lanes] == [(0, 1, "killed"), (1, 3, "done")]


# ---- the bounds


def best(tasks: list[tuple[float, float]], workers: int) -> float:
    """Return the shortest possible finishing time, by trying every share in every order."""
    times = []
    for order in itertools.permutations(tasks):
        for shared in itertools.product(range(workers), repeat=len(tasks)):
            free_at = [0.0] * workers
            for (sent, seconds), worker in zip(order, shared, strict=True):
                free_at[worker] = max(free_at[worker], sent) + seconds
            times.append(max(free_at))
    return min(times)


def test_no_sharing_is_quicker_than_the_bound():
    dice = random.Random(7)
    tight = 0
    for _ in range(60):
        count = dice.randint(1, 5)
        tasks = sorted((dice.choice([0, 0, 3]), dice.randint(1, 9)) for _ in range(count))
        workers = dice.randint(1, 2)
        bound, least = figures.shortest_time(tasks, workers), best(tasks, workers)
        assert bound <= least + 1e-9 <= figures.time_in_turn(tasks, workers) + 2e-9
        tight += bound == approx(least)
    assert tight > 20


def test_bounds_of_known_tasks():
    for seconds, workers, shortest in (
        ([3, 3, 3, 3], 3, 6),  # two of four share a worker
        ([2] * 7, 3, 6),  # three of seven share a worker
        ([9, 1, 1], 3, 9),
    ):
        assert figures.shortest_time([(0.0, one) for one in seconds], workers) == shortest
    assert figures.time_in_turn([(0.0, one) for one in [6, 1, 1] * 4], 3) == 13


def test_no_task_begins_before_it_was_sent(tmp_path):
    tasks = [(float(number), 0.4) for number in range(5)]  # one a second
    assert figures.time_in_turn(tasks, 2) == approx(4.4)
    assert figures.shortest_time(tasks, 2) == approx(4.4)
    log = Log()
    log.start(99, "worker-1")
    for number in range(5):
        log.send(100 + number, number, "a")
        log.work(100.01 + number, "worker-1", log.receive(100.01 + number, "worker-1", number, "a"))
    said = " ".join(show([run_of(log, tmp_path)], 80).split())
    assert "quicker than 4.5 s; each in turn to the first free worker would take 4.5 s" in said


# ---- odd journals


def test_lines_that_are_left_out_are_one_warning(tmp_path):
    log = in_turn()
    for time in (101, 102):
        log.write(time, "worker-1", "danced\x1b[2J", style="tango")
    log.write(103, "worker-1", "done", v=2)
    log.write(104, "worker-1", "done")  # without its delivery
    good = json.loads(log.lines()[0])
    wrong = [{"utc": 5}, {"pid": None}, {"event": []}, {"utc": "yesterday"}, {"pid": 1e999},
             {"event": "done", "connection": {}, "delivery_tag": 1}]  # fmt: skip
    lines = [json.dumps({**good, **change}) for change in wrong]
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join([good_line[:90] for good_line in lines[:1]] + lines + log.lines()))
    run = Run([path])
    assert run.warnings == [
        f"{path}: lines left out: 11 (cut or unknown in version 1, the first is line 1)"
    ]
    assert run.counts["worked"] == 12


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"hello\nworld\n", "is not a journal"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50, "is not a journal"),
        (b"[" * 100_000, "is not a journal"),
        (b'[1]\n{"v": 1}\n"a"\nnull\n1e999\n', "is not a journal"),
        (b'{"v": 9, "event": "done"}\n', "is not a journal of version 1"),
    ],
)
def test_file_without_a_journal_is_one_line(tmp_path, content, said):
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(Trouble, match=said) as trouble:
        Run([path])
    assert trouble.value.code == 1 and trouble.value.hint.startswith("the three scripts write")


# ---- the scene, and the calls to matplotlib


def words(run: Run) -> list[str]:
    """Return the words of a scene at the ends of its boxes."""
    return [shape.word for panel in Scene([run]).panels for shape in panel.shapes if shape.word]


def figure_of(runs: list[Run], title: str = ""):
    with matplotlib.rc_context(picture.SETTINGS):
        return picture.Picture(Scene(runs, title)).figure


def found(axes, gid: str) -> list:
    """Return the artists of an axes with this name."""
    return [artist for artist in axes.get_children() if (artist.get_gid() or "").startswith(gid)]


def test_waiting_tasks_have_rows_and_names(tmp_path):
    run = run_of(in_turn(), tmp_path)
    waiting = [one for one in Scene([run]).panels[0].shapes if one.kind == "waiting"]
    assert [(one.text, one.row, round(one.end)) for one in waiting[:3]] == [
        (LONG, 1, 3), (LONG, 2, 6), (LONG, 3, 9)
    ]  # fmt: skip
    log = Log()
    log.start(99, "worker-1")
    for number in range(9):
        log.send(100, number, "zz")
        log.work(100 + number, "worker-1", log.receive(100, "worker-1", number, "zz"))
    shapes = Scene([run_of(log, tmp_path)]).panels[0].shapes
    assert [one.text for one in shapes if one.kind == "waiting"] == ["zz", "zz", "zz", "5 more"]


def test_lane_says_how_busy_it_was_and_its_options(tmp_path):
    for log, busy, options in (
        (in_turn(), ["100% busy", "17% busy", "17% busy"], "automatic acknowledgement"),
        (fair(), ["100% busy", "88% busy", "100% busy"], "--acknowledge --prefetch 1"),
    ):
        run = run_of(log, tmp_path)
        assert [notes(lane, run.end) for lane in run.lanes] == [[one, options] for one in busy]
        labels = [text.get_text() for text in found(figure_of([run]).axes[0], "label")]
        assert labels[1] == f"worker-2\n{busy[1]}\n{options}"


def test_broker_outage_is_one_band_and_a_lost_connection_is_none(mess, tmp_path):
    assert Scene([run_of(mess, tmp_path)]).panels[0].outages == []  # one worker of three
    log = Log()
    for worker in WORKERS:
        log.start(98, worker, acknowledge=True)
    log.send(100, 1, "aaaa")
    log.work(100, "worker-1", log.receive(100, "worker-1", 1, "aaaa"))
    for number, worker in enumerate(WORKERS):
        log.write(103 + number / 100, worker, "connection_lost", why="reset")
        log.write(106 - number / 100, worker, "connection_back")
    log.send(107, 2, "a")
    log.work(107, "worker-2", log.receive(107, "worker-2", 2, "a"))
    run = run_of(log, tmp_path)
    [panel] = Scene([run]).panels
    assert panel.outages == [(approx(3.02), approx(5.98))]
    assert [len(found(axes, "outage")) for axes in figure_of([run]).axes] == [1, 1]
    lanes = show([run], 80).splitlines()[3:9]
    assert all(re.search("~{20}", line) for line in lanes)


def test_picture_has_a_box_for_each_bar_and_wait(mess, tmp_path):
    run = run_of(mess, tmp_path)
    scene = Scene([run])
    kinds = Counter(shape.kind for shape in scene.panels[0].shapes)
    assert (kinds["done"], kinds["again"], kinds["vain"], kinds["waiting"]) == (4, 1, 4, 4)
    lanes, depth = figure_of([run]).axes
    assert len(found(lanes, "bar-")) == 13
    assert (len(found(lanes, "redelivered")), len(found(lanes, "arrow"))) == (4, 3)
    assert {"returned", "abandoned", "failed", "again"} == {
        text.get_text() for text in found(lanes, "word")
    }
    assert {"aaaa", "ddd", "f"} <= {text.get_text() for text in found(lanes, "message")}
    highest = max(arrow.get_zorder() for arrow in found(lanes, "arrow"))  # behind all the others
    for gid in ("bar-", "message", "word"):
        assert all(artist.get_zorder() > highest for artist in found(lanes, gid))
    assert found(depth, "ready") and found(depth, "held")
    legend = {text.get_text() for text in figure_of([run]).legends[0].get_texts()}
    assert {"working, done", "no connection", "lost, returned, failed or killed"} <= legend
    assert "the worker was killed" not in " ".join(legend)


def test_texts_of_the_picture_stay_inside_it_and_apart(mess, tmp_path):
    runs = [run_of(in_turn(), tmp_path, "in-turn.jsonl"), run_of(fair(), tmp_path, "fair.jsonl"),
            run_of(mess, tmp_path, "mess.jsonl")]  # fmt: skip
    for some in ([runs[0]], runs[:2], runs[2:]):
        with matplotlib.rc_context(picture.SETTINGS):
            figure = figure_of(some, "A title")
            figure.savefig(io.BytesIO(), format="png")
            renderer = figure._get_renderer()
            texts = [text for text in figure.texts if text.get_text()]
            for axes in figure.axes:
                texts += [text for text in axes.texts if text.get_text()]
            texts.append(figure.legends[0])
            boxes = {text: text.get_window_extent(renderer) for text in texts}
        for text, box in boxes.items():
            assert box.x0 >= 0 and box.y0 >= 0, text
            assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text
        for (one, box), (other, beside) in itertools.combinations(boxes.items(), 2):
            apart = box.x1 <= beside.x0 + 1 or beside.x1 <= box.x0 + 1
            apart = apart or box.y1 <= beside.y0 + 2 or beside.y1 <= box.y0 + 2
            assert apart, (one, other)


def test_compared_runs_have_the_same_scales(tmp_path):
    runs = [run_of(in_turn(), tmp_path, "in-turn.jsonl"), run_of(fair(), tmp_path)]
    axes = figure_of(runs).axes
    assert len(axes) == 4
    assert len({one.get_xlim() for one in axes}) == 1
    assert axes[1].get_ylim() == axes[3].get_ylim()
    said = show(runs, 80)
    assert said.index("in-turn.jsonl: 3 workers") < said.index("run.jsonl: 3 workers")
    assert "all done 12.0 s" in said and "all done 8.5 s" in said
    assert "run.jsonl (8.5 s) finished 3.5 s before in-turn.jsonl (12.0 s)" in said


NASTY = "$x$ </svg><script>alert(1)</script>&amp;[red]\x1b[2J\u202eabc\ud800\x00"


def test_files_are_drawn_one_and_all_and_nasty_texts_do_nothing(mess, tmp_path):
    log = Log()
    log.start(99, NASTY, acknowledge=True)
    log.send(100, 1, NASTY)
    log.work(100, NASTY, log.receive(100, NASTY, 1, NASTY), "requeued", why=NASTY)
    lines = [json.dumps(json.loads(line)) for line in log.lines()]
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(lines + mess.lines()))
    names = ["a.svg", "b.svg", "c.png", "d.html"]
    outputs = [part for name in names for part in ("-o", tmp_path / name)]
    done = timeline(path, *outputs, "--title", "Lab <5>")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(f" [*] Drawn: {tmp_path / name}\n" for name in names)
    svg, again, png, page = (tmp_path.joinpath(name).read_bytes() for name in names)
    assert svg == again and png.startswith(b"\x89PNG")
    root = ElementTree.fromstring(svg)
    texts = {"".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Lab <5>", "cccccc", "returned", "messages"} <= texts
    titles = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("'ee' at worker-1") and "done again" in title for title in titles)
    assert page.startswith(b"<!DOCTYPE html>") and page.count(b"<svg") == 1
    assert not re.findall(rb"""(?:src|href)=["'](?!#)""", page)
    said = timeline(path).stdout
    for text in (svg.decode(), page.decode(), said):
        assert not set("\x1b\u202e\x00") & set(text)
        assert "$x$" in text and ("<script" not in text or text is said)


# ---- the terminal


def show(runs: list[Run], width: int, title: str = "", **how) -> str:
    """Return the terminal's output."""
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, highlight=False, emoji=False, **how)
    terminal.draw(Scene(runs, title), console)
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
def test_picture_fits_the_terminal(mess, tmp_path, width):
    runs = [run_of(mess, tmp_path), run_of(fair(), tmp_path, "fair.jsonl")]
    said = show(runs, width, title="Two runs, one above the other, to be compared")
    assert max(map(cell_len, said.splitlines())) < width
    assert len([line for line in said.splitlines() if line.startswith("worker-")]) == 6
    flat = " ".join(said.split())
    for what in ("Two runs,", "working, done", "redelivered", "no connection", "75% busy"):
        assert what in flat
    # A figure and its unit stay on one line.
    assert not re.search(r"\d\n\s*(s\b|tasks|workers)", said)
    assert not re.search(r"(tasks|worked|lost|returned)\n\s*\d", said)


def test_lines_break_between_words_only():
    text = "no way to share 12 tasks among 3 workers can be quicker than 12.1 s"
    for width in range(20, 70):
        lines = wrap(text, width)
        assert " ".join(lines) == text
        assert max(map(len, lines)) <= width
        assert "12.1 s" in lines[-1]


def test_long_names_keep_their_ends(tmp_path):
    log = Log()
    for number in (1, 2):
        log.start(99, f"qprocessor.py-on-the-server-of-ada-{number}")
    names = [line for line in show([run_of(log, tmp_path)], 60).splitlines() if "of-ada-" in line]
    assert [re.match(r"…\S+of-ada-(\d) ", line)[1] for line in names] == ["1", "2"]


def test_lane_shows_waiting_working_loss_and_return(tmp_path):
    lines = show([run_of(fair(), tmp_path)], 100).splitlines()
    one, _, three = (line for line in lines if line.startswith("worker-"))
    assert re.fullmatch(r"worker-1 ▐dddddd▒+x", one)
    assert three.index("█rdddddd█") == one.index("x")
    assert re.search(r"█rdddddd█+▐a█+▐a█+▐dddddd█", three)  # the next one has its edge
    below = lines[lines.index(one) + 1]
    assert re.fullmatch(r" +│ 100% busy, --acknowledge --prefetch 1", below)
    waiting = show([run_of(in_turn(), tmp_path)], 100).splitlines()
    assert re.fullmatch(r" {9}░dddddd░+", waiting[4])


def test_ascii_terminal_gets_ascii(mess, tmp_path):
    mess.send(107, 99, "käse")
    path = mess.save(tmp_path / "run.jsonl")
    done = timeline(path, PYTHONIOENCODING="ascii", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert "|aaaa%" in done.stdout and "ready" in done.stdout and done.stdout.isascii()


def test_colour_is_only_for_terminals(tmp_path):
    run = run_of(fair(), tmp_path)
    assert "\x1b" not in show([run], 80)
    assert "\x1b[36m" in show([run], 80, force_terminal=True, color_system="256")


# ---- the command


def test_each_error_is_a_line_and_its_exit_code(tmp_path):
    run = in_turn().save(tmp_path / "run.jsonl")
    for arguments, code, said in (
        ([tmp_path / "none"], 1, "cannot read"),
        ([tmp_path], 1, "is a directory"),
        ([run, "-o", tmp_path / "run.pdf"], 2, "must end in .svg, .png, .html"),
        (["--compare", run], 2, "two files"),
        ([run, "-o", tmp_path / "none" / "run.svg"], 1, "cannot write"),
    ):
        failed = timeline(*arguments)
        assert failed.returncode == code and said in failed.stderr
        assert "Traceback" not in failed.stderr
    svg = run.rename(tmp_path / "run.svg")
    assert "is one of the journals" in timeline(svg, "-o", svg).stderr
    assert "Traceback" in timeline("-v", tmp_path).stderr


def test_pipe_gets_100_columns_and_its_reader_may_leave_early(tmp_path):
    path = in_turn().save(tmp_path / "run.jsonl")
    done = timeline(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(cell_len, done.stdout.splitlines())) == 99
    with subprocess.Popen(
        [sys.executable, ROOT / "labs/timeline.py", path], stdout=subprocess.PIPE
    ) as program:
        program.stdout.close()
        assert program.wait(timeout=60) == 0
