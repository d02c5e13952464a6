"""Test labs/measure.py: its quick mode on the shared broker, and its handling of figures.

The speed of the scripts is not tested here, as other tests run meanwhile. measure.py itself does
that on a quiet machine: it compares the scripts with its targets.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from speed import measurements, plot, report
from speed.contenders import Contender
from speed.measurements import RATE, TASKS, first_come_first_served
from speed.program import DONE, LINUX, RECEIVED, Failed, Program, wait_for
from speed.result import BEST_PEER, Measurement, Metric, Result, Target

from conftest import Lab, wait_until
from kit.exercise.proxy import Proxy

ROOT = Path(__file__).parent.parent
MEASURE = ROOT / "labs" / "measure.py"
MILLISECONDS = Metric("time", "ms")


def start(*options: object, url: str = "amqp://localhost:1") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, MEASURE, *map(str, options)],
        env=os.environ | {"AMQP_URL": url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def measure(*options: object, url: str = "amqp://localhost:1") -> tuple[int, str, str]:
    """Run the command; return its exit code, stdout and stderr."""
    running = start(*options, url=url)
    output, errors = running.communicate(timeout=400)
    return running.returncode, output, errors


def listed(only: str) -> list[str]:
    """Return the names that --list prints."""
    _, output, _ = measure("--list", "--only", only)
    return [line.split()[0] for line in output.splitlines()]


def no_queue_is_left(lab: Lab) -> None:
    # Wait, as the page may answer from its cache.
    wait_until(lambda: not lab.broker.api("GET", f"queues/{lab.vhost}"), "no queue left")


def result(metric: Metric, **values: list[float]) -> Result:
    kinds = {name: "kit" if name == "kit" else "peer" for name in values}
    contenders = [Contender(name, kind) for name, kind in kinds.items()]
    measurement = Measurement("name", "Title", (metric,), contenders, "kit", dict)
    rounds = {name: [{metric.name: one} for one in every] for name, every in values.items()}
    return Result(measurement, rounds)


# ---- the command


@pytest.mark.parametrize(
    "family", ["sending", "reading", "working", "calling,living,redelivering,sharing", "growing"]
)
def test_quick_run_measures_everything_and_leaves_nothing(family: str, lab: Lab, tmp_path: Path):
    files = [tmp_path / f"r.{ending}" for ending in ("json", "md", "svg")]
    words = [word for file in files for word in ("-o", file)]
    code, output, errors = measure("--quick", "--only", family, *words, url=lab.url)
    assert code == 0, output + errors
    found = json.loads(files[0].read_text())
    assert "pika" in found["machine"]
    assert list(found["measurements"]) == listed(family)
    everything = []
    for name, measurement in found["measurements"].items():
        assert f"\n{name}: " in output
        assert f"## {name}\n" in files[1].read_text()
        assert not measurement["failed"]
        assert len(measurement["values"]) >= 2
        for (values,) in measurement["values"].values():  # one round
            assert set(values) == set(measurement["units"])
            everything += values.values()
    # On a busy machine some rates may be unknown, and CPU time may be close to zero.
    assert any(everything) and all(value is None or value >= 0 for value in everything)
    xml.etree.ElementTree.parse(files[2])
    no_queue_is_left(lab)


def test_everything_belongs_to_a_family_that_is_tested():
    names = {name.partition("-")[0] for name in listed("")}
    families = "sending reading working calling living redelivering sharing growing"
    assert names == set(families.split())


def test_only_takes_whole_names_and_beginnings():
    assert listed("working-1") == ["working-1"]
    assert listed("sending,sharing") == ["sending", "sharing"]
    assert len(listed("sending-,working")) == 6


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--only", "flying"], 2, "there is nothing called 'flying' to measure"),
        (["-o", "a.txt"], 2, "the name must end in .json, .md, .svg"),
        (["-o", "/no/such/folder/a.md"], 2, "there is no such folder"),
        (["--quick", "--full"], 2, "not allowed with"),
        (["--quick"], 3, "cannot reach RabbitMQ at localhost:1"),
    ],
)
def test_mistakes_are_one_line_and_what_to_try(options: list[str], code: int, says: str):
    returned, _, errors = measure(*options)
    assert returned == code
    first, second = errors.splitlines()
    assert says in first
    assert second.startswith("  try: ")


def test_a_lost_broker_is_said_and_what_there_is_is_kept(lab: Lab, tmp_path: Path):
    proxy, page = Proxy(lab.broker.port), tmp_path / "figures.md"
    url = f"amqp://127.0.0.1:{proxy.port}/{lab.vhost}"
    options = ["--quick", "--rounds", 3, "--only", "calling,sharing", "-o", page]
    running = start(*options, url=url)
    for line in running.stdout:
        if line.startswith("calling:"):
            break
    proxy.close()
    _, errors = running.communicate(timeout=90)
    assert running.returncode == 3
    assert "[!] The broker is lost: " in errors
    assert "Traceback" not in errors
    assert "## calling" in page.read_text()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way there")
@pytest.mark.parametrize(
    ("number", "first"), [(signal.SIGINT, "sending"), (signal.SIGTERM, "calling")]
)
def test_ctrl_c_prints_what_there_is_and_leaves_nothing(number: int, first: str, lab: Lab):
    # Later measurements take a while, and their targets need peers.
    only = f"{first},redelivering,growing"
    running = start("--quick", "--rounds", 3, "--only", only, url=lab.url)
    for line in running.stdout:
        if line.startswith(f"{first}:"):
            break
    wait_until(lambda: lab.broker.api("GET", f"queues/{lab.vhost}"), "a queue of the next one")
    running.send_signal(number)
    rest, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert ("What the kit wants to reach" in rest) == (first == "sending")
    assert "Stopped by Ctrl-C" in errors
    assert "Traceback" not in errors
    no_queue_is_left(lab)


# ---- its handling of figures


def test_ratio_is_that_of_the_medians():
    found = result(RATE, kit=[10, 30, 20], other=[1, 5, 4])
    assert list(found.spreads(RATE)) == ["kit", "other"]  # more is better
    assert found.spreads(RATE)["kit"][1:] == (20, 10, 30)
    judged = [found.judge(Target("name", RATE, "kit", 5, than)) for than in ("other", "nobody")]
    assert judged == [
        ("pass", "name: kit has 5.00 x the messages/s of other (wanted: at least 5)"),
        None,
    ]


@pytest.mark.parametrize(
    ("metric", "kit", "verdict"),
    [
        (RATE, 80, "pass"),
        (RATE, 79, "behind"),
        (MILLISECONDS, 80, "pass"),
        (MILLISECONDS, 81, "behind"),
    ],
)
def test_target_is_a_floor_or_a_ceiling(metric: Metric, kit: float, verdict: str):
    found = result(metric, kit=[kit], other=[100])
    assert found.judge(Target("name", metric, "kit", 0.8, "other"))[0] == verdict


def test_best_peer_is_found_and_a_missing_one_is_left_out():
    target = Target("name", MILLISECONDS, "kit", 2, BEST_PEER)
    assert "of quick" in result(MILLISECONDS, kit=[5], quick=[3], slow=[9]).judge(target)[1]
    assert not result(MILLISECONDS, kit=[5]).judge(target)


def test_every_target_names_what_is_measured():
    by_name = {one.name: one for one in measurements.measurements(measurements.QUICK)}
    for target in measurements.TARGETS:
        measurement = by_name[target.measurement]
        names = {contender.name for contender in measurement.contenders}
        assert target.metric in measurement.metrics
        assert {target.contender, target.than} - {BEST_PEER} <= names
    assert all(one.baseline in {who.name for who in one.contenders} for one in by_name.values())


def test_what_cannot_be_measured_is_a_dash_everywhere():
    found = result(MILLISECONDS, kit=[None], other=[3])
    verdict = ("unknown", "name: kit or other could not be measured for noise")
    assert found.judge(Target("name", MILLISECONDS, "kit", 1, "other")) == verdict
    assert "  -" in report.as_text(found)
    assert "| kit | - |  |  |" in report.as_markdown({}, "", [found])
    json.loads(report.as_json({}, "", [found]))
    xml.etree.ElementTree.fromstring(plot.as_svg({}, "a & b", [found]))


def test_bound_of_first_come_first_served():
    assert first_come_first_served(["xx", "x", "x", "x"], 1) == 3
    assert first_come_first_served(TASKS, 0.1) == pytest.approx(6.3)


# ---- programs


@contextlib.contextmanager
def running(code: str, folder: Path, stdin: bytes = b"") -> Iterator[Program]:
    program = Program([sys.executable, "-c", code], dict(os.environ), folder, stdin)
    yield program
    program.kill()
    program.wait()


def test_program_counts_lines_and_says_why_it_ended(tmp_path: Path):
    code = "print(' [x] Done\\n' * 3); raise SystemExit('no more')"
    with running(code, tmp_path) as program:
        wait_for(DONE, 3, program)
        assert program.count(DONE) == 3
        with pytest.raises(Failed, match="3 of 4 messages, then it stopped .no more"):
            wait_for(DONE, 4, program)
        with pytest.raises(Failed, match="it ended with 1 .no more"):
            program.run_to_end()


def test_program_counts_lines_on_both_streams_however_they_are_cut(tmp_path: Path):
    code = """
