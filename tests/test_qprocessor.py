"""qprocessor.py on a broker that behaves: what it works, loses, acknowledges, and how it stops."""

import ctypes
import json
import signal
import statistics
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, Lab, Run, Script, wait_until

ONE_BY_ONE = ("--acknowledge", "--prefetch", 1)


def received(script: Script) -> list[str]:
    return [line.text.split("'")[1] for line in script.find("[x] Received")]


def with_work(tmp_path: Path, code: str) -> Path:
    """Return a copy of qprocessor.py, its work() replaced as a student would."""
    original = (ROOT / "qprocessor.py").read_text()
    copy = tmp_path / "qprocessor.py"
    copy.write_text(original.replace("    time.sleep(seconds)\n", f"    {code}\n"))
    assert copy.read_text() != original
    return copy


# ---- the work


def test_works_one_second_a_character(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, seconds=1)
    lab.publish("ab", "")
    begin = script.wait_for(" [x] Received 'ab' (2 s of work)")
    end = script.wait_for(" [x] Done")
    assert 1.95 <= end.time - begin.time < 2.3
    script.wait_for(" [x] Received '' (0 s of work)")
    script.wait_for(" [x] Done", 2, within=1)


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
        r" [x] Received b'\xff\xfe!' (0.3 s of work)",
        " [x] Done",
        " [x] Received 'next' (0.4 s of work)",
        " [x] Done",
        " [*] Stopped: 2 worked, 0 lost, 0 abandoned",
    ]
    assert lab.remains() == []


def test_a_message_of_10_MB_is_worked_and_not_shown_whole(lab: Lab, worker: Run):
    lab.declare()
    lab.publish(b"x" * 10_000_000)
    script = worker(lab, "--acknowledge", "-n", 1, seconds=0)
    assert script.wait() == 0
    assert len(script.wait_for("Received").text) < 150
    assert lab.remains() == []


