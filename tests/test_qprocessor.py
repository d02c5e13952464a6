"""Test qprocessor.py on a healthy broker: working, losing, acknowledging and stopping."""

import re
import time
from pathlib import Path

import pika
import pytest

from conftest import (
    ROOT,
    Gate,
    Lab,
    Run,
    Script,
    UndecodableProperties,
    events,
    fates,
    of,
    read_journal,
    undecodable_is_fine,
    wait_until,
)
from kit.cli.program import DEADLINE
from kit.exercise.proxy import Proxy
from kit.exercise.queue import QueueClient

ONE_BY_ONE = ("--acknowledge", "--prefetch", 1)
LATE = "abc"  # messages that arrive while the consumer is being cancelled


def received(script: Script) -> list[str]:
    return [line.text.split("'")[1] for line in script.find("[x] Received")]


def stopped(worked: int = 0, lost: int = 0, returned: int = 0, failed: int = 0) -> str:
    """Return the expected last line of a worker."""
    return f" [*] Stopped: {worked} worked, {lost} lost, {returned} returned, {failed} failed"


def finish(script: Script, code: int = 0) -> None:
    script.terminate()
    assert script.wait() == code


def replaced(tmp_path: Path, old: str, new: str) -> Path:
    """Return a copy of qprocessor.py as changed by a student."""
    original = (ROOT / "qprocessor.py").read_text()
    assert original.count(old) == 1
    copy = tmp_path / "qprocessor.py"
    copy.write_text(original.replace(old, new))
    return copy


def with_work(tmp_path: Path, code: str) -> Path:
    """Return a copy of qprocessor.py with another work()."""
    return replaced(tmp_path, "    time.sleep(seconds)\n", f"    {code}\n")


# ---- the work


def test_works_one_second_a_character(lab: Lab, worker: Run, tmp_path: Path):
    lab.declare()
    journal = tmp_path / "run.jsonl"
    script = worker(lab, "--journal", journal, seconds=1)
    lab.publish("ab", "")
    script.wait_for(" [x] Done", count=2)
    finish(script)
    assert [line.text for line in script.find("[x]")] == [
        " [x] Received 'ab' (2 s of work)",
        " [x] Done",
        " [x] Received '' (0 s of work)",
        " [x] Done",
    ]
    begun, done = (
        of(read_journal(journal), event)[0]["monotonic"] for event in ("working", "done")
    )
    assert done - begun >= 2


def test_one_second_a_character_is_the_default(lab: Lab, run: Run):
    lab.declare()
    lab.publish("abc")
    run("qprocessor.py", "--queue", "q", lab=lab).wait_for(" [x] Received 'abc' (3 s of work)")


