"""labs/timeline.py: what is drawn for known journals, and for odd ones."""

import collections
import heapq
import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time as time_module
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pytest import approx
from rich.cells import cell_len

import timeline
from kit.timeline import figures as figures
from kit.timeline import file as timeline_file
from kit.timeline import run as timeline_run
from kit.timeline import scene as scene

ROOT = Path(__file__).resolve().parents[1]
LONG, SHORT = "dddddd", "a"  # half a second a character
TASKS = [LONG, SHORT, SHORT] * 4
WORKERS = ("worker-1", "worker-2", "worker-3")
NOTHING = {"lost": 0, "returned": 0, "failed": 0}  # in a worker's `stopped`
BOOTED = datetime(2026, 11, 21, 14, 0, tzinfo=timezone.utc)


class Log:
    """Write a journal as labs/journal.md has it, with times of our choice."""

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
        """Bring a delivery; return what its other events repeat."""
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
        """Write the file."""
        path.write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")
        return path


def in_turn(begin: float = 100.0) -> Log:
    """Three workers, automatic acknowledgement: all tasks are handed out at once, in turn."""
    log, free = Log(), dict.fromkeys(WORKERS, 0.0)
    for number, worker in enumerate(WORKERS):
        log.start(begin - 2 + number / 10, worker)
    log.write(begin - 0.1, "producer", "started", script="producer.py", queue="films",
              acknowledge=None, prefetch=None)  # fmt: skip
    for number, message in enumerate(TASKS):
        time, worker = begin + number / 1000, WORKERS[number % 3]
        log.send(time, number, message)
        delivery = log.receive(time + 0.001, worker, number, message)
        free[worker] = log.work(max(time + 0.001, free[worker]), worker, delivery)
    log.write(begin + 0.1, "producer", "stopped", count=len(TASKS))
    for worker in WORKERS:
        log.write(begin + 12.5, worker, "stopped", worked=4, **NOTHING)
    return log


def fair(begin: float = 100.0, killed_at: float | None = 1.5) -> Log:
    """Three workers with --prefetch 1; the first is killed in its first task."""
    log, waiting = Log(), [(begin + n / 1000, n, TASKS[n], False) for n in range(len(TASKS))]
    log.write(begin - 0.1, "producer", "started", script="producer.py", queue="films",
              acknowledge=None, prefetch=None)  # fmt: skip
    for number, worker in enumerate(WORKERS):
        log.start(begin - 2 + number / 10, worker, acknowledge=True, prefetch=1)
    for time, number, message, _ in waiting:
        log.send(time, number, message)
    free = [(begin + n / 1000 + 0.001, worker) for n, worker in enumerate(WORKERS)]
    while waiting:
        time, worker = heapq.heappop(free)
        ready = next((task for task in waiting if task[0] <= time), waiting[0])
        waiting.remove(ready)
        time = max(time, ready[0])
        delivery = log.receive(time, worker, ready[1], ready[2], redelivered=ready[3])
        if worker == "worker-1" and killed_at:
            log.work(time, worker, delivery, end=None)
            waiting.insert(0, (begin + killed_at, ready[1], ready[2], True))
            killed_at = None
            continue
        heapq.heappush(free, (log.work(time, worker, delivery) + 0.001, worker))
    log.write(begin + 0.2, "producer", "stopped", count=len(TASKS))
    ended = max(time for time, _ in free) + 0.5
    for _, worker in free:
        log.write(ended, worker, "stopped", worked=6, **NOTHING)
    return log


def run_of(log: Log, tmp_path: Path, name: str = "run.jsonl") -> timeline_run.Run:
    return timeline_run.read_run([log.save(tmp_path / name)])


def spans(lane: timeline_run.Lane) -> list[tuple]:
    """Return message, begin of the work, end and outcome of a lane's bars; times to 0.1 s."""
    return [(bar.message, *(None if time is None else round(time, 1)
             for time in (bar.begun, bar.end)), bar.outcome) for bar in lane.bars]  # fmt: skip


def depth_at(run: timeline_run.Run, time: float) -> tuple:
    """Return what is ready and held at a time."""
    return next(step[1:] for step in reversed(run.depth) if step.time <= time)


# ---- what is drawn of known journals


