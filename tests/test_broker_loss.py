"""Test qprocessor.py when the connection, the queue, the broker or a worker goes away."""

import collections
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import Gate, Lab, Run, Script, fates, read_journal, wait_until
from kit.cli.program import DEADLINE
from kit.exercise.proxy import Proxy

ONE_BY_ONE = ("--acknowledge", "--prefetch", 1)
AGAIN = "is done, but the broker will hand it out again"
DELETED = "queue 'q' was deleted, or the delivery timeout passed"


def bodies(script: Script, mark: str = "[x] Received") -> list[str]:
    return [line.text.split("'")[1] for line in script.find(mark)]


def trouble(script: Script) -> list[str]:
    """Return a worker's lines of trouble, without those about messages."""
    about = " [!] 'task"
    return [line.text for line in script.find(" [!] ") if not line.text.startswith(about)]


def comes_back(script: Script, within: float = DEADLINE) -> None:
    """Wait until a worker consumes again, having reported the loss in one line."""
    script.wait_for("Waiting for messages", count=2, within=within)
    script.wait_for("[!] Lost")  # printed earlier, but on the other stream
    (lost,) = trouble(script)
    assert lost.startswith(" [!] Lost RabbitMQ at 127.0.0.1:")
    assert lost.endswith("); connecting again")


def finish(script: Script, code: int = 0) -> None:
    script.terminate()
    assert script.wait() == code, script.text()


# ---- a worker dies


def test_a_message_of_a_killed_worker_is_handed_to_another_one(lab: Lab, worker: Run):
    lab.declare()
    first = worker(lab, *ONE_BY_ONE, seconds=1)
    lab.publish("task" * 9)
    first.wait_for("Received")
    second = worker(lab, *ONE_BY_ONE)
    first.kill()
    second.wait_for("(0.36 s of work, redelivered)")
    second.wait_for("Done")


# ---- the queue goes away


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a task"])
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_deleted_queue_is_said_and_declared_again(
    lab: Lab, worker: Run, gate: Gate, queue_type: str, busy: bool
):
    options = (*ONE_BY_ONE, "--queue-type", queue_type, "--durable", "--name", "me")
    script = worker(lab, *options, script=gate.script)
    if busy:
        lab.publish("task")
        script.wait_for("Received")
    lab.connection.channel().queue_delete("q")
    comes_back(script)
    assert DELETED in trouble(script)[0]
    gate.open()
    if busy:
        script.wait_for("Done")
    lab.publish("after")
    script.wait_for("Received 'after'")
    script.wait_for("Done", 1 + busy)
    finish(script)
    assert fates(script)["worked"] == 1 + busy
    assert lab.remains() == []


def test_a_deleted_queue_leaves_no_old_connection_behind(lab: Lab, worker: Run):
    script = worker(lab, "--durable", "--name", "me")
    for count in range(2, 5):
        wait_until(lambda: lab.connections("me"), "the connection shows")
        lab.connection.channel().queue_delete("q")
        script.wait_for("Waiting for messages", count=count)
    wait_until(lambda: len(lab.connections("me")) == 1, "only one connection is left")


def test_exit_when_empty_ends_though_the_queue_of_the_task_in_hand_was_deleted(
    lab: Lab, worker: Run, gate: Gate
):
    options = ("--durable", *ONE_BY_ONE, "--exit-when-empty")
    lab.declare()
    lab.publish("task")
    script = worker(lab, *options, script=gate.script)
    script.wait_for("Received")
    lab.connection.channel().queue_delete("q")
    gate.open()
    assert script.wait() == 0
    assert fates(script)["worked"] == 1


# ---- the connection goes away


@pytest.fixture
def proxy(proxied: tuple[Proxy, str]) -> Proxy:
    return proxied[0]


@pytest.fixture
def url(proxied: tuple[Proxy, str]) -> str:
    """Return the broker's URL through the proxy."""
    return proxied[1]


def test_an_idle_worker_whose_connection_is_cut_says_so_and_comes_back(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, url=url)
    proxy.cut()
    comes_back(script)
    assert f":{proxy.port} (" in trouble(script)[0]
    lab.publish("after")
    script.wait_for("Done")


