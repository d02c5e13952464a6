"""qprocessor.py when the connection, the queue, the broker or a worker goes away."""

import collections
import itertools
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from conftest import Lab, Run, Script, let_it_be_written, wait_until
from kit.net import amqp_answers
from kit.script import Line
from proxy import Proxy

ONE_BY_ONE = ("--acknowledge", "--prefetch", 1)
AGAIN = "is done, but the broker will hand it out again"


def bodies(script: Script, mark: str = "[x] Received") -> list[str]:
    return [line.text.split("'")[1] for line in script.find(mark)]


def talk(script: Script, begin: float, end: float = float("inf")) -> list[str]:
    """Return what the worker printed between two times, but for what it says about messages."""
    about = " [x]", " [!] 'task"
    return [
        line.text
        for line in sorted(script.lines, key=lambda line: line.time)
        if begin < line.time <= end and not line.text.startswith(about)
    ]


def consumes_again(script: Script, within: float = 30) -> Line:
    line = script.wait_for("Waiting for messages", count=2, within=within)
    script.wait_for("[!] Lost")  # said before, but on the other stream
    return line


# ---- a worker dies


def test_a_message_of_a_killed_worker_is_with_another_one_within_a_second(lab: Lab, worker: Run):
    lab.declare()
    first = worker(lab, *ONE_BY_ONE, seconds=1)
    lab.publish("task" * 9)
    first.wait_for("Received")
    second = worker(lab, *ONE_BY_ONE)
    killed = first.kill()
    line = second.wait_for("(0.36 s of work, redelivered)")
    assert line.time - killed < 1
    second.wait_for("Done")


# ---- the queue goes away


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a task"])
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_deleted_queue_is_said_within_a_second_and_declared_again(
    lab: Lab, worker: Run, queue_type: str, busy: bool
):
    options = (*ONE_BY_ONE, "--queue-type", queue_type, "--durable")
    script = worker(lab, *options, seconds=0.1)
    if busy:
        lab.publish("task of 2 s and more!")
        script.wait_for("Received")
    deleted = time.monotonic()
    lab.connection.channel().queue_delete("q")
    assert script.wait_for("queue 'q' was deleted").time - deleted < 1
    consumes_again(script, within=2)
    lab.publish("after")
    script.wait_for("Received 'after'")
    script.wait_for("Done", 1 + busy)
    assert len(talk(script, deleted)) == 2
    script.terminate()
    assert script.wait() == 0
    assert lab.remains() == []


def test_a_deleted_queue_that_must_not_be_made_ends_the_worker(lab: Lab, worker: Run):
    lab.declare()
    script = worker(lab, "--passive")
    lab.connection.channel().queue_delete("q")
    assert script.wait() == 4
    assert "no queue 'q'" in script.text("stderr")


# ---- the connection goes away


@pytest.fixture
def proxy(lab: Lab) -> Iterator[Proxy]:
    proxy = Proxy(lab.broker.port)
    yield proxy
    proxy.close()


@pytest.fixture
def url(lab: Lab, proxy: Proxy) -> str:
    """Return the address of the broker through the proxy."""
    return f"amqp://127.0.0.1:{proxy.port}/{lab.vhost}"


def test_an_idle_worker_whose_connection_is_cut_says_so_and_comes_back(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, url=url)
    cut = time.monotonic()
    proxy.cut()
    assert consumes_again(script).time - cut < 1
    lost, waiting = talk(script, cut)
    assert lost.startswith(f" [!] Lost RabbitMQ at 127.0.0.1:{proxy.port} (")
    assert waiting.startswith(" [*] Waiting")
    lab.publish("after")
    script.wait_for("Done")


def test_a_task_whose_delivery_was_lost_is_not_acknowledged_on_the_new_channel(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, seconds=0.1, url=url)
    long = "task 1".ljust(80, ".")  # a busy machine needs some seconds to connect again
    lab.publish(long, "task 2")
    script.wait_for("Received 'task 1")
    cut = time.monotonic()
    proxy.cut()
    consumes_again(script)
    assert script.wait_for("Done").time > script.find("Waiting")[1].time
    script.wait_for(f" [!] '{long}' {AGAIN}")
    script.wait_for(f"Received '{long}' (8 s of work, redelivered)")
    script.wait_for("Done", 3)  # a wrong acknowledgement would close the channel: 406
    assert len(talk(script, cut)) == 2
    script.terminate()
    assert script.wait() == 0
    script.wait_for("Stopped: 3 worked, 0 lost, 0 abandoned")
    assert lab.remains() == []


