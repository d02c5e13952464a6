"""Test labs/demo.py: on its own broker, several at a time, leaving nothing behind."""

import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT, Lab, Run, Script, wait_until
from kit.broker.network import amqp_answers, free_port

NOT_COPIED = shutil.ignore_patterns(".*", "*-data", "*.egg-info", "demo", "__pycache__")


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Return a copy of the kit, so that the demo draws its pictures there and not in ours."""
    shutil.copytree(ROOT, tmp_path / "kit", ignore=NOT_COPIED)
    (tmp_path / "brokers").mkdir()
    (tmp_path / "brokers" / "unpacked").symlink_to(ROOT / ".broker" / "unpacked")
    return tmp_path / "kit"


@pytest.fixture
def start(run: Run, kit: Path) -> Iterator[Run]:
    """Return a function that starts a demo; its private broker lives beside the kit."""
    demos: list[Script] = []

    def begin(**how) -> Script:
        env = {"QUEUE_LAB_BROKER_DIR": str(kit.parent / "brokers")}
        demos.append(run(kit / "labs" / "demo.py", env=env, **how))
        return demos[-1]

    yield begin
    for demo in demos:  # leave no broker running even if a test failed
        if demo.process.poll() is None:
            demo.terminate()
            demo.wait(within=60)


def port_of(demo: Script) -> int:
    """Wait until the private broker is up; return its port."""
    line = demo.wait_for(" [*] RabbitMQ ", within=120).text
    return int(re.search(r"is up after .* on port (\d+)$", line)[1])


def assert_nothing_runs(demo: Script, kit: Path) -> None:
    """Check that a demo leaves no programs, no broker and no data behind."""
    queues = set(re.findall(r"'(demo-\w+)'", demo.text()))
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes().decode(errors="replace"))
            commands.append(os.readlink(path.with_name("cwd")))  # epmd's command has no folder
        except OSError:  # it has just ended
            continue
    marks = {*queues, str(kit.parent / "brokers" / "demo-")}
    assert [line for line in commands if any(mark in line for mark in marks)] == []
    if port := re.search(r"is up after .* on port (\d+)", demo.text()):
        assert not amqp_answers(int(port[1]))


def assert_killed_in_the_middle(journal: Path) -> None:
    """Check that worker-1 was half through its task when the broker gave the task to another."""
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    working, *more = [event for event in events if event["worker"] == "worker-1"][2:]
    assert (working["event"], more) == ("working", [])
    [again] = [event for event in events if event.get("redelivered")]
    assert again["message_id"] == working["message_id"]
    assert again["monotonic"] - working["monotonic"] >= working["seconds"] / 2


def the_error(demo: Script) -> tuple[str, str]:
    error, hint = demo.text("stderr").splitlines()
    assert error.startswith("demo.py: error: ") and hint.startswith("  try: ")
    return error, hint


def test_two_demos_at_once_run_on_brokers_of_their_own_and_leave_nothing(start: Run, kit: Path):
    with socket.socket() as other:  # the demo must ignore any program on the usual port
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 5672))
            other.listen()
        except OSError:
            pass  # a broker uses the port already
        demos = [start(), start()]
        assert port_of(demos[0]) != port_of(demos[1])
        for demo in demos:
            assert demo.wait(within=180) == 0, demo.text()
    for demo in demos:
        assert len(demo.find("    sent 12   worked 12   redelivered 0   lost 0")) == 1
        assert len(demo.find("    sent 12   worked 12   redelivered 1   lost 0")) == 1
        assert demo.text("stderr").splitlines() == [
            " [!] worker-1 is killed in the middle of a task (SIGKILL)"
        ]
        assert demo.text("stdout").endswith("a broker of your own, for all worksheets")
        lines = demo.text("stdout").splitlines()
        assert [line for line in lines if len(line) > 80 and "Drawn: " not in line] == []
        assert_nothing_runs(demo, kit)
    kept = {path.name for path in (kit / "demo").iterdir()}
    assert kept == {"in-turn.jsonl", "fair.jsonl", "timeline.svg"}
    assert_killed_in_the_middle(kit / "demo" / "fair.jsonl")
    assert [path.name for path in (kit.parent / "brokers").iterdir()] == ["unpacked"]


@pytest.mark.parametrize(
    ("when", "stop"), [("Starting RabbitMQ", "interrupt"), ("Received 'dddddd'", "terminate")]
)
def test_ctrl_c_leaves_nothing(start: Run, kit: Path, stop, when):
    demo = start()
    demo.wait_for(when, within=120)
    getattr(demo, stop)()
    assert demo.wait(within=60) == 130
    assert "Traceback" not in demo.text()
    assert demo.text("stderr") == " [!] Stopped by Ctrl-C."
    assert_nothing_runs(demo, kit)
    assert [path.name for path in (kit.parent / "brokers").iterdir()] == ["unpacked"]


def test_with_amqp_url_it_runs_there(start: Run, lab: Lab):
    demo = start(lab=lab)
    demo.wait_for("Received 'dddddd'", within=60)
    assert not demo.find("private node")
    (queue,) = lab.broker.api("GET", f"queues/{lab.vhost}")
    assert queue["name"].startswith("demo-")
    demo.interrupt()
    assert demo.wait(within=60) == 130
    wait_until(lambda: not lab.broker.api("GET", f"queues/{lab.vhost}"), "its queue is deleted")


def test_with_amqp_url_and_no_broker_there_it_says_so_at_once(start: Run):
    port = free_port()
    demo = start(url=f"amqp://127.0.0.1:{port}")
    assert demo.wait() == 3
    error, hint = the_error(demo)
    assert error.endswith(f"cannot reach RabbitMQ at 127.0.0.1:{port} (Connection refused)")
    assert f"labs/broker.py up --port {port}" in hint and "unset AMQP_URL" in hint
    assert demo.text("stdout") == ""


def test_with_amqp_url_that_is_refused_it_says_so_at_once(start: Run, lab: Lab):
    demo = start(url=f"{lab.url}-nosuch")
    assert demo.wait() == 4
    error, hint = the_error(demo)
    assert f"vhost {lab.vhost}-nosuch not found" in error and "--vhost" in hint


def test_a_program_that_fails_ends_the_demo_at_once(start: Run, lab: Lab):
    name = f"u-{uuid.uuid4().hex[:8]}"
    lab.broker.api("PUT", f"users/{name}", {"password": name, "tags": ""})
    reads = {"configure": "^$", "write": ".*", "read": ".*"}
    lab.broker.api("PUT", f"permissions/{lab.vhost}/{name}", reads)
    demo = start(url=lab.url.replace("guest:guest", f"{name}:{name}"))
    assert demo.wait() == 1
    assert demo.find(f"refused for user '{name}'")
    assert demo.find("demo.py: error: worker-1 ended")
    lab.broker.api("DELETE", f"users/{name}")