def test_a_task_whose_delivery_was_lost_is_not_acknowledged_on_the_new_channel(
    lab: Lab, worker: Run, gate: Gate, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, script=gate.script, url=url)
    lab.publish("task 1", "task 2")
    script.wait_for("Received 'task 1")
    proxy.cut()
    comes_back(script)
    gate.open()
    script.wait_for(f" [!] 'task 1' {AGAIN}")
    script.wait_for("Received 'task 1' (0.06 s of work, redelivered)")
    script.wait_for("Done", 3)  # a wrong acknowledgement would close the channel: 406
    assert len(trouble(script)) == 1
    finish(script)
    assert fates(script) == {"worked": 3, "lost": 0, "returned": 0, "failed": 0}
    assert lab.remains() == []


def test_auto_acknowledged_messages_in_hand_are_worked_on_when_the_connection_is_cut(
    lab: Lab, worker: Run, gate: Gate, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, script=gate.script, url=url)
    lab.publish(*"abcde")
    script.wait_for("Received 'a'")
    wait_until(lambda: lab.acknowledged() == 5, "all are acknowledged")
    proxy.cut()
    comes_back(script)
    gate.open()
    script.wait_for("Done", 5)
    assert bodies(script) == [*"abcde"]
    assert not script.find(AGAIN)
    finish(script)
    assert fates(script) == {"worked": 5, "lost": 0, "returned": 0, "failed": 0}


@pytest.mark.parametrize("options", [("--acknowledge",), ()], ids=str)
def test_the_last_of_a_limit_in_hand_when_the_connection_is_cut_takes_no_others(
    lab: Lab, worker: Run, gate: Gate, proxy: Proxy, url: str, options: tuple
):
    lab.declare()
    lab.publish("task 1", *"abcde")
    proxy.before_cancel = proxy.cut
    script = worker(lab, *options, "-n", 1, script=gate.script, url=url)
    script.wait_for("Received 'task 1")
    wait_until(lambda: not lab.consumers(), "the connection is cut")
    gate.open()
    assert script.wait() == 0
    assert len(script.find("Received")) == 1
    others = [message for message in lab.remains() if not message[0].startswith(b"task")]
    assert [body.decode() for body, _ in others] == list("abcde")
    if options:  # otherwise one may have been in flight at the cut
        assert not any(redelivered for _, redelivered in others)


def test_all_of_a_limit_is_worked_on_though_the_connection_is_cut_at_the_last(
    lab: Lab, worker: Run, gate: Gate, proxy: Proxy, url: str
):
    lab.declare()
    lab.publish(*"abcde")
    proxy.before_cancel = proxy.cut
    script = worker(lab, "-n", 3, script=gate.script, url=url)
    wait_until(lambda: not lab.consumers(), "the connection is cut")
    gate.open()
    assert script.wait() == 0, script.text()
    assert bodies(script) == [*"abc"]
    assert fates(script) == {"worked": 3, "lost": 0, "returned": 0, "failed": 0}


