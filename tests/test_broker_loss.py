"""qprocessor.py when the connection, the queue, the broker or a worker goes away."""

import collections
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from conftest import Lab, Run, Script, fates, let_it_be_written, wait_until
from kit.cli.program import DEADLINE
from kit.exercise.proxy import Proxy

ONE_BY_ONE = ("--acknowledge", "--prefetch", 1)
AGAIN = "is done, but the broker will hand it out again"
DELETED = "queue 'q' was deleted, or the delivery timeout passed"


def bodies(script: Script, mark: str = "[x] Received") -> list[str]:
    return [line.text.split("'")[1] for line in script.find(mark)]


def trouble(script: Script) -> list[str]:
    """Return what a worker said of trouble, but for what it said about messages."""
    about = " [!] 'task"
    return [line.text for line in script.find(" [!] ") if not line.text.startswith(about)]


def comes_back(script: Script, within: float = DEADLINE) -> None:
    """Wait until a worker consumes again; it has said in one line that it did not."""
    script.wait_for("Waiting for messages", count=2, within=within)
    script.wait_for("[!] Lost")  # said before, but on the other stream
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
    lab: Lab, worker: Run, queue_type: str, busy: bool
):
    options = (*ONE_BY_ONE, "--queue-type", queue_type, "--durable", "--name", "me")
    script = worker(lab, *options, seconds=0.1)
    if busy:
        lab.publish("task of 2 s and more!")
        script.wait_for("Received")
    lab.connection.channel().queue_delete("q")
    comes_back(script)
    assert DELETED in trouble(script)[0]
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
    lab: Lab, worker: Run
):
    options = ("--durable", *ONE_BY_ONE, "--exit-when-empty")
    lab.declare()
    lab.publish("task of 2 s and more!")
    script = worker(lab, *options, seconds=0.1)
    script.wait_for("Received")
    lab.connection.channel().queue_delete("q")
    assert script.wait() == 0
    assert fates(script)["worked"] == 1


# ---- the connection goes away


@pytest.fixture
def proxy(proxied: tuple[Proxy, str]) -> Proxy:
    return proxied[0]


@pytest.fixture
def url(proxied: tuple[Proxy, str]) -> str:
    """Return the address of the broker through the proxy."""
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
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, seconds=0.1, url=url)
    long = "task 1".ljust(60, ".")
    lab.publish(long, "task 2")
    script.wait_for("Received 'task 1")
    proxy.cut()
    comes_back(script)
    script.wait_for(f" [!] '{long}' {AGAIN}")
    script.wait_for(f"Received '{long}' (6 s of work, redelivered)")
    script.wait_for("Done", 3)  # a wrong acknowledgement would close the channel: 406
    assert len(trouble(script)) == 1
    finish(script)
    assert fates(script) == {"worked": 3, "lost": 0, "returned": 0, "failed": 0}
    assert lab.remains() == []


def test_auto_acknowledged_messages_in_hand_are_worked_on_when_the_connection_is_cut(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, seconds=1, url=url)
    lab.publish("aaaaa", *"bcde")
    script.wait_for("Received 'aaaaa'")
    queue = f"queues/{lab.vhost}/q"
    wait_until(lambda: lab.broker.api("GET", queue).get("messages") == 0, "all are acknowledged")
    proxy.cut()
    comes_back(script)
    script.wait_for("Done", 5)
    assert bodies(script) == ["aaaaa", *"bcde"]
    assert not script.find(AGAIN)
    finish(script)
    assert fates(script) == {"worked": 5, "lost": 0, "returned": 0, "failed": 0}


@pytest.mark.parametrize("options", [("--acknowledge",), ()], ids=str)
def test_the_last_of_a_limit_in_hand_when_the_connection_is_cut_takes_no_others(
    lab: Lab, worker: Run, proxy: Proxy, url: str, options: tuple
):
    lab.declare()
    lab.publish("task 1 of 2 s at all!", *"abcde")
    proxy.before_cancel = proxy.cut
    script = worker(lab, *options, "-n", 1, seconds=0.1, url=url)
    script.wait_for("Received 'task 1")
    assert script.wait() == 0
    assert len(script.find("Received")) == 1
    others = [message for message in lab.remains() if not message[0].startswith(b"task")]
    assert [body.decode() for body, _ in others] == list("abcde")
    if options:  # else one may have been on its way when the connection was cut
        assert not any(redelivered for _, redelivered in others)


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
    lab: Lab, worker: Run, proxy: Proxy, url: str, options: tuple
):
    lab.declare()
    lab.publish("task of 2 s, and more")
    script = worker(lab, *options, seconds=0.1, url=url)
    script.wait_for("Received")
    proxy.close()
    script.wait_for("connecting again")
    finish(script)
    script.wait_for("Done")
    assert fates(script) == {"worked": 1, "lost": 0, "returned": 0, "failed": 0}
    assert len(script.find(AGAIN)) == bool(options)
    assert lab.remains() == ([(b"task of 2 s, and more", True)] if options else [])