def test_in_turn_all_tasks_are_handed_out_at_once(tmp_path):
    run = run_of(in_turn(), tmp_path)
    assert [lane.worker for lane in run.lanes] == list(WORKERS)
    assert spans(run.lanes[0]) == [(LONG, 3.0 * n, 3.0 * n + 3, "done") for n in range(4)]
    assert spans(run.lanes[2]) == [(SHORT, n / 2, n / 2 + 0.5, "done") for n in range(4)]
    waits = scene.find_waits(run.lanes[0], now=run.end, least=0.1, most_rows=6)
    assert [(wait.row, round(wait.end)) for wait in waits] == [(0, 3), (1, 6), (2, 9)]
    assert depth_at(run, 0.1) == (0, 12)
    assert depth_at(run, 11) == (0, 1)
    assert (run.links, run.notes, run.settings) == ([], [], "automatic acknowledgement")
    f = run.figures
    assert (f.tasks, f.worked, f.lost, f.left, f.redelivered, f.duplicates) == (12, 12, 0, 0, 0, 0)
    assert f.finish == approx(12, abs=0.01)
    assert (f.bound, f.first_come) == (approx(6), approx(6.5))


def test_killed_worker_is_told_by_what_others_got(tmp_path):
    run = run_of(fair(), tmp_path)
    assert spans(run.lanes[0]) == [(LONG, 0, 1.5, "cut")]
    assert [(life.killed, round(life.ended, 1)) for life in run.lanes[0].lives] == [(True, 1.5)]
    [link] = run.links
    assert link.lost is run.lanes[0].bars[0]
    assert link.again.redelivered and link.again.succeeded and link.again in run.lanes[2].bars
    f = run.figures
    assert (f.tasks, f.worked, f.lost, f.redelivered, f.duplicates) == (12, 12, 0, 1, 0)
    assert f.finish == approx(8.5, abs=0.1)
    assert depth_at(run, 0.2) == (9, 3)
    assert depth_at(run, 1.4) == (6, 3)
    assert depth_at(run, 8) == (0, 1)
    assert "killed; handed out again to worker-3, done there at 4.5 s" in scene.tell_mishaps(run)[0]


def test_worker_that_goes_on_is_not_called_killed(tmp_path):
    log = Log()
    for worker in WORKERS[:2]:
        log.start(98, worker)
    log.send(100, 1, "aaaaaa")
    log.work(100.1, "worker-1", log.receive(100.1, "worker-1", 1, "aaaaaa"), end=None)
    log.send(100.2, 2, "b")
    log.work(100.3, "worker-2", log.receive(100.3, "worker-2", 2, "b"))
    run = run_of(log, tmp_path)
    assert spans(run.lanes[0]) == [("aaaaaa", 0.1, None, "working")]
    assert (run.figures.left, run.figures.lost) == (1, 0)
    log.write(200, "worker-2", "stopped", worked=1, **NOTHING)  # long after it was due
    run = run_of(log, tmp_path)
    assert spans(run.lanes[0]) == [("aaaaaa", 0.1, 3.1, "cut")]
    assert (run.figures.left, run.figures.lost) == (0, 1)


def test_automatic_acknowledgement_loses_what_waits_at_a_killed_worker(tmp_path):
    log = Log()
    log.start(98, "worker-1")
    for number in range(3):
        log.send(100, number, "aaaa")
        delivery = log.receive(100.01, "worker-1", number, "aaaa")
        if number == 0:
            log.work(100.02, "worker-1", delivery, end=None)
    log.start(101, "worker-1", pid=77)  # the next one of this name
    log.write(105, "worker-1", "stopped", pid=77, worked=0, **NOTHING)
    run = run_of(log, tmp_path)
    [lane] = run.lanes
    assert [bar.outcome for bar in lane.bars] == ["cut", "lost", "lost"]
    assert [bar.gone for bar in lane.bars] == [True] * 3
    assert [life.killed for life in lane.lives] == [True, False]
    assert (run.figures.lost, run.figures.workers) == (3, 1)
    assert len(scene.tell_mishaps(run)) == 3
    words = {text.get_text() for text in found(picture_of([run]).figure.axes[0], "word")}
    assert words == {"killed", "2 lost, never begun"}
    assert re.search(r"^ +2░+x$", show([run], 80), re.MULTILINE)