def test_ctrl_c_in_a_task_whose_connection_is_lost_still_says_where_it_went(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    lab.publish("task")
    script = worker(lab, *ONE_BY_ONE, seconds=99, url=url)
    script.wait_for("Received")
    proxy.close()
    script.wait_for("connecting again")
    script.interrupt()
    assert script.wait() == 130
    script.wait_for(" [!] Abandoned 'task': returned to the queue")
    assert fates(script) == {"worked": 0, "lost": 0, "returned": 1, "failed": 0}
    assert lab.remains() == [(b"task", True)]


@pytest.mark.parametrize("options", [ONE_BY_ONE, ()], ids=str)
def test_sigterm_in_a_task_whose_connection_is_lost_finishes_it_and_ends(
    lab: Lab, worker: Run, gate: Gate, proxy: Proxy, url: str, options: tuple
):
    lab.declare()
    lab.publish("task")
    script = worker(lab, *options, script=gate.script, url=url)
    script.wait_for("Received")
    if not options:  # the acknowledgement on arrival may still be on its way
        wait_until(lambda: lab.acknowledged() == 1, "the broker has the acknowledgement")
    proxy.close()
    script.wait_for("connecting again")
    script.terminate()
    gate.open()
    assert script.wait() == 0, script.text()
    script.wait_for("Done")
    assert fates(script) == {"worked": 1, "lost": 0, "returned": 0, "failed": 0}
    assert len(script.find(AGAIN)) == bool(options)
    assert lab.remains() == ([(b"task", True)] if options else [])


@pytest.mark.parametrize("options", [ONE_BY_ONE, ()], ids=str)
def test_a_connection_lost_after_sigterm_takes_no_more_messages(
    lab: Lab, worker: Run, gate: Gate, proxy: Proxy, url: str, options: tuple
):
    lab.declare()
    lab.publish("task")
    script = worker(lab, *options, script=gate.script, url=url)
    script.wait_for("Received")
    script.terminate()
    wait_until(lambda: not lab.consumers(), "the consumer is cancelled")
    lab.publish("for another worker")
    proxy.cut()
    gate.open()
    assert script.wait() == 0, script.text()
    assert bodies(script)[1:] in ([], ["task"])
    assert (b"for another worker", False) in lab.remains()
    assert fates(script)["lost"] == 0


def test_sigterm_ends_a_worker_whose_broker_goes_away_meanwhile(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, url=url)
    proxy.before_cancel = proxy.close
    finish(script)
    assert fates(script) == {"worked": 0, "lost": 0, "returned": 0, "failed": 0}


@pytest.mark.parametrize("stop", ["terminate", "interrupt"])
def test_a_signal_ends_a_worker_that_cannot_reach_its_broker_any_more(
    lab: Lab, worker: Run, proxy: Proxy, url: str, stop: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, url=url)
    proxy.close()
    script.wait_for("connecting again")
    getattr(script, stop)()
    assert script.wait() == 0


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a task"])
def test_a_second_ctrl_c_does_not_wait_for_a_broker_that_does_not_answer(
    lab: Lab, worker: Run, proxy: Proxy, url: str, busy: bool
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, seconds=99, url=url)
    if busy:
        lab.publish("task")
        script.wait_for("Received")
    asked = proxy.fall_silent_at_cancel()
    script.interrupt()
    assert asked.wait(DEADLINE)
    script.interrupt()
    assert script.wait() == (130 if busy else 0)
    assert fates(script)["returned"] == busy


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a task"])
def test_a_connection_that_has_gone_silent_is_given_up_by_its_heartbeat(
    lab: Lab, worker: Run, proxy: Proxy, url: str, busy: bool
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, "--heartbeat", 2, seconds=1, url=url)
    if busy:
        lab.publish("task that is long, 30 s of it.")
        script.wait_for("Received")
    proxy.silence()
    comes_back(script)  # after 14 s: pika looks every heartbeat + 5 s, and it must fail twice
    if not busy:
        lab.publish("x")
        script.wait_for("Received 'x'")


# ---- the delivery timeout


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_task_longer_than_the_delivery_timeout_is_told_so_and_handed_out_again(
    own_lab: Lab, worker: Run, gate: Gate, queue_type: str
):
    lab, node = own_lab, own_lab.broker.node
    eval_timeout = "application:set_env(rabbit, consumer_timeout, {})."
    if node.version < (4, 3):  # the broker reads it when a channel opens
        node.ctl("eval", eval_timeout.format(2000))
    arguments = {"x-queue-type": queue_type}
    if node.version >= (4, 3) and queue_type == "quorum":
        arguments["x-consumer-timeout"] = 2000
    lab.declare(arguments=arguments)
    try:
        script = worker(lab, *ONE_BY_ONE, script=gate.script)
        lab.publish("task", "after")
        script.wait_for("Received")
        if queue_type == "classic" and node.version >= (4, 3):  # no longer has this timeout
            gate.open()
            script.wait_for("Received 'after'")
            assert trouble(script) == []
            return
        lost = script.wait_for("Lost RabbitMQ")
        assert "timed out" in lost.text or "the delivery timeout passed" in lost.text
        script.wait_for("Waiting for messages", count=2)
        gate.open()  # from here on, no task meets the timeout
        script.wait_for(AGAIN)
        script.wait_for("redelivered")
    finally:
        if node.version < (4, 3):
            node.ctl("eval", eval_timeout.format(1_800_000))


# ---- the broker goes away


def outage(lab: Lab, how: str) -> float:
    """Stop or kill the broker and start it again; return the time at which it was gone."""
    lab.broker.node.stop() if how == "stop" else lab.broker.node.kill()
    gone = time.monotonic()
    lab.broker.node.start()
    lab.reconnect()
    return gone


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_idle_and_busy_workers_come_back_with_the_broker(
    own_lab: Lab, worker: Run, gate: Gate, how: str
):
    lab, busy, idle = own_lab, [], []
    for queue_type in "classic", "quorum":
        lab.declare(f"busy-{queue_type}", arguments={"x-queue-type": queue_type})
        lab.declare(f"idle-{queue_type}", arguments={"x-queue-type": queue_type})
    lab.broker.flush_to_disk()
    for queue_type in "classic", "quorum":
        lab.queue = f"busy-{queue_type}"
        lab.publish("task A", persistent=True)
        busy.append(worker(lab, *ONE_BY_ONE, script=gate.script))
        busy[-1].wait_for("Received 'task A")
        lab.queue = f"idle-{queue_type}"
        idle.append(worker(lab, *ONE_BY_ONE))
    outage(lab, how)
    for script in idle + busy:
        comes_back(script)
    gate.open()
    for script in busy:
        script.wait_for(f"'task A' {AGAIN}")
        script.wait_for("s of work, redelivered)")
        script.wait_for("Done", 2)
        finish(script)
    for script, queue_type in zip(idle, ("classic", "quorum"), strict=True):
        lab.publish("after", queue=f"idle-{queue_type}", persistent=True)
        script.wait_for("Received 'after'")
        script.wait_for("Done")
        finish(script)
        assert lab.remains(f"idle-{queue_type}") == lab.remains(f"busy-{queue_type}") == []


def test_what_outlives_a_restart_of_the_broker(
    own_lab: Lab, worker: Run, request: pytest.FixtureRequest
):
    lab = own_lab
    queues = {"durable": {"durable": True}, "quorum": {"arguments": {"x-queue-type": "quorum"}}}
    if not request.config.getoption("deny_transient"):
        queues["transient"] = {"durable": False}
    workers = {}
    for name, properties in queues.items():
        lab.declare(name, **properties)
        lab.publish("persistent", queue=name, persistent=True)
        lab.publish("transient", queue=name)
    outage(lab, "stop")
    for name in queues:
        lab.queue = name
        workers[name] = worker(lab, "--acknowledge", "--exit-when-empty")
        assert workers[name].wait() == 0
    assert bodies(workers["durable"]) == ["persistent"]
    assert bodies(workers["quorum"]) == ["persistent", "transient"]
    if "transient" in queues:
        assert bodies(workers["transient"]) == []
        workers["transient"].wait_for("There is no queue 'transient' yet: creating it")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a task"])
def test_a_broker_frozen_for_longer_than_the_heartbeat_is_given_up_and_found_again(
    own_lab: Lab, worker: Run, gate: Gate, busy: bool
):
    lab = own_lab
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, "--heartbeat", 2, script=gate.script)
    if busy:
        lab.publish("task", persistent=True)
        script.wait_for("Received")
    lab.connection.close()
    with lab.broker.frozen():
        script.wait_for("Lost RabbitMQ")
    comes_back(script)
    lab.reconnect()
    gate.open()
    if busy:
        script.wait_for(AGAIN)
        script.wait_for("redelivered")
    else:
        lab.publish("after")
        script.wait_for("Received 'after'")


