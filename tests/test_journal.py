"""Test that --journal writes what labs/journal.md says."""

import collections
import datetime
import os
import re
import socket
import sys
import time
from pathlib import Path

import pika
import pytest

from conftest import ROOT, Gate, Lab, Run, Script, events, of, read_journal, wait_until
from kit.exercise.proxy import Proxy

ONE_BY_ONE = ("--acknowledge", "--prefetch", 1)
DOCUMENT = (ROOT / "labs" / "journal.md").read_text(encoding="utf-8")


def finish(script: Script, code: int = 0) -> None:
    script.terminate()
    assert script.wait() == code


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_every_line_says_when_where_and_who(lab: Lab, worker: Run, journal: Path):
    lab.declare()
    before = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
    script = worker(lab, *ONE_BY_ONE, "--name", "ada", "--journal", journal)
    lab.publish("aaa")
    script.wait_for("Done")
    finish(script)
    lines = read_journal(journal)
    order = ["started", "received", "working", "done", "stopped"]
    assert [line["event"] for line in lines] == order
    for line in lines:
        assert (line["v"], line["worker"], line["host"]) == (1, "ada", socket.gethostname())
        assert line["pid"] == script.process.pid
        assert before[0] <= line["monotonic"] <= time.monotonic()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["utc"])
        utc = datetime.datetime.fromisoformat(line["utc"].replace("Z", "+00:00"))
        assert before[1] <= utc <= datetime.datetime.now(datetime.timezone.utc)
    started, received, working, done, stopped = lines
    assert started["script"] == "qprocessor.py"
    assert (started["queue"], started["acknowledge"], started["prefetch"]) == ("q", True, 1)
    delivery = {"connection": 1, "delivery_tag": 1, "message": "aaa"}
    for line in (received, working, done):
        assert delivery.items() <= line.items()
    assert (received["redelivered"], received["bytes"]) == (False, 3)
    assert working["seconds"] == pytest.approx(0.03)
    assert done["acknowledged"] is True
    fates = {fate: stopped[fate] for fate in ("worked", "lost", "returned", "failed")}
    assert fates == {"worked": 1, "lost": 0, "returned": 0, "failed": 0}


def test_every_event_and_field_is_documented(lab: Lab, worker: Run, run: Run, journal: Path):
    lab.declare()
    options = ("--journal", journal)
    script = worker(lab, *ONE_BY_ONE, *options)
    run("producer.py", "--queue", "q", *options, "a", lab=lab).wait()
    script.wait_for("Done")
    finish(script)
    for line in read_journal(journal):
        for word in (line["event"], *line):
            assert f"`{word}`" in DOCUMENT, word


def test_the_sender_and_the_workers_speak_of_the_same_messages(
    lab: Lab, worker: Run, run: Run, journal: Path
):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "--journal", journal, "a", "b", lab=lab)
    assert sent.wait() == 0
    script = worker(lab, *ONE_BY_ONE, "--journal", journal)
    script.wait_for("Done", count=2)
    finish(script)
    lines = read_journal(journal)
    for message in "ab":
        order = ["sent", "confirmed", "received", "working", "done"]
        assert events(lines, message) == order
        ids = {line["message_id"] for line in lines if line.get("message") == message}
        assert len(ids) == 1 and ids != {None}
    assert of(lines, "stopped")[0]["count"] == 2
    started = of(lines, "started")[0]
    assert started["worker"] == f"producer.py-{sent.process.pid}"
    assert started["queue"] == "q" and not {"acknowledge", "prefetch"} & started.keys()


def test_a_message_that_the_broker_does_not_take_is_refused(lab: Lab, run: Run, journal: Path):
    lab.declare(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    sent = run("producer.py", "--queue", "q", "--journal", journal, *"abc", lab=lab)
    assert sent.wait() == 4
    lines = read_journal(journal)
    assert of(lines, "refused")[-1]["why"] == "the broker refused it"
    assert len(of(lines, "refused")) + len(of(lines, "confirmed")) == len(of(lines, "sent")) == 3


def counts(lines: list[dict]) -> list[int]:
    """Return the counts in a worker's last `stopped`."""
    return [of(lines, "stopped")[-1][fate] for fate in ("worked", "lost", "returned", "failed")]


def test_a_message_that_failed_once_and_again(lab: Lab, worker: Run, journal: Path, tmp_path: Path):
    failing = tmp_path / "failing.py"
    source = (ROOT / "qprocessor.py").read_text()
    failing.write_text(source.replace("    time.sleep(seconds)\n", "    raise ValueError('no')\n"))
    lab.declare()
    lab.publish("bad")
    script = worker(lab, *ONE_BY_ONE, "--journal", journal, script=failing)
    script.wait_for("Moved to")
    finish(script)
    lines = read_journal(journal)
    once, again = ["received", "working", "requeued"], ["received", "working", "rejected"]
    assert events(lines, "bad") == once + again
    assert [line["redelivered"] for line in of(lines, "received")] == [False, True]
    for event in ("requeued", "rejected"):
        assert of(lines, event)[0]["why"].startswith("ValueError: no, failing.py:")
    assert counts(lines) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("options", "last"), [(("--acknowledge",), [0, 0, 1, 0]), ((), [0, 1, 0, 0])], ids=str
)
def test_a_message_that_is_lost_on_purpose(
    lab: Lab, worker: Run, journal: Path, options: tuple, last: list[int]
):
    lab.declare()
    lab.publish("lost")
    script = worker(lab, "--lose-every", 1, "--journal", journal, *options)
    script.wait_for("Lost")
    finish(script)
    assert events(read_journal(journal), "lost") == ["received", "working", "lost"]
    assert counts(read_journal(journal)) == last