@pytest.fixture
def mess() -> Log:
    """Return a journal in which everything goes wrong that has a name."""
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


def test_every_mishap_has_its_outcome_and_link(mess, tmp_path):
    run = run_of(mess, tmp_path)
    found = {(bar.message, bar.redelivered): bar for bar in run.bars}
    outcomes = {key: bar.outcome for key, bar in found.items()}
    assert outcomes == {
        ("aaaa", False): "lost", ("aaaa", True): "done",
        ("b", False): "requeued", ("b", True): "rejected",
        ("cccccc", False): "abandoned", ("cccccc", True): "done",
        ("ddd", False): "done", ("ee", False): "done", ("ee", True): "done",
        ("f", False): "returned",
    }  # fmt: skip
    assert sorted(link.lost.message for link in run.links) == ["aaaa", "b", "cccccc", "ee"]
    assert [key for key, bar in found.items() if bar.again] == [("ee", True)]
    assert [key for key, bar in found.items() if bar.gone] == []
    assert {key: bar.fate for key, bar in found.items() if not bar.succeeded} == {
        ("aaaa", False): "returned",  # as it was not acknowledged
        ("b", False): "returned",
        ("b", True): "failed",
        ("cccccc", False): "returned",
        ("f", False): "returned",
    }
    assert run.lanes[1].gaps == [(approx(4.5), approx(4.9))]
    f = run.figures
    assert (f.tasks, f.worked, f.lost, f.left, f.redelivered, f.duplicates) == (6, 4, 0, 1, 4, 1)
    assert (f.returned, f.failed) == (4, 1)
    counts = "tasks 6   worked 4   lost 0   returned 4   failed 1   left 1"
    assert figures.in_words(f)[0] == f"{counts}   redelivered 4   duplicates 1"
    said = scene.tell_mishaps(run)
    assert "0.61 s, 'b' at worker-2: returned; handed out again to worker-2" in said
    assert "1.1 s, 'b' at worker-2: failed; moved to 'films.failed'" in said
    assert depth_at(run, 1.05) == (2, 4)  # "cccccc" and "f" are back, "aaaa" is held
    assert depth_at(run, 4.55) == (2, 1)  # so is "ee": its connection is lost
    assert run.depth[-1][1:] == (1, 0)


def test_message_set_aside_before_its_work_began_has_failed(tmp_path):
    """The worker moves what a quorum queue would drop at its next return."""
    log = Log()
    log.start(98, "worker-1", acknowledge=True, prefetch=1)
    log.send(100, 1, "heavy")
    delivery = log.receive(100.1, "worker-1", 1, "heavy", redelivered=True)
    log.write(100.2, "worker-1", "rejected", why="returned 20 times, never done", **delivery)
    log.write(101, "worker-1", "stopped", worked=0, lost=0, returned=0, failed=1)
    run = run_of(log, tmp_path)
    f = run.figures
    assert (f.tasks, f.worked, f.lost, f.returned, f.failed, f.left) == (1, 0, 0, 0, 1, 0)
    assert scene.tell_mishaps(run) == [
        "0.20 s, 'heavy' at worker-1: failed; moved to 'films.failed'"
    ]
    assert run.depth[-1][1:] == (0, 0)
    picture_of([run])


def test_failed_message_that_was_moved_back_and_done_is_worked(tmp_path):
    log = Log()
    log.start(98, "worker-1", acknowledge=True, prefetch=1)
    log.send(100, 1, "bb")
    log.work(100.1, "worker-1", log.receive(100.1, "worker-1", 1, "bb", True), "rejected")
    log.work(110, "worker-1", log.receive(110, "worker-1", 1, "bb"))
    run = run_of(log, tmp_path)
    assert (run.figures.worked, run.figures.failed, run.figures.lost) == (1, 0, 0)
    assert len(run.links) == 1