def test_counts_the_characters_of_utf8_not_its_bytes(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("né€😀")
    worker(lab, seconds=0.1).wait_for(" [x] Received 'né€😀' (0.4 s of work)")


def test_a_body_that_is_not_utf8_is_shown_worked_and_acknowledged_and_the_next_one_runs(
    lab: Lab, worker: Run
):
    lab.declare()
    lab.publish(b"\xff\xfe!", "next")
    script = worker(lab, "--acknowledge", "-n", 2, seconds=0.1)
    assert script.wait() == 0
    assert [line.text for line in script.lines[1:]] == [
        " [x] Received '\ufffd\ufffd!' (0.3 s of work)",
        " [x] Done",
        " [x] Received 'next' (0.4 s of work)",
        " [x] Done",
        stopped(worked=2),
    ]
    assert lab.remains() == []


def test_a_message_of_10_MB_is_worked_and_not_shown_whole(lab: Lab, worker: Run):
    lab.declare()
    lab.publish(b"x" * 10_000_000)
    script = worker(lab, "--acknowledge", "-n", 1, seconds=0)
    assert script.wait() == 0
    assert len(script.wait_for("Received").text) < 150
    assert lab.remains() == []


def test_a_task_of_many_heartbeats_keeps_its_connection(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--acknowledge", "--heartbeat", 2, "--name", "sleepy", seconds=1)
    (before,) = wait_until(lambda: lab.connections("sleepy"), "the connection shows")
    lab.publish("x" * 12)
    script.wait_for(" [x] Done", within=60)
    (after,) = lab.connections("sleepy")
    assert before["name"] == after["name"]
    finish(script)
    assert lab.remains() == []
    assert [line.text for line in script.lines[2:]] == [" [x] Done", stopped(worked=1)]


def test_describe_says_what_the_worker_is_about_to_do(lab: Lab, worker: Run, tmp_path: Path):
    lab.declare()
    lab.publish("page")
    old, new = 'return f"{seconds:g} s of work"', 'return f"reads {text}.html"'
    script = worker(lab, *ONE_BY_ONE, script=replaced(tmp_path, old, new), seconds=9)
    script.wait_for(" [x] Received 'page' (reads page.html)")
    script.kill()
    worker(lab, *ONE_BY_ONE, script=replaced(tmp_path, old, new)).wait_for(
        " [x] Received 'page' (reads page.html, redelivered)"
    )


# ---- losing and acknowledging


def test_loses_every_nth_message_for_good_when_auto_acknowledged(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--lose-every", 3)
    lab.publish(*"abcdefg")
    script.wait_for("Received 'g'")
    script.wait_for("Done", 5)
    finish(script)
    assert [line.text for line in script.find("[!]")] == [
        f" [!] Lost '{body}': auto-acknowledged, but not done" for body in "cf"
    ]
    assert script.text("stdout").splitlines()[-1] == stopped(worked=5, lost=2)
    assert lab.remains() == []


def test_what_it_loses_comes_back_with_acknowledge_when_the_worker_stops(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--lose-every", 3, "--acknowledge")
    lab.publish(*"abcdefg")
    script.wait_for("Done", 5)
    assert lab.ready() == 0
    finish(script)
    script.wait_for(stopped(worked=5, returned=2))
    assert lab.remains() == [(b"c", True), (b"f", True)]


def test_what_it_lost_counts_towards_the_prefetch(lab: Lab, worker: Run):
    lab.declare()
    lab.publish(*"abcde")
    script = worker(lab, "--lose-every", 2, "--acknowledge", "--prefetch", 2)
    script.wait_for("Lost 'd'")
    finish(script)
    assert received(script) == list("abcd")
    assert sorted(lab.remains()) == [(b"b", True), (b"d", True), (b"e", False)]


def test_every_nth_message_received_counts_those_redelivered(lab: Lab, worker: Run):
    lab.declare()
    lab.publish(*"abcd")
    first = worker(lab, "--lose-every", 2, "--acknowledge")
    first.wait_for("Lost 'd'")
    first.kill()
    second = worker(lab, "--lose-every", 2, "--acknowledge")
    second.wait_for("Lost 'd'")
    assert received(second) == ["b", "d"]


def test_acknowledges_after_the_work(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("done", "in hand" * 100)
    script = worker(lab, *ONE_BY_ONE, seconds=0.1)
    script.wait_for("Received 'in hand")  # so the first message was acknowledged
    script.kill()
    assert lab.remains() == [(b"in hand" * 100, True)]


def test_without_acknowledge_a_message_is_gone_once_delivered(
    lab: Lab, worker: Run, tmp_path: Path
):
    lab.declare()
    lab.publish("in hand" * 100, "behind it")
    journal = tmp_path / "run.jsonl"
    script = worker(lab, "--journal", journal, seconds=0.1)
    script.wait_for("Received 'in hand")
    wait_until(lambda: "behind it" in journal.read_text(), "the second one is there too")
    script.kill()
    assert lab.remains() == []


def test_says_when_a_message_is_redelivered(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("x" * 99)
    first = worker(lab, "--acknowledge", seconds=1)
    assert "redelivered" not in first.wait_for("Received").text
    first.kill()
    second = worker(lab, "--acknowledge", seconds=0.01)
    second.wait_for("(0.99 s of work, redelivered)")
    second.wait_for("Done")


# ---- sharing the work


def test_prefetch_without_acknowledge_is_one_clear_line(lab: Lab, run: Run):
    script = run("qprocessor.py", "--queue", "q", "--prefetch", 1, lab=lab)
    assert script.wait() == 2
    assert [line.text for line in script.lines] == [
        "qprocessor.py: error: --prefetch needs --acknowledge: "
        "it limits what is not acknowledged yet",
        "  try: qprocessor.py --help",
    ]


def test_prefetch_is_set_before_consuming_so_an_idle_worker_gets_the_next_message(
    lab: Lab, worker: Run
):
    lab.declare()
    lab.publish("long" * 250, "next")
    busy = worker(lab, *ONE_BY_ONE, seconds=0.1)
    busy.wait_for("Received 'long")
    assert lab.ready() == 1
    worker(lab, *ONE_BY_ONE).wait_for("Received 'next'")


def test_without_prefetch_one_worker_takes_all_that_waits(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("long" * 250, "next")
    worker(lab, "--acknowledge", seconds=0.1).wait_for("Received 'long")
    wait_until(lambda: lab.ready() == 0, "both are handed over")


def test_round_robin_deals_the_messages_out_in_turn_even_to_a_busy_worker(lab: Lab, worker: Run):
    lab.declare()
    workers = [worker(lab, "--acknowledge", seconds=0.1) for _ in range(2)]
    lab.publish("L" * 10, *["s"] * 7)
    wait_until(lambda: sum(len(script.find("Done")) for script in workers) == 8)
    assert sorted(map(received, workers)) == [["L" * 10, "s", "s", "s"], ["s"] * 4]


def test_prefetch_1_gives_the_next_message_to_the_free_worker(lab: Lab, worker: Run):
    lab.declare()
    workers = [worker(lab, *ONE_BY_ONE, seconds=0.1) for _ in range(2)]
    lab.publish("L" * 1000, *["s"] * 7)
    wait_until(lambda: sum(len(script.find("Done")) for script in workers) == 7)
    busy, free = sorted(workers, key=lambda script: len(received(script)))
    assert len(received(busy)) == 1 and received(busy)[0].startswith("L")
    assert received(free) == ["s"] * 7


# ---- the queue and the connection


def properties(lab: Lab) -> tuple[bool, str]:
    queue = lab.broker.api("GET", f"queues/{lab.vhost}/{lab.queue}")
    return queue["durable"], queue["type"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (False, "classic")),
        (["--durable"], (True, "classic")),
        (["--queue-type", "quorum"], (True, "quorum")),
    ],
    ids=str,
)
def test_creates_a_queue_that_does_not_exist_as_the_options_say(
    lab: Lab, worker: Run, request: pytest.FixtureRequest, options: list, expected: tuple
):
    if not options:
        request.getfixturevalue("transient_queues")
    worker(lab, *options)
    assert properties(lab) == expected


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_without_options_it_uses_a_queue_as_it_finds_it(lab: Lab, worker: Run, queue_type: str):
    lab.declare(arguments={"x-queue-type": queue_type})
    lab.publish("abc")
    script = worker(lab, "--acknowledge", "-n", 1)
    assert script.wait() == 0
    assert received(script) == ["abc"]
    assert properties(lab) == (True, queue_type)


def test_the_name_shows_on_the_management_page(lab: Lab, worker: Run):
    lab.declare()
    worker(lab, "--name", "ada's worker")
    wait_until(lambda: lab.connections("ada's worker"), "the name shows")


# ---- stopping by itself


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize(
    "options", [(), ("--acknowledge",), ONE_BY_ONE, ("--acknowledge", "--prefetch", 3)], ids=str
)
def test_a_limit_takes_exactly_n_and_the_rest_remains(
    lab: Lab, worker: Run, options: tuple, queue_type: str
):
    lab.declare(arguments={"x-queue-type": queue_type})
    lab.publish(*(str(n) for n in range(20)))
    script = worker(lab, "-n", 5, *options)
    assert script.wait() == 0
    assert received(script) == ["0", "1", "2", "3", "4"]
    assert script.text("stdout").splitlines()[-1] == stopped(worked=5)
    remains = sorted(lab.remains(), key=lambda message: int(message[0]))
    assert [body for body, _ in remains] == [b"%d" % n for n in range(5, 20)]
    if options == ONE_BY_ONE:  # otherwise some may have been delivered and returned
        assert not any(redelivered for _, redelivered in remains)


def test_a_limit_waits_for_messages_that_are_not_there_yet(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("a")
    script = worker(lab, "-n", 2)
    script.wait_for("Done")
    lab.publish("b")
    assert script.wait() == 0


def test_exit_when_empty_ends_on_an_empty_queue(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--exit-when-empty")
    assert script.wait() == 0
    assert script.text("stdout").splitlines()[-1] == stopped()


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("options", [(), ("--acknowledge",), ONE_BY_ONE], ids=str)
def test_exit_when_empty_does_first_what_waits(
    lab: Lab, worker: Run, options: tuple, queue_type: str
):
    lab.declare(arguments={"x-queue-type": queue_type})
    lab.publish("L" * 50, *["s"] * 30)
    script = worker(lab, "--exit-when-empty", *options)
    assert script.wait() == 0
    assert script.text("stdout").splitlines()[-1] == stopped(worked=31)
    assert lab.remains() == []


def test_exit_when_empty_ends_every_worker_of_a_queue(lab: Lab, worker: Run):
    lab.declare()
    lab.publish(*["task"] * 60)
    workers = [worker(lab, "--exit-when-empty", *ONE_BY_ONE) for _ in range(3)]
    assert [script.wait() for script in workers] == [0, 0, 0]
    assert sum(len(received(script)) for script in workers) == 60
    assert not any(script.find("redelivered") for script in workers)
    assert lab.remains() == []


# ---- stopping by a signal


@pytest.mark.parametrize("options", [(), ONE_BY_ONE], ids=str)
@pytest.mark.parametrize("stop", ["terminate", "interrupt"])
def test_a_signal_ends_an_idle_worker_with_0(lab: Lab, worker: Run, options: tuple, stop: str):
    lab.declare()
    script = worker(lab, *options)
    getattr(script, stop)()
    assert script.wait() == 0
    assert script.text("stderr") == ""
    assert script.text("stdout").splitlines()[-1] == stopped()


def stop_in_a_task(script: Script, gate: Gate, journal: Path, dropped: int) -> None:
    """Send SIGTERM; end the task in hand once the worker has dropped the waiting ones."""
    script.terminate()
    wait_until(
        lambda: journal.read_text().count('"abandoned"') == dropped, "those that wait are dropped"
    )
    gate.open()
    assert script.wait() == 0


def test_sigterm_in_a_task_finishes_and_acknowledges_it_and_leaves_the_rest(
    lab: Lab, worker: Run, gate: Gate, tmp_path: Path
):
    lab.declare()
    lab.publish("in hand", "b", "c")
    journal = tmp_path / "run.jsonl"
    script = worker(lab, "--acknowledge", "--journal", journal, script=gate.script)
    script.wait_for("Received 'in hand'")
    wait_until(lambda: lab.ready() == 0, "all are handed over")
    stop_in_a_task(script, gate, journal, dropped=2)
    assert [line.text for line in script.lines[2:]] == [
        " [x] Done",
        stopped(worked=1, returned=2),
    ]
    assert [body for body, _ in lab.remains()] == [b"b", b"c"]


def test_sigterm_says_how_many_auto_acknowledged_messages_are_lost(
    lab: Lab, worker: Run, gate: Gate, tmp_path: Path
):
    lab.declare()
    lab.publish("in hand", *"bcdef")
    journal = tmp_path / "run.jsonl"
    script = worker(lab, "--journal", journal, script=gate.script)
    script.wait_for("Received 'in hand'")
    wait_until(lambda: lab.ready() == 0)
    stop_in_a_task(script, gate, journal, dropped=5)
    script.wait_for(" [!] 5 more had been handed over, LOST: they were auto-acknowledged")
    script.wait_for(stopped(worked=1, lost=5))
    assert lab.remains() == []


@pytest.mark.parametrize(
    ("options", "end", "goes_back"),
    [
        (ONE_BY_ONE, "returned to the queue", True),
        (("--acknowledge",), "returned to the queue", True),
        ((), "LOST: it was auto-acknowledged", False),
        (("-n", 2), "LOST: it was auto-acknowledged", False),
    ],
    ids=str,
)
def test_ctrl_c_in_a_task_says_where_the_message_went(
    lab: Lab, worker: Run, options: tuple, end: str, goes_back: bool
):
    lab.declare()
    lab.publish("in hand")
    script = worker(lab, *options, seconds=99)
    script.wait_for("Received 'in hand'")
    script.interrupt()
    assert script.wait() == 130
    assert script.text("stderr") == f" [!] Abandoned 'in hand': {end}"
    script.wait_for(stopped(returned=1) if goes_back else stopped(lost=1))
    assert lab.remains() == ([(b"in hand", True)] if goes_back else [])


@pytest.mark.parametrize("options", [(), ("--acknowledge",)], ids=str)
def test_ctrl_c_counts_what_waits_behind_the_task_too(lab: Lab, worker: Run, options: tuple):
    lab.declare()
    lab.publish(*"abc")
    script = worker(lab, *options, seconds=99)
    script.wait_for("Received 'a'")
    wait_until(lambda: lab.ready() == 0, "all are handed over")
    script.interrupt()
    assert script.wait() == 130
    more = " [!] 2 more had been handed over, LOST: they were auto-acknowledged"
    assert [line.text for line in script.find("more")] == ([] if options else [more])
    script.wait_for(stopped(returned=3) if options else stopped(lost=3))
    assert len(lab.remains()) == (3 if options else 0)


@pytest.mark.parametrize("options", [(), ("--acknowledge",)], ids=str)
def test_sigterm_at_the_limit_finishes_only_the_task_in_hand(
    lab: Lab, worker: Run, gate: Gate, tmp_path: Path, options: tuple
):
    lab.declare()
    lab.publish("in hand", "b")
    journal = tmp_path / "run.jsonl"
    script = worker(lab, *options, "-n", 2, "--journal", journal, script=gate.script)
    script.wait_for("Received 'in hand'")
    wait_until(lambda: lab.consumers() == 0, "it takes no more")
    stop_in_a_task(script, gate, journal, dropped=1)
    script.wait_for(stopped(worked=1, returned=1) if options else stopped(worked=1, lost=1))
    assert len(lab.remains()) == (1 if options else 0)


def test_sigterm_after_ctrl_c_does_not_wait_for_the_task(
    lab: Lab, worker: Run, proxied: tuple[Proxy, str]
):
    lab.declare()
    lab.publish("in hand")
    proxy, url = proxied
    asked = proxy.fall_silent_at_cancel()
    script = worker(lab, *ONE_BY_ONE, seconds=99, url=url)
    script.wait_for("Received 'in hand'")
    script.interrupt()
    assert asked.wait(DEADLINE)
    script.terminate()
    assert script.wait() == 130
    script.wait_for("Abandoned 'in hand': returned to the queue")


def test_ctrl_c_while_sigterm_waits_for_the_task_abandons_it(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("in hand")
    script = worker(lab, *ONE_BY_ONE, seconds=99)
    script.wait_for("Received 'in hand'")
    script.terminate()
    wait_until(lambda: lab.consumers() == 0, "the consumer is cancelled")
    script.interrupt()
    assert script.wait() == 130
    script.wait_for("Abandoned 'in hand': returned to the queue")
    assert lab.remains() == [(b"in hand", True)]


@pytest.mark.parametrize("stop", ["terminate", "interrupt"])
def test_a_signal_ends_a_worker_that_has_not_reached_its_broker_yet(run: Run, stop: str):
    script = run("qprocessor.py", "--queue", "q", url="amqp://127.0.0.1:9")
    script.wait_for("Cannot reach RabbitMQ at 127.0.0.1:9 (Connection refused); trying for 60 s")
    getattr(script, stop)()
    assert script.wait() == 0
    assert len(script.lines) == 1


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("acknowledge", [(), ("--acknowledge",)], ids=str)
@pytest.mark.parametrize("stop", ["interrupt", "terminate", "-n", "--exit-when-empty"])
def test_what_arrives_while_the_consumer_is_cancelled_is_worked_or_returned(
    lab: Lab,
    worker: Run,
    proxied: tuple[Proxy, str],
    acknowledge: tuple,
    stop: str,
    queue_type: str,
):
    proxy, url = proxied
    lab.declare(arguments={"x-queue-type": queue_type})
    proxy.before_cancel = lambda: QueueClient(lab.url).publish(*LATE)
    options = {"-n": ("-n", 2), "--exit-when-empty": ("--exit-when-empty",)}.get(stop, ())
    script = worker(lab, *acknowledge, *options, url=url)
    lab.publish("1", "2")
    script.wait_for("Done", count=2)
    if not options:
        getattr(script, stop)()
    assert script.wait() == 0
    assert proxy.before_cancel is None, "no basic.cancel was seen"
    counted, remains = fates(script), lab.remains()
    assert counted["worked"] == len(script.find("Done")) >= 2
    assert counted["worked"] + len(remains) == 2 + len(LATE)
    assert counted["lost"] == 0


# ---- work that fails


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_message_whose_work_fails_twice_is_moved_to_a_queue_of_its_own(
    lab: Lab, worker: Run, tmp_path: Path, queue_type: str
):
    lab.declare(arguments={"x-queue-type": queue_type})
    channel = lab.connection.channel()
    bad = pika.BasicProperties(message_id="m1", headers={"x-mine": 1}, content_type="text/plain")
    channel.basic_publish("", "q", b"bad", bad)
    lab.publish("good")
    copy = with_work(tmp_path, "if text == 'bad': raise ValueError('no such order')")
    line = copy.read_text().split("raise ValueError('no such order')")[0].count("\n") + 1
    script = worker(lab, *ONE_BY_ONE, "--name", "ada", script=copy)
    script.wait_for("Moved to")
    script.wait_for("Done")
    finish(script)
    failed = f" [!] Failed on 'bad' (ValueError: no such order, qprocessor.py:{line})."
    assert [line.text for line in script.find("[!]")] == [
        f"{failed} Returned to the queue for one more try",
        f"{failed} Moved to 'q.failed'",
    ]
    assert len(script.find("Received 'bad' (0.03 s of work, redelivered)")) == 1
    script.wait_for(stopped(worked=1, returned=1, failed=1))
    assert lab.remains() == []
    [(_, properties, body)] = lab.take_all("q.failed")
    assert (body, properties.message_id, properties.delivery_mode) == (b"bad", "m1", 2)
    assert properties.content_type == "text/plain"
    headers = properties.headers
    assert headers["x-mine"] == 1
    assert headers["error"] == f"ValueError: no such order, qprocessor.py:{line}"
    assert (headers["worker"], headers["first-queue"]) == ("ada", "q")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", headers["failed-at"])
    assert lab.broker.api("GET", f"queues/{lab.vhost}/q.failed")["durable"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("no_such_name", "NameError: name 'no_such_name' is not defined"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("open('/nowhere')", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
    ids=str,
)
def test_no_failing_work_empties_the_queue(
    lab: Lab, worker: Run, tmp_path: Path, code: str, said: str
):
    lab.declare()
    lab.publish(*"abcd")
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", script=with_work(tmp_path, code))
    assert script.wait() == 0
    assert f"({said}" in script.find("Moved to")[0].text
    assert script.text("stdout").splitlines()[-1] == stopped(returned=4, failed=4)
    assert lab.remains() == []
    assert sorted(lab.take("q.failed")) == [b"a", b"b", b"c", b"d"]


def test_work_with_the_wrong_parameters_fails_as_any_other(lab: Lab, worker: Run, tmp_path: Path):
    lab.declare()
    lab.publish("a")
    copy = replaced(tmp_path, "def work(text: str, seconds: float)", "def work(text: str)")
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", script=copy)
    assert script.wait() == 0
    assert "(TypeError: work() takes 1 positional argument" in script.find("Moved to")[0].text
    assert lab.take("q.failed") == [b"a"]


def test_describe_that_fails_ends_the_worker_and_the_message_goes_back(
    lab: Lab, worker: Run, tmp_path: Path
):
    lab.declare()
    lab.publish("a", "b")
    code = '{"b": ""}[text]  # KeyError for a'
    copy = replaced(tmp_path, '    return f"{seconds:g} s of work"', f"    return {code}")
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", script=copy)
    assert script.wait() == 1
    assert "qprocessor.py: error: KeyError: 'a'" in script.text("stderr")
    assert script.text("stdout").splitlines()[-1] == stopped(returned=1)
    assert sorted(body for body, _ in lab.remains()) == [b"a", b"b"]


@pytest.mark.parametrize(
    "text",
    ["two\\nlines \\x1b[2J", "x" * 200_000, "caf\\udce9"],
    ids=["control characters", "200 kB", "a surrogate"],
)
def test_an_error_may_say_anything(lab: Lab, worker: Run, tmp_path: Path, text: str):
    lab.declare()
    lab.publish("bad", "good")
    copy = with_work(tmp_path, f"if text == 'bad': raise ValueError('{text}')")
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", script=copy)
    assert script.wait() == 0
    assert len(script.find(" [!] ")) == len(script.text("stderr").splitlines()) == 2
    assert "\x1b" not in script.text() and len(script.text()) < 3000
    assert script.text("stdout").splitlines()[-1] == stopped(worked=1, returned=1, failed=1)
    assert lab.take("q.failed") == [b"bad"]


def test_three_failures_in_a_row_are_said_once(lab: Lab, worker: Run, tmp_path: Path):
    lab.declare()
    lab.publish(*"abcdef")
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", script=with_work(tmp_path, "1 / 0"))
    assert script.wait() == 0
    said = " [!] 3 failures in a row: the fault is probably in work(), not in the messages"
    assert [line.text for line in script.find("in a row")] == [said]
    lines = [line.text for line in script.find("[!]")]
    assert sum("Failed on" in line for line in lines[: lines.index(said)]) == 3


def test_failures_with_a_success_between_are_not_in_a_row(lab: Lab, worker: Run, tmp_path: Path):
    lab.declare()
    lab.publish("bad", "good", "bad", "good", "bad", "good")
    copy = with_work(tmp_path, "if text == 'bad': raise ValueError('no')")
    script = worker(lab, "--exit-when-empty", script=copy)
    assert script.wait() == 0
    assert script.text("stdout").splitlines()[-1] == stopped(worked=3, lost=3)
    assert not script.find("in a row")


def test_a_strangers_properties_do_no_harm_to_a_message_that_failed(
    lab: Lab, worker: Run, tmp_path: Path
):
    lab.declare()
    lab.declare("copy")
    odd = pika.BasicProperties(
        headers={"CC": ["copy"], "BCC": ["copy"], "deep": {"list": [1, None, b"\xff", "é"]}},
        user_id="guest",
        expiration="600000",
        message_id=b"\xe9t\xe9",
        reply_to="amq.gen-nobody",
        timestamp=1_764_336_000_000,
        priority=9,
        delivery_mode=1,
    )
    lab.connection.channel().basic_publish("", "q", b"bad", odd)
    wait_until(lambda: lab.ready("copy"), "the stranger's copies are there")
    copies = len(lab.take("copy"))
    assert copies
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", script=with_work(tmp_path, "1 / 0"))
    assert script.wait() == 0
    assert script.text("stdout").splitlines()[-1] == stopped(returned=1, failed=1)
    [(_, properties, body)] = lab.take_all("q.failed")
    assert (body, properties.delivery_mode) == (b"bad", 2)
    assert properties.expiration is None
    assert properties.headers["deep"] == {"list": [1, None, b"\xff", "é"]}
    assert lab.take("copy") == []


def test_a_failed_queue_that_is_of_another_type_is_used_or_nothing_is_lost(
    lab: Lab, worker: Run, tmp_path: Path
):
    lab.declare()
    lab.declare("q.failed", arguments={"x-queue-type": "quorum"})
    lab.publish("bad")
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", script=with_work(tmp_path, "1 / 0"))
    assert script.wait() in (0, 4)
    assert [body for body, _ in lab.remains()] + lab.take("q.failed") == [b"bad"]


@pytest.mark.parametrize("options", [(), ("-n", 2), ("--exit-when-empty",)], ids=str)
def test_a_message_whose_work_fails_is_lost_without_acknowledge_and_counted_so(
    lab: Lab, worker: Run, tmp_path: Path, options: tuple
):
    lab.declare()
    lab.publish("bad", "good")
    copy = with_work(tmp_path, "if text == 'bad': raise ValueError('no such order')")
    script = worker(lab, *options, script=copy)
    script.wait_for("[!] Failed on 'bad' (ValueError: no such order, qprocessor.py:")
    script.wait_for("Done")
    if not options:
        script.terminate()
    assert script.wait() == 0
    assert script.find("Failed on")[0].text.endswith(". LOST: it was auto-acknowledged")
    assert script.text("stdout").splitlines()[-1] == stopped(worked=1, lost=1)
    assert lab.remains() == []


def test_verbose_shows_where_the_work_failed(lab: Lab, run: Run, tmp_path: Path):
    lab.declare()
    lab.publish("bad")
    copy = with_work(tmp_path, "raise ValueError('no such order')")
    script = run(copy, "--queue", "q", "-n", 1, "-v", lab=lab)
    assert script.wait() == 0
    assert "in work\n    raise ValueError('no such order')" in script.text("stderr")


# ---- messages that no worker can process


def give_back(lab: Lab, times: int) -> None:
    """Take the only message and return it, so that the broker counts a return."""
    channel = lab.connection.channel()
    for _ in range(times):
        method, _, _ = wait_until(lambda: ready(channel.basic_get("q")), "the message is back")
        channel.basic_reject(method.delivery_tag, requeue=True)
    channel.close()


def ready(message: tuple) -> tuple | None:
    return message if message[0] else None


def test_a_message_of_a_quorum_queue_that_was_returned_20_times_is_not_lost(
    lab: Lab, worker: Run, tmp_path: Path
):
    lab.declare(arguments={"x-queue-type": "quorum"})
    lab.publish("heavy")
    give_back(lab, 19)
    journal = tmp_path / "run.jsonl"
    script = worker(lab, *ONE_BY_ONE, "--journal", journal, seconds=99)
    script.wait_for("Received 'heavy'")
    script.interrupt()
    assert script.wait() == 130
    script.wait_for("Abandoned 'heavy': returned to the queue")
    script = worker(lab, *ONE_BY_ONE, "--exit-when-empty", "--journal", journal)
    assert script.wait() == 0
    failed = (
        r" \[!\] Failed on 'heavy' \((.*returned 20 times, never done.*)\). Moved to 'q.failed'"
    )
    why = re.fullmatch(failed, script.text("stderr"))[1]
    script.wait_for(stopped(failed=1))
    assert lab.remains() == []
    [(_, properties, body)] = lab.take_all("q.failed")
    assert (body, properties.headers["error"]) == (b"heavy", why)
    assert "x-delivery-count" not in properties.headers
    assert events(read_journal(journal), "heavy")[-3:] == ["received", "working", "rejected"]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_an_undecodable_header_ends_the_worker_with_its_cause_and_harms_no_other_message(
    lab: Lab, worker: Run, queue_type: str
):
    lab.declare(arguments={"x-queue-type": queue_type})
    lab.publish(*"abcde")
    lab.connection.channel().basic_publish("", "q", b"poison", UndecodableProperties())
    lab.publish(*"fghij")
    everything = {*"abcdefghij", "poison"}
    script = worker(lab, "--acknowledge", "--exit-when-empty", seconds=0)
    if undecodable_is_fine():
        assert script.wait() == 0
        assert sorted(received(script)) == sorted(everything)
        return
    assert script.wait() == 1
    assert not script.find("Lost RabbitMQ")
    said = [line.text for line in script.find(" [!] ")]
    lost = [line for line in said if line.startswith(" [!] Pika cannot decode the next message")]
    assert 1 <= len(lost) <= 4  # connections
    error, advice = script.text("stderr").splitlines()[-2:]
    assert error.startswith(
        "qprocessor.py: error: pika cannot decode the next message of queue 'q'"
    )
    assert advice.startswith("  try: take ") and "management page" in advice
    assert fates(script)["worked"] == len(script.find("Done"))
    remains = [message["payload"] for message in lab.peek()]
    assert "poison" in remains
    assert {*remains, *received(script)} == everything, "innocent messages are gone"


def test_many_workers_do_not_use_up_the_delivery_limit_of_innocent_messages(lab: Lab, run: Run):
    """Each worker returns the messages it held; a quorum queue drops a message after 20 returns."""
    if undecodable_is_fine():
        pytest.skip("this pika decodes it")
    lab.declare(arguments={"x-queue-type": "quorum"})
    lab.connection.channel().basic_publish("", "q", b"poison", UndecodableProperties())
    innocent = {f"task {number}" for number in range(50)}
    lab.publish(*sorted(innocent))
    options = "--queue", "q", "--acknowledge", "--seconds-per-character", 0
    scripts = [run("qprocessor.py", *options, lab=lab) for _ in range(4)]
    assert [script.wait() for script in scripts] == [1] * 4
    remains = {message["payload"] for message in lab.peek()}
    done = {body for script in scripts for body in received(script)}
    assert remains | done >= innocent
    assert not any(script.find("Moved to") for script in scripts)


# ---- how it gives up


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("amqp://guest:wrong@127.0.0.1:{port}/{vhost}", [], "Login was refused"),
        ("amqp://127.0.0.1:{port}/nowhere", [], "vhost nowhere not found"),
        ("amqp://127.0.0.1:{port}/{vhost}", ["--queue-type", "quorum"], "inequivalent arg"),
    ],
    ids=["wrong password", "unknown vhost", "other queue type"],
)
def test_a_refusal_ends_it_and_is_never_retried(
    lab: Lab, run: Run, url: str, options: list, said: str
):
    lab.declare()
    url = url.format(port=lab.broker.port, vhost=lab.vhost)
    script = run("qprocessor.py", "--queue", "q", *options, url=url)
    assert script.wait() == 4
    error, advice = script.text("stderr").splitlines()
    assert error.startswith("qprocessor.py: error: ") and said in error
    assert advice.startswith("  try: ")


def test_it_waits_for_a_first_connection_as_long_as_it_was_told(run: Run):
    began = time.monotonic()
    script = run("qprocessor.py", "--queue", "q", "--retry-for", 2, url="amqp://127.0.0.1:9")
    assert script.wait() == 3
    assert time.monotonic() - began >= 2
    lines = script.text("stderr").splitlines()
    assert lines[0].startswith(
        " [!] Cannot reach RabbitMQ at 127.0.0.1:9 (Connection refused); trying for 2 s"
    )
    assert "labs/broker.py up --port 9" in lines[0]
    assert len(lines) == 3 and lines[1].startswith("qprocessor.py: error: cannot reach RabbitMQ")