import os, sys
os.write(1, b" [x] Rec")
input()
os.write(1, b"eived 'a'\\n")
os.write(2, b" [x] Done\\n")
"""
    with running(code, tmp_path, b"go\n") as program:
        wait_for(DONE, 1, program)
        wait_for(RECEIVED, 1, program)


def test_program_in_trouble_is_not_waited_for(tmp_path: Path):
    code = "import sys, time; print(' [!] Lost', file=sys.stderr, flush=True); time.sleep(600)"
    with running(code, tmp_path) as program:
        with pytest.raises(Failed, match=r"0 of 1 messages, then it stopped \(\[!\] Lost"):
            wait_for(DONE, 1, program)
        with pytest.raises(Failed, match="it is in trouble"):
            program.run_to_end()


@pytest.mark.skipif(not LINUX, reason="only known on Linux")
def test_memory_is_the_program_s_own_and_its_children_s(tmp_path: Path):
    ballast = bytearray(80_000_000)  # our own memory, which must not count for a new process
    say_so_and_wait = "print(' [x] Done', flush=True); import time; time.sleep(600)"
    with running(say_so_and_wait, tmp_path) as small:
        wait_for(DONE, 1, small)
        assert 3 < small.memory() < 40
    child = f"x = bytearray(60_000_000); {say_so_and_wait}"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with running(code, tmp_path) as large:
        wait_for(DONE, 1, large)
        assert 60 < large.memory() < 140
    del ballast