@pytest.mark.parametrize(
    ("acknowledge", "expected"), [(True, ("returned", 0, 1, 1)), (False, ("lost", 1, 0, 0))]
)
def test_message_lost_on_purpose_returns_if_it_was_not_acknowledged(
    tmp_path, acknowledge, expected
):
    log = Log()
    log.start(98, "worker-1", acknowledge=acknowledge)
    log.send(100, 1, "aa")
    log.work(100.1, "worker-1", log.receive(100.1, "worker-1", 1, "aa"), "lost")
    run = run_of(log, tmp_path)
    f, (bar,) = run.figures, run.bars
    assert (bar.fate, f.lost, f.returned, f.left) == expected
    assert {text.get_text() for text in found(picture_of([run]).figure.axes[0], "word")} == {
        bar.fate
    }


def test_without_message_ids_the_text_tells_which(tmp_path):
    log = Log()
    for worker in WORKERS[:2]:
        log.start(99, worker, acknowledge=True, prefetch=1)
    for number in range(2):  # the same text twice: two tasks
        log.work(100 + number, "worker-2", log.receive(100 + number, "worker-2", None, "a"))
    log.work(100, "worker-1", log.receive(100, "worker-1", None, "a"), end=None)
    log.work(102, "worker-2", log.receive(102, "worker-2", None, "a", redelivered=True))
    log.write(103, "worker-2", "stopped", worked=3, **NOTHING)
    run = run_of(log, tmp_path)
    assert [(link.lost.outcome, link.again.received) for link in run.links] == [("cut", 2)]
    assert (run.figures.tasks, run.figures.worked, run.figures.duplicates) == (3, 3, 0)
    assert run.depth[0] == (0, None, 2)  # nobody tells what is in the queue
    assert "unknown" in run.notes[0]


def test_consumer_only_takes_messages(tmp_path):
    log = Log()
    log.write(99, "consumer.py-7", "started", script="consumer.py", queue="films",
              acknowledge=False, prefetch=None)  # fmt: skip
    log.send(100, 1, "a")
    delivery = log.receive(100.1, "consumer.py-7", 1, "a")
    log.write(100.1, "consumer.py-7", "done", acknowledged=True, **delivery)
    run = run_of(log, tmp_path)
    assert [scene.work_span(bar, now=1) for bar in run.bars] == [(approx(0.1), approx(0.1))]
    assert (run.figures.worked, run.figures.bound) == (1, None)


def test_two_of_one_name_at_a_time_have_two_lanes(tmp_path):
    log = Log()
    log.start(99, "w", pid=1)
    log.start(99, "w", pid=2)
    for pid in (1, 2):
        log.write(105, "w", "stopped", pid=pid, worked=0, **NOTHING)
    run = run_of(log, tmp_path)
    assert [lane.worker for lane in run.lanes] == ["w", "w (2)"]
    assert "tells of no message" in run.notes[0]


def test_files_of_one_run_are_put_together(tmp_path):
    lines = fair().lines()
    paths = []
    for worker in ("producer", *WORKERS):
        paths.append(tmp_path / f"{worker}.jsonl")
        mine = [line for line in lines if json.loads(line)["worker"] == worker]
        paths[-1].write_text("\n".join(mine))
    run = timeline_run.read_run([*paths, paths[0]])
    assert run.figures == run_of(fair(), tmp_path).figures
    assert run.notes == [f"{paths[0]} is given twice: read once"]


# ---- the bound


def best(seconds: list[float], workers: int) -> float:
    """Return the shortest finishing time there is, by trying all."""
    return min(
        max(sum(s for s, w in zip(seconds, shared, strict=True) if w == k) for k in range(workers))
        for shared in itertools.product(range(workers), repeat=len(seconds))
    )


def test_no_sharing_is_quicker_than_the_bound():
    dice = random.Random(7)
    tight = 0
    for _ in range(150):
        seconds = [dice.randint(1, 9) for _ in range(dice.randint(1, 7))]
        workers = dice.randint(1, 3)
        bound, least = figures.shortest(seconds, workers), best(seconds, workers)
        assert bound <= least + 1e-9 <= figures.first_come(seconds, workers) + 2e-9
        tight += bound == approx(least)
    assert tight > 50


def test_bound_and_first_come_of_known_tasks():
    assert figures.shortest([3, 3, 3, 3], 3) == 6  # two of four share a worker
    assert figures.shortest([2] * 7, 3) == 6  # three of seven share a worker
    assert figures.shortest([9, 1, 1], 3) == 9
    assert figures.first_come([6, 1, 1] * 4, 3) == 13
    assert figures.first_come([], 2) == 0