def test_a_long_task_keeps_its_connection_however_short_the_heartbeat(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--acknowledge", "--heartbeat", 4, "--name", "sleepy", seconds=1)

    def connections() -> list[str]:
        every = lab.broker.api("GET", f"vhosts/{lab.vhost}/connections")
        return [c["name"] for c in every if "sleepy" in json.dumps(c)]

    (before,) = wait_until(connections, "the connection shows")
    lab.publish("x" * 30)
    begin = script.wait_for("(30 s of work)")
    end = script.wait_for(" [x] Done", within=40)
    assert 29.9 <= end.time - begin.time < 31
    assert connections() == [before]
    script.terminate()
    assert script.wait() == 0
    assert lab.remains() == []
    assert [line.text for line in script.lines[2:]] == [
        " [x] Done",
        " [*] Stopped: 1 worked, 0 lost, 0 abandoned",
    ]


# ---- losing and acknowledging


def test_loses_every_nth_message_for_good_when_auto_acknowledged(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--lose-every", 3)
    lab.publish(*"abcdefg")
    script.wait_for("Received 'g'")
    script.wait_for("Done", 5)
    script.terminate()
    assert script.wait() == 0
    assert [line.text[:12] for line in script.find("[!]")] == [" [!] Lost 'c", " [!] Lost 'f"]
    script.wait_for(" [*] Stopped: 5 worked, 2 lost, 0 abandoned")
    assert lab.remains() == []


def test_what_it_loses_comes_back_with_acknowledge_when_the_worker_stops(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--lose-every", 3, "--acknowledge")
    lab.publish(*"abcdefg")
    script.wait_for("Done", 5)
    assert lab.ready() == 0
    script.terminate()
    assert script.wait() == 0
    script.wait_for("[*] Stopped: 5 worked, 2 lost, 0 abandoned")
    assert lab.remains() == [(b"c", True), (b"f", True)]


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
    script.wait_for("Received 'in hand")  # so the first one was acknowledged
    script.kill()
    assert lab.remains() == [(b"in hand" * 100, True)]


def test_without_acknowledge_a_message_is_gone_once_delivered(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("in hand" * 100, "behind it")
    script = worker(lab, seconds=0.1)
    script.wait_for("Received 'in hand")
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
    worker(lab, *ONE_BY_ONE).wait_for("Received 'next'", within=1)


def test_without_prefetch_one_worker_takes_all_that_waits(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("long" * 250, "next")
    worker(lab, "--acknowledge", seconds=0.1).wait_for("Received 'long")
    assert lab.ready() == 0


def test_round_robin_deals_the_messages_out_in_turn_whoever_is_busy(lab: Lab, worker: Run):
    lab.declare()
    workers = [worker(lab, "--acknowledge", seconds=0.1) for _ in range(2)]
    lab.publish("L" * 10, *["s"] * 7)
    wait_until(lambda: sum(len(script.find("Done")) for script in workers) == 8)
    assert sorted(map(received, workers)) == [["L" * 10, "s", "s", "s"], ["s"] * 4]


def test_prefetch_1_gives_the_next_message_to_whoever_is_free(lab: Lab, worker: Run):
    lab.declare()
    workers = [worker(lab, *ONE_BY_ONE, seconds=0.1) for _ in range(2)]
    lab.publish("L" * 10, *["s"] * 7)
    wait_until(lambda: sum(len(script.find("Done")) for script in workers) == 8)
    assert sorted(map(received, workers)) == [["L" * 10], ["s"] * 7]


def finish_12_tasks(lab: Lab, worker: Run, *options: object) -> float:
    """Return how long two waiting workers take over 12 tasks of 2.0 s and 0.1 s in turn."""
    lab.declare()
    workers = [worker(lab, *options, seconds=0.1) for _ in range(2)]
    lab.publish(*["L" * 20, "s"] * 6)
    wait_until(lambda: sum(len(script.find("Done")) for script in workers) == 12)
    starts = [script.find("Received")[0].time for script in workers]
    ends = [script.find("Done")[-1].time for script in workers]
    for script in workers:
        script.terminate()
        assert script.wait() == 0
    return max(ends) - min(starts)


def test_12_uneven_tasks_take_two_workers_12_seconds_round_robin(lab: Lab, worker: Run):
    assert 11.7 <= finish_12_tasks(lab, worker, "--acknowledge") <= 12.3


def test_12_uneven_tasks_take_two_workers_6_4_seconds_with_prefetch_1(lab: Lab, worker: Run):
    times = []
    while min(times, default=9) > 6.4 and len(times) < 4:  # a busy machine may disturb some
        times.append(finish_12_tasks(lab, worker, *ONE_BY_ONE))
    assert 6.3 <= min(times) <= 6.4, times


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

    def names() -> list[str]:
        connections = lab.broker.api("GET", f"vhosts/{lab.vhost}/connections")
        return [c.get("client_properties", {}).get("connection_name") for c in connections]

    wait_until(lambda: "ada's worker" in names(), "the name shows")


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
    script.wait_for("[*] Stopped: 5 worked, 0 lost, 0 abandoned")
    remains = sorted(lab.remains(), key=lambda message: int(message[0]))
    assert [body for body, _ in remains] == [b"%d" % n for n in range(5, 20)]
    if options == ONE_BY_ONE:  # else some may have been handed over, and back
        assert not any(redelivered for _, redelivered in remains)


def test_a_limit_waits_for_messages_that_are_not_there_yet(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("a")
    script = worker(lab, "-n", 2)
    script.wait_for("Done")
    lab.publish("b")
    assert script.wait() == 0


def test_exit_when_empty_ends_at_once_on_an_empty_queue(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--exit-when-empty")
    assert script.wait(within=2) == 0
    script.wait_for("[*] Stopped: 0 worked")


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("options", [(), ("--acknowledge",), ONE_BY_ONE], ids=str)
def test_exit_when_empty_works_off_what_waits_first(
    lab: Lab, worker: Run, options: tuple, queue_type: str
):
    lab.declare(arguments={"x-queue-type": queue_type})
    lab.publish("L" * 50, *["s"] * 30)
    script = worker(lab, "--exit-when-empty", *options)
    assert script.wait() == 0
    script.wait_for("[*] Stopped: 31 worked, 0 lost, 0 abandoned")
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


def test_sigterm_in_a_task_finishes_and_acknowledges_it_and_leaves_the_rest(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("in hand", "b", "c")
    script = worker(lab, "--acknowledge", seconds=0.1)
    script.wait_for("Received 'in hand'")
    script.terminate()
    assert script.wait() == 0
    assert [line.text for line in script.lines[2:]] == [
        " [x] Done",
        " [*] Stopped: 1 worked, 0 lost, 0 abandoned",
    ]
    assert [body for body, _ in lab.remains()] == [b"b", b"c"]


def test_sigterm_says_how_many_auto_acknowledged_messages_go_down_with_it(lab: Lab, worker: Run):
    lab.declare()
    lab.publish("in hand", *"bcdef")
    script = worker(lab, seconds=0.1)
    script.wait_for("Received 'in hand'")
    wait_until(lambda: lab.ready() == 0)
    script.terminate()
    assert script.wait() == 0
    script.wait_for(" [!] 5 more had been handed over, LOST: they were auto-acknowledged")
    script.wait_for(" [*] Stopped: 1 worked, 5 lost, 0 abandoned")
    assert lab.remains() == []


@pytest.mark.parametrize("options", [(), ONE_BY_ONE], ids=str)
@pytest.mark.parametrize("stop", ["terminate", "interrupt"])
def test_a_signal_ends_an_idle_worker_at_once_with_0(
    lab: Lab, worker: Run, options: tuple, stop: str
):
    lab.declare()
    for _ in range(9):  # a busy machine may disturb some
        script = worker(lab, *options)
        sent = getattr(script, stop)()
        assert script.wait() == 0
        assert script.text("stderr") == ""
        assert script.lines[-1].text == " [*] Stopped: 0 worked, 0 lost, 0 abandoned"
        if script.ended - sent <= 0.5:
            return
    raise AssertionError(f"it took {script.ended - sent:.2f} s")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tgkill is Linux's")
def test_a_signal_that_ends_no_wait_stops_the_worker_nevertheless(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab)
    pid = script.process.pid
    other = max(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
    assert other != pid  # as if it had come a moment before the main thread began to wait
    assert ctypes.CDLL(None).tgkill(pid, other, signal.SIGTERM) == 0
    assert script.wait() == 0
    assert script.lines[-1].text == " [*] Stopped: 0 worked, 0 lost, 0 abandoned"


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
def test_ctrl_c_in_a_task_ends_at_once_and_says_where_the_message_went(
    lab: Lab, worker: Run, options: tuple, end: str, goes_back: bool
):
    lab.declare()
    for _ in range(9):  # a busy machine may disturb some
        lab.publish("in hand")
        script = worker(lab, *options, seconds=9)
        script.wait_for("Received 'in hand'")
        sent = script.interrupt()
        assert script.wait() == 130
        assert script.text("stderr") == f" [!] Abandoned 'in hand': {end}"
        script.wait_for(" [*] Stopped: 0 worked, 0 lost, 1 abandoned")
        assert lab.remains() == ([(b"in hand", True)] if goes_back else [])
        if script.ended - sent <= 0.2:
            return
    raise AssertionError(f"it took {script.ended - sent:.2f} s")


@pytest.mark.parametrize("stop", ["terminate", "interrupt"])
def test_a_signal_ends_a_worker_that_has_not_reached_its_broker_yet(lab: Lab, run: Run, stop: str):
    script = run("qprocessor.py", "--queue", "q", url="amqp://127.0.0.1:9")
    script.wait_for("trying again")
    sent = getattr(script, stop)()
    assert script.wait() == 0
    assert script.ended - sent < 1
    assert len(script.lines) == 1


# ---- work that fails


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_message_whose_work_fails_goes_back_once_and_is_then_rejected(
    lab: Lab, worker: Run, tmp_path: Path, queue_type: str
):
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    lab.declare("dead")
    lab.declare(arguments={"x-queue-type": queue_type, **dead})
    lab.publish("bad", "good")
    copy = with_work(tmp_path, "if text == 'bad': raise ValueError('no such order')")
    script = worker(lab, *ONE_BY_ONE, script=copy)
    script.wait_for("Rejected")
    script.wait_for("Done")
    script.terminate()
    assert script.wait() == 0
    failed = " [!] Failed on 'bad' (ValueError: no such order)."
    assert [line.text for line in script.find("[!]")] == [
        f"{failed} Returned to the queue for one more try",
        f"{failed} Rejected: dropped, or dead-lettered if the queue is set up so",
    ]
    assert len(script.find("Received 'bad' (0.03 s of work, redelivered)")) == 1
    script.wait_for(" [*] Stopped: 1 worked, 0 lost, 0 abandoned, 2 failed")
    assert lab.remains() == []
    assert wait_until(lambda: lab.take("dead")) == [b"bad"]


def test_a_message_whose_work_fails_is_said_to_be_lost_when_auto_acknowledged(
    lab: Lab, worker: Run, tmp_path: Path
):
    lab.declare()
    lab.publish("bad", "good")
    copy = with_work(tmp_path, "if text == 'bad': raise ValueError('no such order')")
    script = worker(lab, script=copy)
    script.wait_for("[!] Failed on 'bad' (ValueError: no such order). LOST: it was auto-ackn")
    script.wait_for("Done")
    assert lab.ready() == 0


def test_verbose_shows_where_the_work_failed(lab: Lab, run: Run, tmp_path: Path):
    lab.declare()
    lab.publish("bad")
    copy = with_work(tmp_path, "raise ValueError('no such order')")
    script = run(copy, "--queue", "q", "-n", 1, "-v", lab=lab)
    assert script.wait() == 0
    assert "in work\n    raise ValueError('no such order')" in script.text("stderr")


# ---- what it costs; how soon it gives up


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("amqp://guest:wrong@127.0.0.1:{port}/{vhost}", [], "user 'guest'"),
        ("amqp://127.0.0.1:{port}/nowhere", [], "vhost 'nowhere'"),
        ("amqp://127.0.0.1:{port}/{vhost}", ["--queue-type", "quorum"], "'x-queue-type'"),
    ],
    ids=["wrong password", "unknown vhost", "other queue type"],
)
def test_a_refusal_ends_it_within_half_a_second_and_is_never_retried(
    lab: Lab, run: Run, url: str, options: list, said: str
):
    lab.declare()
    url = url.format(port=lab.broker.port, vhost=lab.vhost)
    times = []
    for _ in range(9):  # a busy machine may disturb some
        script = run("qprocessor.py", "--queue", "q", *options, url=url)
        assert script.wait() == 4
        assert said in script.text("stderr")
        assert len(script.lines) <= 3
        assert "again" not in script.text()
        assert "Traceback" not in script.text()
        times.append(script.ended - script.started)
        if times[-1] <= 0.5:
            return
    raise AssertionError(f"it took {times}")


BARE = """
import os, pika
channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
channel.queue_declare("q", passive=True)
def callback(channel, method, properties, body):
    print(" [x] Received", body, flush=True)
channel.basic_consume("q", callback, auto_ack=True)
channel.start_consuming()
"""


def start_both(lab: Lab, run: Run, bare: Path) -> list[float]:
    """Return how much longer and larger the worker is than a bare script, at its first message."""
    commands = [bare], ["qprocessor.py", "--queue", "q", "--seconds-per-character", 0]
    runs: list[list[tuple[float, int]]] = [[], []]
    for _ in range(9):
        for command, figures in zip(commands, runs, strict=True):
            assert lab.remains() == []  # the broker knows that the one before is dead
            lab.publish("abc")
            script = run(*command, lab=lab)
            line = script.wait_for("[x] Received")
            status = Path(f"/proc/{script.process.pid}/status").read_text()
            kilobytes = int(status.partition("VmHWM:")[2].split()[0])
            figures.append((line.time - script.started, kilobytes))
            script.kill()
            script.wait()
    bare, ours = ([statistics.median(figure) for figure in zip(*run, strict=True)] for run in runs)
    return [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]


def test_it_starts_and_weighs_no_more_than_1_3_times_a_bare_pika_script(
    lab: Lab, run: Run, tmp_path: Path
):
    (tmp_path / "bare.py").write_text(BARE)
    lab.declare()
    for _ in range(3):  # a busy machine may disturb one
        time_ratio, memory_ratio = start_both(lab, run, tmp_path / "bare.py")
        print(f"{time_ratio:.2f} times the time, {memory_ratio:.2f} times the memory")
        if time_ratio <= 1.3:
            break
    assert time_ratio <= 1.3
    assert memory_ratio <= 1.3


@pytest.mark.parametrize("options", [(), ONE_BY_ONE], ids=str)
def test_an_idle_worker_costs_no_cpu_to_speak_of(lab: Lab, worker: Run, options: tuple):
    lab.declare()
    lab.publish("abc")
    script = worker(lab, *options)
    script.wait_for("Done")

    def cpu() -> float:
        threads = Path(f"/proc/{script.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    wait_until(lambda: (before := cpu(), time.sleep(0.1)) and cpu() == before, "it comes to rest")
    before = cpu()
    time.sleep(5)
    print(f"{(cpu() - before) * 1000:.1f} ms of CPU in 5 s")
    assert cpu() - before < 0.02