def test_sigterm_ends_a_worker_whose_broker_has_been_frozen_for_long(own_lab: Lab, worker: Run):
    lab = own_lab
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, "--heartbeat", 2)
    lab.connection.close()
    with lab.broker.frozen():
        script.wait_for("Lost RabbitMQ")
        finish(script)
    lab.reconnect()


# ---- all failures at once


@dataclass
class Try:
    """One worker's attempt at a task."""

    worker: str
    begun: float
    is_done: bool = False
    # The last delivery of its connection: with a prefetch of 1, all before it are acknowledged.
    is_last: bool = True


def tries(journal: Path) -> dict[str, list[Try]]:
    """Return the attempts at each task, in order of their start."""
    by_task: dict[str, list[Try]] = collections.defaultdict(list)
    by_delivery: dict[tuple, Try] = {}
    last: dict[tuple, Try] = {}
    for line in read_journal(journal):
        connection = line["worker"], line.get("connection")
        if line["event"] == "received":
            one = Try(line["worker"], line["monotonic"])
            by_task[line["message"]].append(one)
            by_delivery[(*connection, line["delivery_tag"])] = one
            if connection in last:
                last[connection].is_last = False
            last[connection] = one
        elif line["event"] == "done":
            by_delivery[(*connection, line["delivery_tag"])].is_done = True
    return by_task