@pytest.mark.parametrize(
    ("options", "returned", "last"),
    [(("--acknowledge",), True, [0, 0, 2, 0]), ((), False, [0, 2, 0, 0])],
    ids=str,
)
def test_messages_that_are_abandoned_in_hand_and_while_they_wait(
    lab: Lab, worker: Run, journal: Path, options: tuple, returned: bool, last: list[int]
):
    lab.declare()
    lab.publish("hand", "wait")
    script = worker(lab, *options, "--journal", journal, seconds=99)
    script.wait_for("Received")
    wait_until(lambda: "wait" in journal.read_text(), "the second one is there too")
    script.interrupt()
    assert script.wait() == 130
    abandoned = of(read_journal(journal), "abandoned")
    assert {line["message"]: line["returned"] for line in abandoned} == {
        "hand": returned,
        "wait": returned,
    }
    assert counts(read_journal(journal)) == last


def test_a_connection_that_is_lost_and_comes_back(
    lab: Lab, worker: Run, gate: Gate, proxied: tuple[Proxy, str], journal: Path
):
    proxy, url = proxied
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, "--journal", journal, url=url, script=gate.script)
    lab.publish("a")
    script.wait_for("Received")
    proxy.cut()
    script.wait_for("connecting again")
    gate.open()
    script.wait_for("Done", count=2)
    finish(script)
    lines = read_journal(journal)
    assert [line["event"] for line in lines if line["event"].startswith("connection_")] == [
        "connection_lost",
        "connection_back",
    ]
    assert of(lines, "connection_lost")[0]["why"]
    assert [line["acknowledged"] for line in of(lines, "done")] == [False, True]
    assert [line["connection"] for line in of(lines, "received")] == [1, 2]


def test_many_writers_tear_no_line(lab: Lab, worker: Run, run: Run, journal: Path):
    lab.declare()
    options = ("--journal", journal)
    workers = [worker(lab, *ONE_BY_ONE, *options, seconds=0) for _ in range(4)]
    reader = run("consumer.py", "--queue", "q", *options, lab=lab)
    reader.wait_for("Waiting for messages")
    senders = [
        run("producer.py", "--queue", "q", *options, "--count", 250, f"{name}" * 90, lab=lab)
        for name in "ab"
    ]
    assert [sender.wait() for sender in senders] == [0, 0]
    wait_until(lambda: journal.read_text().count('"done"') == 500, "all are done")
    for script in (*workers, reader):
        finish(script)
    lines = read_journal(journal)
    counts = collections.Counter(line["event"] for line in lines)
    assert counts["sent"] == counts["confirmed"] == counts["received"] == counts["done"] == 500
    assert counts["started"] == counts["stopped"] == 7
    assert len({line["message_id"] for line in of(lines, "done")}) == 500
    assert len({line["worker"] for line in of(lines, "done")}) == 5


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/dev/full", "No space left on device"),
        ("/", "Is a directory"),
        ("/nowhere/run.jsonl", "No such file or directory"),
    ],
)
def test_a_journal_that_cannot_be_written_is_one_line_and_the_work_goes_on(
    lab: Lab, worker: Run, run: Run, target: str, why: str
):
    lab.declare()
    problem = f" [!] Cannot write the journal {target} ({why}); going on without it"
    sent = run("producer.py", "--queue", "q", "--journal", target, "a", "b", lab=lab)
    assert sent.wait() == 0
    script = worker(lab, *ONE_BY_ONE, "--journal", target)
    script.wait_for("Done", count=2)
    finish(script)
    assert script.text("stderr") == sent.text("stderr") == problem


def test_a_disk_that_fills_up_is_one_line(lab: Lab, run: Run, journal: Path):
    """A limit on the file's size stands for a full disk: the line that reaches it is cut."""
    lab.declare()
    command = f'ulimit -f 4; exec "$0" {ROOT}/producer.py "$@"'
    script = Script(
        ["bash", "-c", command, sys.executable, "--queue", "q", "--journal", journal]
        + ["--count", "50", "a"],
        os.environ | {"AMQP_URL": lab.url},
    )
    assert script.wait() == 0
    assert len(script.find("Cannot write the journal")) == 1
    assert lab.ready() == 50
    assert journal.stat().st_size == 4096


def test_a_message_that_is_long_or_not_text(lab: Lab, worker: Run, journal: Path):
    lab.declare()
    lab.publish(b"\xff\x00a", "€" * 200, b"x" * 5_000_000)
    script = worker(lab, *ONE_BY_ONE, "--journal", journal, seconds=0)
    script.wait_for("Done", count=3)
    finish(script)
    received = [(line["message"], line["bytes"]) for line in of(read_journal(journal), "received")]
    assert received == [("\\xff\x00a", 3), ("€" * 100, 600), ("x" * 100, 5_000_000)]


@pytest.mark.parametrize("script", ["qprocessor.py", "consumer.py"])
def test_a_message_id_that_is_not_text_does_no_harm(lab: Lab, run: Run, journal: Path, script: str):
    lab.declare()
    odd = pika.BasicProperties(message_id=b"\xe9t\xe9")
    lab.connection.channel().basic_publish("", "q", b"a", odd)
    lab.publish("b")
    options = "--queue", "q", "--exit-when-empty", "--journal", journal
    reader = run(script, *options, lab=lab)
    assert reader.wait() == 0, reader.text()
    assert reader.text("stderr") == ""
    done = of(read_journal(journal), "done")
    assert [line["message"] for line in done] == ["a", "b"]
    assert "t" in done[0]["message_id"] and done[1]["message_id"] is None