# ---- odd journals


def test_cut_line_is_left_out_and_what_is_glued_to_it_read(tmp_path):
    lines = in_turn().lines()
    whole = run_of(in_turn(), tmp_path).figures
    path = tmp_path / "odd.jsonl"
    begun = next(n for n, line in enumerate(lines) if '"working"' in line)
    torn = lines[:begun] + [lines[begun][:70] + lines[begun + 1]] + lines[begun + 2 :]
    path.write_text("\n".join(torn))
    run = timeline_run.read_run([path])
    assert run.notes == [f"{path}, line {begun + 1} is cut or no JSON: left out"]
    assert (run.figures.tasks, run.figures.worked) == (whole.tasks, whole.worked)
    path.write_text("\n".join(lines[:begun] + ["".join(lines[begun : begun + 2])]))
    assert timeline_run.read_run([path]).notes == []  # two whole ones in a line are two
    path.write_text("\n".join([*lines, lines[0][:50]]))
    assert "cut or no JSON" in timeline_run.read_run([path]).notes[0]
    path.write_text("\n".join([*(line[:90] for line in lines[:9]), *lines[9:]]))
    assert "9 lines are cut or no journal's" in timeline_run.read_run([path]).notes[0]


def test_unknown_events_and_versions_are_counted(tmp_path):
    log = in_turn()
    for time in (101, 102):
        log.write(time, "worker-1", "danced\x1b[2J", style="tango")
    log.write(103, "worker-1", "done", v=2)
    log.write(104, "worker-1", "done")  # of which delivery?
    run = run_of(log, tmp_path)
    told = "\n".join(run.notes)
    assert "2 lines of unknown event 'danced" in told and "\x1b" not in told
    assert "1 line of version 2 of the format (known here: 1): left out" in told
    assert "is no line of a journal: left out" in told
    assert run.figures.worked == 12


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_wall_clock_that_jumps_does_no_harm(tmp_path, jump):
    log = in_turn()
    path = log.save(tmp_path / "run.jsonl")
    expected = timeline_run.read_run([path])
    records = [json.loads(line) for line in log.lines()]
    for record in records:
        if record["monotonic"] > 104:
            utc = datetime.fromisoformat(record["utc"].replace("Z", "+00:00"))
            record["utc"] = (utc + timedelta(seconds=jump)).isoformat().replace("+00:00", "Z")
    path.write_text("\n".join(map(json.dumps, records)))
    run = timeline_run.read_run([path])
    assert [spans(lane) for lane in run.lanes] == [spans(lane) for lane in expected.lanes]
    assert len(run.notes) == 1
    assert "wall clock of ada-laptop moved by 3600.0 s" in run.notes[0]


def test_machine_started_again_and_other_machines_are_put_together_by_wall_clock(tmp_path):
    before, after = Log(), Log(booted=BOOTED + timedelta(seconds=1000))
    other = Log("eve-laptop", booted=BOOTED - timedelta(days=9))
    before.start(990, "worker-1", acknowledge=True)
    before.send(995, 1, "aaaa")
    before.work(995, "worker-1", before.receive(995, "worker-1", 1, "aaaa"), end=None)
    after.start(5, "worker-1", acknowledge=True, pid=9)
    after.work(6, "worker-1", after.receive(6, "worker-1", 1, "aaaa", True, pid=9), pid=9)
    other.start(9 * 86400 + 1007, "worker-2")
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(before.lines() + after.lines() + other.lines()))
    run = timeline_run.read_run([path])
    assert run.notes == ["3 machines: put together by their wall clocks"]
    assert [lane.lives[-1].started for lane in run.lanes] == [approx(10), approx(12)]


