"""labs/measure.py: in the quick mode, on the shared broker, and what it makes of figures."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
from speed import life, plot, report
from speed.model import RATE, Contender, Measurement, Metric, Result, Target
from speed.program import LINUX, Failed, Program

from conftest import Lab, wait_until
from kit.exercise.proxy import Proxy

ROOT = Path(__file__).parent.parent
MEASURE = ROOT / "labs" / "measure.py"
MILLISECONDS = Metric("time", "ms")


def measure(*options: object, url: str = "amqp://localhost:1") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, MEASURE, *map(str, options)],
        env=os.environ | {"AMQP_URL": url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )


def result(metric: Metric, *targets: Target, **values: list[float]) -> Result:
    contenders = tuple(Contender(name, "kit" if name == "kit" else "peer", dict) for name in values)
    measurement = Measurement("name", "Title", (metric,), contenders, "kit", targets)
    rounds = {name: [{metric.name: one} for one in every] for name, every in values.items()}
    return Result(measurement, rounds)


# ---- the command


def test_quick_run_measures_everything_and_leaves_nothing(lab: Lab, tmp_path: Path):
    files = [tmp_path / f"r.{ending}" for ending in ("json", "md", "svg")]
    done = measure("--quick", *(word for file in files for word in ("-o", file)), url=lab.url)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(files[0].read_text())
    listed = measure("--list").stdout.split("\n")
    assert [one["name"] for one in found["measurements"]] == [
        line.split()[0] for line in listed if line
    ]
    for one in found["measurements"]:
        for metric in one["metrics"]:
            if metric["unit"].startswith(("CPU", "MiB")) and not LINUX:
                continue
            assert len(metric["contenders"]) >= 2, metric
            if metric["name"] not in ("idle", "cpu"):  # so little that it may be nothing
                assert all(c["median"] > 0 for c in metric["contenders"].values()), metric
    assert "pika" in found["machine"]
    assert "## working-1" in files[1].read_text()
    xml.etree.ElementTree.parse(files[2])
    # Not at once: the page may answer from its cache.
    wait_until(lambda: not lab.broker.api("GET", f"queues/{lab.vhost}"), "no queue left")


def test_only_takes_whole_names_and_beginnings():
    assert len(measure("--list", "--only", "working-1").stdout.splitlines()) == 1
    assert len(measure("--list", "--only", "sending,sharing").stdout.splitlines()) == 2
    assert len(measure("--list", "--only", "sending-,working").stdout.splitlines()) == 6


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
    done = measure(*options)
    assert done.returncode == code
    first, second = done.stderr.splitlines()
    assert says in first
    assert second.startswith("  try: ")


def test_a_lost_broker_is_said_and_what_there_is_is_kept(lab: Lab, tmp_path: Path):
    proxy, page = Proxy(lab.broker.port), tmp_path / "figures.md"
    url = f"amqp://127.0.0.1:{proxy.port}/{lab.vhost}"
    command = [sys.executable, MEASURE, "--quick", "--rounds", "3", "--only", "calling,sharing"]
    running = subprocess.Popen(
        [*command, "-o", page],
        env=os.environ | {"AMQP_URL": url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
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
    only = f"{first},sharing"
    command = [sys.executable, MEASURE, "--quick", "--rounds", "9", "--only", only]
    environment = os.environ | {"AMQP_URL": lab.url, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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
    # Not at once: the page may answer from its cache.
    wait_until(lambda: not lab.broker.api("GET", f"queues/{lab.vhost}"), "no queue left")


# ---- what it makes of the figures


def test_ratio_is_that_of_the_medians():
    found = result(RATE, kit=[10, 30, 20], other=[1, 5, 4])
    assert found.ratio("kit", "rate", "other") == 5
    assert found.spread("kit", "rate").least == 10
    assert found.ratio("kit", "rate", "nobody") is None


@pytest.mark.parametrize(
    ("metric", "kit", "word"),
    [(RATE, 80, "pass"), (RATE, 79, "behind"), (MILLISECONDS, 80, "pass"),
     (MILLISECONDS, 81, "behind")],
)  # fmt: skip
def test_target_is_a_floor_or_a_ceiling(metric: Metric, kit: float, word: str):
    found = result(metric, Target(metric.name, "kit", 0.8, "other"), kit=[kit], other=[100])
    assert [verdict for verdict, _ in report.judged([found])] == [word]


def test_best_peer_is_found_and_a_missing_one_is_left_out():
    target = Target("time", "kit", 2, "the best peer")
    found = result(MILLISECONDS, target, kit=[5], quick=[3], slow=[9])
    assert "of quick" in report.judged([found])[0][1]
    assert not report.judged([result(MILLISECONDS, target, kit=[5])])


def test_what_cannot_be_measured_is_a_dash_everywhere():
    found = result(MILLISECONDS, Target("time", "kit", 1, "other"), kit=[None], other=[3])
    assert report.judged([found])[0][0] == "not measured"
    assert "  -" in report.as_text(found)
    json.loads(report.as_json({}, "", [found]))
    xml.etree.ElementTree.fromstring(plot.as_svg({}, "a & b", [found]))


def test_bound_of_first_come_first_served():
    assert life.bound(["xx", "x", "x", "x"], 1) == 3
    assert life.bound(life.TASKS, 0.1) == pytest.approx(6.3)


# ---- programs


def run(code: str, tmp_path: Path, **options) -> Program:
    return Program([sys.executable, "-c", code], dict(os.environ), tmp_path, **options)


def test_program_counts_lines_and_says_why_it_ended(tmp_path: Path):
    program = run("print(' [x] Done\\n' * 3); raise SystemExit('no more')", tmp_path)
    assert program.wait_for(b"Done", 3)[1] == 3
    with pytest.raises(Failed, match="3 of 4 messages, then it ended .no more"):
        program.wait_for(b"Done", 4)
    program.close()


@pytest.mark.skipif(not LINUX, reason="only known on Linux")
def test_memory_is_the_program_s_own_and_its_children_s(tmp_path: Path):
    ballast = bytearray(80_000_000)  # ours, which a new process must not be blamed for
    small = run("print(' [x] Done', flush=True); input()", tmp_path, stdin=Path("/dev/zero"))
    small.wait_for(b"Done")
    memory = small.usage().memory
    small.close()
    assert 3 < memory < 40
    ended = run("x = bytearray(60_000_000); import time; time.sleep(0.2)", tmp_path)
    used = ended.wait(memory=True)
    assert 60 < used.memory < 100
    ended.close()
    del ballast