@pytest.mark.parametrize("options", [ONE_BY_ONE, ()], ids=str)
def test_a_connection_lost_after_sigterm_takes_no_more_messages(
    lab: Lab, worker: Run, proxy: Proxy, url: str, options: tuple
):
    lab.declare()
    lab.publish("task of 2 s, and more")
    script = worker(lab, *options, seconds=0.1, url=url)
    script.wait_for("Received")
    stopping = threading.Event()
    proxy.before_cancel = stopping.set
    script.terminate()
    assert stopping.wait(DEADLINE)
    lab.publish("for another worker")
    proxy.cut()
    assert script.wait() == 0, script.text()
    assert bodies(script)[1:] in ([], ["task of 2 s, and more"])
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
    own_lab: Lab, worker: Run, queue_type: str
):
    lab, node = own_lab, own_lab.broker.node
    eval_timeout = "application:set_env(rabbit, consumer_timeout, {})."
    if node.version < (4, 3):  # it is read when a channel is opened
        node.ctl("eval", eval_timeout.format(2000))
    arguments = {"x-queue-type": queue_type}
    if node.version >= (4, 3) and queue_type == "quorum":
        arguments["x-consumer-timeout"] = 2000
    lab.declare(arguments=arguments)
    try:
        script = worker(lab, *ONE_BY_ONE, seconds=0.1)
        lab.publish("task " + "x" * 55, "after")
        script.wait_for("Received")
        if queue_type == "classic" and node.version >= (4, 3):  # has no such timeout any more
            script.wait_for("Received 'after'")
            assert trouble(script) == []
            return
        lost = script.wait_for("Lost RabbitMQ")
        assert "timed out" in lost.text or "the delivery timeout passed" in lost.text
        if node.version < (4, 3):
            node.ctl("eval", eval_timeout.format(1_800_000))
        script.wait_for("Waiting for messages", count=2)  # it may have met the old one once more
        script.wait_for(AGAIN)
        script.wait_for("redelivered")
    finally:
        if node.version < (4, 3):
            node.ctl("eval", eval_timeout.format(1_800_000))


# ---- the broker goes away


class Outage(NamedTuple):
    """When the broker was told to go, and when it accepted connections again."""

    gone: float
    back: float


def outage(lab: Lab, how: str) -> Outage:
    """Stop or kill the broker and start it again."""
    gone = time.monotonic()
    back = lab.broker.away("restart" if how == "stop" else how)
    lab.reconnect()
    return Outage(gone, back)


@pytest.mark.parametrize(
    ("how", "queue_type"),
    [
        ("stop", "classic"),
        ("kill", "classic"),
        ("kill", "quorum"),
    ],
)
def test_idle_and_busy_workers_come_back_with_the_broker(
    own_lab: Lab, worker: Run, how: str, queue_type: str
):
    lab = own_lab
    lab.declare(arguments={"x-queue-type": queue_type})
    lab.declare("idle", arguments={"x-queue-type": queue_type})
    if how == "kill":
        let_it_be_written()
    lab.publish("task A " + "x" * 43, persistent=True)
    busy = worker(lab, *ONE_BY_ONE, seconds=0.1)
    busy.wait_for("Received 'task A")
    lab.queue = "idle"
    idle = worker(lab, *ONE_BY_ONE)
    outage(lab, how)
    comes_back(idle)
    comes_back(busy)
    busy.wait_for(f"xx' {AGAIN}")
    busy.wait_for("s of work, redelivered)")
    lab.publish("after", persistent=True)
    idle.wait_for("Received 'after'")
    busy.wait_for("Done", 2)
    for script, queue in ((busy, "q"), (idle, "idle")):
        finish(script)
        assert lab.remains(queue) == []


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
    own_lab: Lab, worker: Run, busy: bool
):
    lab = own_lab
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, "--heartbeat", 2, seconds=0.1)
    if busy:
        lab.publish("task " + "x" * 155, persistent=True)
        script.wait_for("Received")
    lab.connection.close()
    with lab.broker.frozen():
        script.wait_for("Lost RabbitMQ")
    comes_back(script)
    lab.reconnect()
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