def test_silence_may_be_the_gap_between_two_runs(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(in_turn().lines() + in_turn(begin=500).lines()).replace("m1", "n1"))
    assert "nothing to do for 388 s from 12 s on" in timeline_run.read_run([path]).notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"hello\nworld\n", "is not a journal"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50, "is not a journal"),
        (b"[" * 100_000, "is not a journal"),
        (b'[1]\n{"v": 1}\n"a"\nnull\n1e999\n', "is not a journal"),
        (b'{"v": 9, "event": "done"}\n', "1 line of version 9"),
    ],
)
def test_file_without_a_journal_is_one_line(tmp_path, capsys, content, said):
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    assert timeline.main([str(path)]) == 1
    error = capsys.readouterr().err
    assert f"timeline.py: error: {path}" in error and said in error
    assert len(error.splitlines()) == 2 and "try: a journal is what --journal" in error


def test_values_of_the_wrong_kind_are_left_out(tmp_path):
    log = in_turn()
    good = json.loads(log.lines()[-1])
    wrong = [{"monotonic": "x"}, {"monotonic": float("nan")}, {"utc": 5}, {"pid": None},
             {"event": []}, {"event": "done", "connection": {}, "delivery_tag": 1},
             {"utc": "yesterday"}, {"monotonic": 10**400}]  # fmt: skip
    path = tmp_path / "run.jsonl"
    more = [json.dumps({**good, **change}) for change in wrong]
    path.write_text("\n".join(log.lines() + more))
    run = timeline_run.read_run([path])
    assert "8 lines are cut or no journal's" in run.notes[0]
    assert run.figures.worked == 12


# ---- what is handed to matplotlib, and the files


def picture_of(runs: list[timeline_run.Run]):
    """Return the picture as matplotlib has it."""
    from kit.timeline.draw import Picture

    with timeline_file.own_settings():
        return Picture(runs)


def found(axes, gid: str) -> list:
    """Return the artists of an axes that bear this name."""
    return [artist for artist in axes.get_children() if (artist.get_gid() or "").startswith(gid)]


def test_picture_has_a_box_for_each_bar_and_wait(mess, tmp_path):
    run = run_of(mess, tmp_path)
    picture = picture_of([run])
    lanes, depth = picture.figure.axes
    boxes = found(lanes, "bar-")
    waits = scene.find_waits(run.lanes[0], run.end, picture.until / 300, 6)
    assert len(waits) == 1
    kinds = collections.Counter(box.get_label() for box in boxes)
    assert kinds == {"done": 4, "again": 1, "vain": 4, "waiting": 3, "returned": 1}
    assert len({box.get_gid() for box in boxes}) == len(boxes) == len(picture.told)
    assert len(found(lanes, "link")) == 4
    assert len(found(lanes, "redelivered")) == 4
    words = {text.get_text() for text in found(lanes, "word")}
    assert words >= {"returned", "abandoned", "failed", "again"}
    assert not words & {"lost", "rejected"}
    assert [label.get_text() for label in lanes.get_yticklabels()] == list(WORKERS)
    assert len(found(depth, "ready")) == 2 and len(found(depth, "held")) == 1
    assert {"done": None, "vain": "/////"} == {
        kind: next(box.get_hatch() for box in boxes if box.get_label() == kind)
        for kind in ("done", "vain")
    }
    legend = {text.get_text() for text in picture.figure.legends[0].get_texts()}
    assert {"working, done", "no connection", "finishing time", "held by workers"} <= legend


def test_texts_of_the_picture_stay_inside_it_and_apart(mess, tmp_path):
    runs = [run_of(in_turn(), tmp_path, "in-turn.jsonl"), run_of(fair(), tmp_path, "fair.jsonl"),
            run_of(mess, tmp_path, "mess.jsonl")]  # fmt: skip
    for shown in ([runs[0]], runs[:2], runs[2:]):
        with timeline_file.own_settings():
            figure = picture_of(shown).figure
            figure.savefig(io.BytesIO(), format="png")
            renderer = figure._get_renderer()
            boxes = {text: text.get_window_extent(renderer) for text in figure.texts}
            boxes |= {
                text: text.get_window_extent(renderer)
                for axes in figure.axes
                for text in axes.texts
                if text.get_gid() in (None, "word")
            }
            boxes[figure.legends[0]] = figure.legends[0].get_window_extent(renderer)
        for text, box in boxes.items():
            assert box.x0 >= 0 and box.y0 >= 0, text
            assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text
        for (one, box), (other, beside) in itertools.combinations(boxes.items(), 2):
            apart = box.x1 <= beside.x0 + 1 or beside.x1 <= box.x0 + 1
            apart = apart or box.y1 <= beside.y0 + 2 or beside.y1 <= box.y0 + 2
            assert apart, (one, other)