class Breaker(threading.Thread):
    """Restarts a broker politely after 300 done tasks, and by a kill after 600."""

    def __init__(self, lab: Lab, done: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.lab, self.done, self.outages = lab, done, []

    def run(self) -> None:
        """Wait for the counts."""
        for count, how in ((300, "stop"), (600, "kill")):
            wait_until(lambda count=count: self.done() >= count, within=90)
            self.outages.append(outage(self.lab, how))


def test_1000_tasks_survive_workers_killed_at_random_and_two_restarts_of_the_broker(
    own_lab: Lab, run: Run, tmp_path: Path
):
    """Half of the tasks wait in a classic queue, half in a quorum queue."""
    lab, dice, journal = own_lab, random.Random(7), tmp_path / "run.jsonl"
    tasks = {queue: {f"{queue} {n}" for n in range(500)} for queue in ("classic", "quorum")}
    for queue in tasks:
        lab.declare(queue, arguments={"x-queue-type": queue})
    lab.broker.flush_to_disk()
    for queue, bodies in tasks.items():
        lab.publish(*bodies, queue=queue, persistent=True)
    options = (*ONE_BY_ONE, "--seconds-per-character", 0.004, "--journal", journal)
    at_work: dict[str, Script] = {}
    everyone: list[Script] = []
    killed: set[str] = set()

    def start(queue: str) -> None:
        name = f"{queue}-worker-{len(everyone)}"
        at_work[name] = run("qprocessor.py", *options, "--queue", queue, "--name", name, lab=lab)
        everyone.append(at_work[name])

    def done() -> int:
        return journal.read_text().count('"done"') if journal.exists() else 0

    def is_over() -> bool:
        if done() < 1000:
            return False
        ended = {task for task, several in tries(journal).items() if several[-1].is_done}
        return ended == set().union(*tasks.values())

    for queue in 2 * list(tasks):
        start(queue)
    breaker = Breaker(lab, done)
    breaker.start()
    while True:
        count = done() + dice.randint(20, 100)
        wait_until(lambda count=count: done() >= count or is_over(), within=90)
        if is_over():
            break
        victim = dice.choice(list(at_work))
        at_work.pop(victim).kill()
        killed.add(victim)
        start(victim.partition("-")[0])
    breaker.join(timeout=60)
    for queue in tasks:
        wait_until(lambda queue=queue: lab.ready(queue) == 0)
    for script in at_work.values():
        script.wait_for("Waiting for messages")
        script.terminate()
        assert script.wait() == 0
    for queue in tasks:
        assert lab.remains(queue) == []

    assert len(breaker.outages) == 2
    assert not any("Traceback" in script.text() for script in everyone)
    crash = breaker.outages[-1]
    repeated: collections.Counter[str] = collections.Counter()
    for task, several in tries(journal).items():
        assert several[-1].is_done
        for one in several[:-1]:
            # A classic queue also loses acknowledgements that it has not written to disk yet.
            forgotten = task.startswith("classic") and one.begun < crash
            assert one.is_last or forgotten, (several, breaker.outages)
            cause = "a killed worker" if one.worker in killed else "a lost connection"
            repeated[cause if one.is_last else "what the killed broker had not written down"] += 1
    print(f"{len(killed)} workers killed; lost 0, repeated because of {dict(repeated)}")