# ---- all of it at once


@dataclass
class Try:
    """One worker's try at one task."""

    body: str
    begin: float
    end: float = math.inf


def tries(script: Script) -> list[Try]:
    """Return what a worker has received, and when it was done."""
    found: list[Try] = []
    for line in list(script.lines):
        if "[x] Received" in line.text:
            found.append(Try(line.text.split("'")[1], line.time))
        elif "[x] Done" in line.text:
            found[-1].end = line.time
    return found


class Breaker(threading.Thread):
    """Restarts a broker politely once 300 tasks are done, and by a kill once 600 are."""

    def __init__(self, lab: Lab, done: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.lab, self.done, self.outages = lab, done, []

    def run(self) -> None:
        """Wait for the counts."""
        for count, how in ((300, "stop"), (600, "kill")):
            wait_until(lambda count=count: self.done() >= count, within=90)
            self.outages.append(outage(self.lab, how))


@pytest.mark.parametrize(
    "queue_type",
    ["classic", "quorum"],
)
def test_1000_tasks_survive_workers_killed_at_random_and_two_restarts_of_the_broker(
    own_lab: Lab, run: Run, queue_type: str
):
    lab, dice = own_lab, random.Random(7)
    lab.declare(arguments={"x-queue-type": queue_type})
    tasks = [f"task {n}" for n in range(1000)]
    lab.publish(*tasks, persistent=True)
    options = ("--queue", "q", *ONE_BY_ONE, "--seconds-per-character", 0.004)
    at_work = [run("qprocessor.py", *options, lab=lab) for _ in range(4)]
    everyone = list(at_work)
    killed: dict[Script, float] = {}

    def done() -> int:
        return len({one.body for script in everyone for one in tries(script) if one.end < math.inf})

    breaker = Breaker(lab, done)
    breaker.start()
    while done() < len(tasks):
        time.sleep(dice.uniform(0.5, 1.5))
        victim = at_work.pop(dice.randrange(len(at_work)))
        killed[victim] = victim.kill()
        everyone.append(run("qprocessor.py", *options, lab=lab))
        at_work.append(everyone[-1])
        assert len(killed) < 250, f"only {done()} done"
    breaker.join(timeout=60)
    wait_until(lambda: lab.ready() == 0)
    for script in at_work:
        script.wait_for("Waiting for messages")
        script.terminate()
        assert script.wait() == 0
    assert lab.remains() == []

    assert len(breaker.outages) == 2
    assert not any("Traceback" in script.text() for script in everyone)
    stopped, crashed = breaker.outages
    by_task = collections.defaultdict(list)
    for script in everyone:
        mine = tries(script)
        for one in mine:
            causes = ["a killed worker"] if script in killed and one is mine[-1] else []
            causes += ["the restart"] if may_have_been_in_hand(one, mine, stopped) else []
            causes += ["the killed broker"] if may_have_been_in_hand(one, mine, crashed) else []
            # A classic queue also forgets acknowledgements that it did not write down yet.
            if queue_type == "classic" and one.begin <= crashed.back:
                causes.append("what the killed broker had not written down")
            by_task[one.body].append((one, causes))
    assert set(by_task) == set(tasks)
    repeated: collections.Counter[str] = collections.Counter()
    for several in by_task.values():
        several.sort(key=lambda pair: pair[0].begin)
        assert several[-1][0].end < math.inf
        for _, causes in several[:-1]:
            assert causes, (several, breaker.outages)
            repeated[causes[0]] += 1
    print(f"{len(killed)} workers killed; lost 0, repeated because of {dict(repeated)}")


def may_have_been_in_hand(one: Try, mine: list[Try], outage: Outage) -> bool:
    """Return True if a worker with prefetch 1 may have held this task when its broker went."""
    before = [other for other in mine if other.begin < outage.gone]
    return one in before[-1:] or outage.gone <= one.begin <= outage.back