def test_compared_runs_share_an_axis_and_tell_both_times(tmp_path, capsys):
    one = in_turn().save(tmp_path / "in-turn.jsonl")
    other = fair(begin=900).save(tmp_path / "fair.jsonl")
    runs = [timeline_run.read_run([path]) for path in (one, other)]
    picture = picture_of(runs)
    assert len({axes.get_xlim() for axes in picture.figure.axes}) == 1
    assert len(picture.figure.axes) == 4
    tops = [axes.get_position().y1 for axes in picture.figure.axes]
    assert tops == sorted(tops, reverse=True)
    assert timeline.main(["--compare", str(one), str(other)]) == 0
    said = capsys.readouterr().out
    assert said.index("in-turn.jsonl: 3 workers") < said.index("fair.jsonl: 3 workers")
    assert "all done 12.0 s" in said and "all done 8.5 s" in said
    assert "fair.jsonl (8.5 s) finished 3.5 s before in-turn.jsonl (12.0 s)" in said


def test_svg_is_text_and_the_same_each_time(mess, tmp_path):
    path = str(mess.save(tmp_path / "run.jsonl"))
    for name in ("a.svg", "b.svg", "c.png"):
        assert timeline.main([path, "-o", str(tmp_path / name)]) == 0
    svg = (tmp_path / "a.svg").read_bytes()
    assert svg == (tmp_path / "b.svg").read_bytes()
    root = ElementTree.fromstring(svg)
    texts = {"".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"worker-1", "cccccc", "returned", "failed", "messages"} <= texts
    titles = ["".join(t.itertext()) for t in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("'ee' at worker-1") and "done again" in title for title in titles)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


NASTY = "$x$ </svg><script>alert(1)</script>&amp;[red]\x1b[2J\u202eabc\ud800\x00"


def test_nasty_texts_do_nothing_to_page_or_terminal(tmp_path, capsys):
    log = Log()
    log.start(99, NASTY, acknowledge=True)
    log.send(100, 1, NASTY)
    delivery = log.receive(100, NASTY, 1, NASTY)
    log.work(100, NASTY, delivery, "requeued", why=NASTY)
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(map(json.dumps, map(json.loads, log.lines()))))
    page, svg = tmp_path / "page.html", tmp_path / "page.svg"
    assert timeline.main([str(path), "-o", str(page)]) == 0
    assert timeline.main([str(path), "-o", str(svg)]) == 0
    ElementTree.fromstring(svg.read_bytes())
    for text in (page.read_text(), svg.read_text()):
        assert "<script" not in text
        assert not set("\x1b\u202e\x00") & set(text)
        assert "$x$" in text
    capsys.readouterr()
    assert timeline.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "[red]" in said and not set("\x1b\u202e\x00") & set(said)