def test_auto_acknowledged_messages_in_hand_are_worked_on_when_the_connection_is_cut(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, seconds=0.1, url=url)
    lab.publish("aaaaa", *"bcde")
    script.wait_for("Received 'aaaaa'")
    wait_until(lambda: lab.ready() == 0)
    proxy.cut()
    consumes_again(script)
    script.wait_for("Done", 5)
    assert bodies(script) == ["aaaaa", *"bcde"]
    assert not script.find(AGAIN)


def test_the_last_of_a_limit_in_hand_when_the_connection_is_cut_hoards_no_others(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    lab.publish("task 1 of 2 s at all!", *"abcde")
    script = worker(lab, "--acknowledge", "-n", 1, seconds=0.1, url=url)
    script.wait_for("Received 'task 1")
    proxy.cut()
    script.wait_for(AGAIN)
    assert script.wait() == 0
    others = [(body.encode(), False) for body in "abcde"]
    assert lab.remains() == [(b"task 1 of 2 s at all!", True), *others]


def test_ctrl_c_in_a_task_whose_connection_is_lost_still_says_where_it_went(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    lab.publish("task")
    script = worker(lab, *ONE_BY_ONE, seconds=9, url=url)
    script.wait_for("Received")
    proxy.close()
    script.wait_for("trying again")
    sent = script.interrupt()
    assert script.wait() == 130
    assert script.ended - sent < 1
    script.wait_for(" [!] Abandoned 'task': returned to the queue")
    assert lab.remains() == [(b"task", True)]


def test_sigterm_in_a_task_whose_connection_is_lost_finishes_it_and_ends(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    lab.publish("task of 1 s")
    script = worker(lab, *ONE_BY_ONE, seconds=0.1, url=url)
    script.wait_for("Received")
    proxy.close()
    script.wait_for("trying again")
    script.terminate()
    assert script.wait() == 0
    script.wait_for(AGAIN)
    script.wait_for("Stopped: 1 worked, 0 lost, 0 abandoned")
    assert lab.remains() == [(b"task of 1 s", True)]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a task"])
def test_a_connection_that_has_gone_silent_is_given_up_by_its_heartbeat(
    lab: Lab, worker: Run, proxy: Proxy, url: str, busy: bool
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, "--heartbeat", 2, seconds=1, url=url)
    if busy:
        lab.publish("task that is long, 30 s of it.")
        script.wait_for("Received")
    silent = time.monotonic()
    proxy.silence()
    # pika looks every heartbeat + 5 s, and gives up when it saw nothing twice.
    assert consumes_again(script).time - silent < 2 * (2 + 5) + 1
    assert len(talk(script, silent)) == 2
    if not busy:
        lab.publish("x")
        script.wait_for("Received 'x'", within=1)


def test_a_worker_that_cannot_reach_its_broker_any_more_ends_at_once_by_sigterm(
    lab: Lab, worker: Run, proxy: Proxy, url: str
):
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, url=url)
    proxy.close()
    script.wait_for("trying again")
    sent = script.terminate()
    assert script.wait() == 0
    assert script.ended - sent < 1


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
        begin = script.wait_for("Received")
        if queue_type == "classic" and node.version >= (4, 3):  # has no such timeout any more
            script.wait_for("Received 'after'")
            assert talk(script, begin.time) == []
            return
        lost = script.wait_for("Lost RabbitMQ", within=10)
        assert "timed out" in lost.text or "the delivery timeout passed" in lost.text
        assert 1.9 <= lost.time - begin.time < 5
        if node.version < (4, 3):
            node.ctl("eval", eval_timeout.format(1_800_000))
        assert consumes_again(script).time - lost.time < 1
        script.wait_for(AGAIN)
        script.wait_for("redelivered")
        assert len(talk(script, begin.time, script.find("Waiting")[1].time)) == 2
    finally:
        if node.version < (4, 3):
            node.ctl("eval", eval_timeout.format(1_800_000))


# ---- the broker goes away


class Watch(threading.Thread):
    """Notes when a broker that is down accepts AMQP connections again."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.back = port, float("inf")

    def run(self) -> None:
        """Wait until it is down, then until it accepts."""
        while amqp_answers(self.port):
            time.sleep(0.02)
        while not amqp_answers(self.port):
            time.sleep(0.02)
        self.back = time.monotonic()


class Outage(NamedTuple):
    """When the broker was told to go, and when it accepted connections again."""

    gone: float
    back: float


def outage(lab: Lab, how: str) -> Outage:
    """Stop or kill the broker and start it again."""
    watch = Watch(lab.broker.port)
    watch.start()
    gone = time.monotonic()
    getattr(lab.broker.node, how)()
    lab.broker.node.start()
    watch.join(timeout=30)
    lab.reconnect()
    return Outage(gone, watch.back)


@pytest.mark.parametrize(
    ("how", "queue_type"),
    [
        ("stop", "classic"),
        ("kill", "classic"),
        ("kill", "quorum"),
    ],
)
def test_idle_and_busy_workers_consume_again_within_a_second_of_the_broker(
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
    gone, back = outage(lab, how)
    for name, script in (("idle", idle), ("busy", busy)):
        again = consumes_again(script, within=5)
        said = talk(script, gone, again.time)
        print(f"{name}, {how}: {again.time - back:.2f} s after {back - gone:.1f} s, {said}")
        assert again.time - back <= 1.0
        assert len(said) <= 3
    busy.wait_for(f"xx' {AGAIN}")
    busy.wait_for("s of work, redelivered)")
    lab.publish("after", persistent=True)
    idle.wait_for("Received 'after'")
    busy.wait_for("Done", 2)
    for script, queue in ((busy, "q"), (idle, "idle")):
        script.terminate()
        assert script.wait() == 0
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


@pytest.mark.parametrize(
    ("busy", "wait"), [(False, 12), (True, 1)], ids=["idle, for long", "in a task"]
)
def test_a_broker_frozen_for_longer_than_the_heartbeat_is_given_up_and_found_again(
    own_lab: Lab, worker: Run, busy: bool, wait: float
):
    lab = own_lab
    lab.declare()
    script = worker(lab, *ONE_BY_ONE, "--heartbeat", 2, seconds=0.1)
    if busy:
        lab.publish("task " + "x" * 155, persistent=True)
        script.wait_for("Received")
    lab.connection.close()
    frozen = time.monotonic()
    os.kill(lab.broker.node.pid, signal.SIGSTOP)
    try:
        lost = script.wait_for("Lost RabbitMQ", within=16).time
        # Its first try to connect ends after 10 s, and then it waits before the next.
        time.sleep(max(0, lost + wait - time.monotonic()))
    finally:
        os.kill(lab.broker.node.pid, signal.SIGCONT)
    thawed = time.monotonic()
    again = consumes_again(script)
    print(f"{again.time - thawed:.2f} s after {thawed - frozen:.1f} s: {talk(script, frozen)}")
    assert again.time - thawed <= 1.0
    assert len(talk(script, frozen)) <= 3
    lab.reconnect()
    if busy:
        script.wait_for(AGAIN)
        script.wait_for("redelivered")
    else:
        lab.publish("after")
        script.wait_for("Received 'after'", within=1)


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
    by_task = collections.defaultdict(list)
    for script in everyone:
        mine = tries(script)
        for one in mine:
            by_task[one.body].append((one, script in killed and one is mine[-1]))
    assert set(by_task) == set(tasks)
    stopped, crashed = breaker.outages
    by: collections.Counter[str] = collections.Counter()
    for several in by_task.values():
        several.sort(key=lambda pair: pair[0].begin)
        assert several[-1][0].end < math.inf
        for (one, was_last), (following, _) in itertools.pairwise(several):
            # With prefetch 1 only the last one may be in hand, or its acknowledgement on the way.
            if was_last:
                by["a killed worker"] += 1
            elif one.begin <= stopped.back and stopped.gone <= one.end + 1:
                by["the restart"] += 1
            # A classic queue also forgets acknowledgements that it did not write down yet.
            elif one.begin <= crashed.back <= following.begin and (
                queue_type == "classic" or crashed.gone <= one.end + 1
            ):
                by["the killed broker"] += 1
            else:
                raise AssertionError(f"{several}, {breaker.outages}")
    print(f"{len(killed)} workers killed; lost 0, repeated because of {dict(by)}")
    assert by["a killed worker"] <= len(killed)
    assert by["the restart"] <= 4
    assert by["the killed broker"] <= 4 or queue_type == "classic"