def test_page_is_whole_by_itself(mess, tmp_path):
    path = mess.save(tmp_path / "run.jsonl")
    page = tmp_path / "page.html"
    assert timeline.main([str(path), "-o", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>") and text.count("<svg") == 1
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", text)
    cells = re.findall(r"<t[hd]>(.*?)</t[hd]>", text)
    columns = len(cells) // 2
    row = dict(zip(cells[:columns], cells[columns:], strict=True))
    assert (row["tasks"], row["worked"], row["duplicates"]) == ("6", "4", "1")
    assert (row["lost"], row["returned"], row["failed"]) == ("0", "4", "1")
    assert "no way to share" in text and "What came to nothing" in text


# ---- the terminal


def show(runs: list[timeline_run.Run], width: int, encoding: str = "utf-8", **how) -> str:
    """Return what the terminal gets."""
    from rich.console import Console

    from kit.timeline import terminal as timeline_terminal

    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding=encoding, errors="strict")
    console = Console(file=file, width=width, markup=False, highlight=False, emoji=False, **how)
    timeline_terminal.show(runs, console)
    file.flush()
    return buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
def test_picture_fits_the_terminal(mess, tmp_path, width):
    said = show([run_of(mess, tmp_path), run_of(fair(), tmp_path, "fair.jsonl")], width)
    assert max(map(cell_len, said.splitlines())) < width
    lanes = [line for line in said.splitlines() if line.startswith("worker-")]
    assert len(lanes) == 6
    for what in ("working, done", "redelivered", "waiting at the worker", "no connection"):
        assert what in said
    assert "tasks 6   worked 4" in said.replace("\n", "   ")


def test_lane_shows_waiting_working_loss_and_return(tmp_path):
    lines = show([run_of(fair(), tmp_path)], 100).splitlines()
    one, _, three = (line for line in lines if line.startswith("worker-"))
    assert re.fullmatch(r"worker-1 ▐dddddd▒+x", one)
    assert three.index("█rdddddd█") + 1 - one.index("x") in (-1, 0, 1)
    assert any("│" in line for line in lines)
    waiting = show([run_of(in_turn(), tmp_path)], 100).splitlines()
    assert re.fullmatch(r" {9}3░+2░+1░+", waiting[3])


def test_ascii_terminal_gets_ascii(mess, tmp_path):
    mess.send(107, 99, "käse")
    said = show([run_of(mess, tmp_path)], 80, encoding="ascii")
    assert "|aaaa%" in said and "ready" in said


def test_colour_is_only_for_terminals_that_want_it(tmp_path, monkeypatch):
    run = run_of(fair(), tmp_path)
    assert "\x1b" not in show([run], 80)
    coloured = show([run], 80, force_terminal=True, color_system="256")
    assert "\x1b[36m" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "36" not in re.findall(r"\x1b\[([0-9;]*)m", show([run], 80, force_terminal=True))


def test_many_lanes_and_bars_are_drawn_without_texts(tmp_path):
    log = Log()
    for number in range(3000):
        time, worker = 100 + number / 100, f"worker-{number % 50}"
        if number < 50:
            log.start(99, worker)
        log.send(time, number, "zzz")
        log.work(time, worker, log.receive(time, worker, number, "zzz"))
    run = run_of(log, tmp_path)
    began = time_module.monotonic()
    assert scene.is_crowded([run])
    picture = picture_of([run])
    assert not found(picture.figure.axes[0], "message")
    assert len(picture.figure.axes[0].collections) == 50
    said = show([run], 80)
    assert "zzz" not in said and len([x for x in said.splitlines() if x[:7] == "worker-"]) == 50
    assert time_module.monotonic() - began < 20


# ---- the command


def test_each_error_is_a_line_and_its_exit_code(tmp_path, capsys, monkeypatch):
    run = str(in_turn().save(tmp_path / "run.jsonl"))
    svg = tmp_path / "run.svg"
    svg.write_text("")

    def fails(*arguments: str) -> tuple[int, str]:
        try:
            code = timeline.main(list(arguments))
        except SystemExit as end:
            code = end.code
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return code, error

    assert fails(str(tmp_path / "none"))[0] == 1
    code, error = fails(str(tmp_path))
    assert code == 1 and "is a directory" in error
    code, error = fails(run, "-o", str(tmp_path / "run.pdf"))
    assert code == 2 and "must end in .svg, .png, .html" in error
    code, error = fails("--compare", run)
    assert code == 2 and "two files" in error
    code, error = fails(str(svg), "-o", str(svg))
    assert code == 2 and "is one of the journals" in error
    code, error = fails(run, "-o", str(tmp_path / "none" / "run.svg"))
    assert code == 1 and "cannot write" in error
    monkeypatch.setattr(timeline_file.importlib.util, "find_spec", lambda name: None)
    code, error = fails(run, "-o", str(svg))
    assert code == 1 and "pip install matplotlib" in error
    code, error = fails(run)
    assert code == 1 and "pip install rich" in error


def test_verbose_shows_the_traceback(tmp_path, capsys):
    assert timeline.main(["-v", str(tmp_path)]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_program_runs_and_reader_may_leave_early(tmp_path):
    path = in_turn().save(tmp_path / "run.jsonl")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    command = [sys.executable, ROOT / "labs/timeline.py", path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(cell_len, done.stdout.splitlines())) == 99  # piped: 100 columns
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as program:
        program.stdout.close()
        assert program.wait(timeout=60) == 0
