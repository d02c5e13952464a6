"""Test consumer.py, the simplest reader."""

import signal
from pathlib import Path

import pytest

from conftest import (
    Lab,
    Run,
    Script,
    UndecodableProperties,
    undecodable_is_fine,
    wait_until,
)
from kit.cli.program import DEADLINE
from kit.exercise.proxy import Proxy
from kit.exercise.queue import QueueClient

WAITING = "Waiting for messages on 'q'. To exit press CTRL+C"


def received(reader: Script) -> list[str]:
    """Return the messages that a reader has printed, as they appear in its output."""
    return [line.text.removeprefix(" [x] Received ") for line in reader.find(" [x] Received ")]


def freeze(reader: Script) -> None:
    """Stop a reader, and wait until it has stopped."""
    reader.signal(signal.SIGSTOP)
    status = Path(f"/proc/{reader.process.pid}/status")
    wait_until(lambda: "State:\tT" in status.read_text(), "the reader stands still")


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


# ---- reading


def test_prints_each_message_as_it_comes(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=lab)
    reader.wait_for(WAITING)
    lab.publish("aaa")
    reader.wait_for(" [x] Received 'aaa'")
    lab.publish("bb")
    reader.wait_for(" [x] Received 'bb'")
    reader.interrupt()
    assert reader.wait() == 0
    assert "Traceback" not in reader.text()


def test_the_printed_lines_are_exactly_these(lab: Lab, run: Run):
    lab.declare()
    lab.publish("aaa", "", "grüße", b"\xff", "x" * 1000)
    reader = run("consumer.py", "--queue", "q", "--exit-when-empty", lab=lab)
    assert reader.wait() == 0
    assert reader.text("stderr") == ""
    assert reader.text("stdout").splitlines() == [
        f" [*] {WAITING}",
        " [x] Received 'aaa'",
        " [x] Received ''",
        " [x] Received 'grüße'",
        " [x] Received '\ufffd'",
        f" [x] Received '{'x' * 60}'... (1000 bytes)",
        " [*] 5 messages received",
    ]


@pytest.mark.usefixtures("transient_queues")
def test_a_queue_that_is_not_there_is_created_as_the_tutorials_do(lab: Lab, run: Run):
    reader = run("consumer.py", "--queue", "q", lab=lab)
    reader.wait_for("There is no queue 'q' yet: creating it")
    reader.wait_for(WAITING)
    queue = lab.broker.api("GET", f"queues/{lab.vhost}/q")
    assert (queue["durable"], queue["type"], queue["auto_delete"]) == (False, "classic", False)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_it_reads_queues_of_both_types(lab: Lab, run: Run, kind):
    options = "--queue", "q", "--queue-type", kind, "--durable"
    assert run("producer.py", *options, "aaa", "bb", lab=lab).wait() == 0
    reader = run("consumer.py", *options, "--acknowledge", "-n", "2", lab=lab)
    assert reader.wait() == 0, reader.text()
    assert received(reader) == ["'aaa'", "'bb'"]


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 messages"), (1, "1 message"), (2, "2 messages")]
)
def test_it_counts_in_english(lab: Lab, run: Run, count: int, said: str):
    lab.declare()
    lab.publish(*numbers(count))
    reader = run("consumer.py", "--queue", "q", "--exit-when-empty", lab=lab)
    assert reader.wait() == 0
    assert reader.text("stdout").splitlines()[-1] == f" [*] {said} received"


def test_quiet_only_counts(lab: Lab, run: Run):
    lab.declare()
    lab.publish(*numbers(100))
    reader = run("consumer.py", "--queue", "q", "--quiet", "--exit-when-empty", lab=lab)
    assert reader.wait() == 0
    assert reader.text() == f" [*] {WAITING}\n [*] 100 messages received"


# ---- acknowledging


@pytest.mark.parametrize(
    ("options", "left", "returned"),
    [
        ([], 0, 5),
        (["--acknowledge"], 0, 5),
        (["--acknowledge", "--prefetch", "2"], 3, 5),
        (["-n", "2"], 3, 5),
    ],
)
def test_what_a_killed_reader_held_goes_back(lab: Lab, run: Run, options, left, returned):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", *options, lab=lab)
    reader.wait_for(WAITING)
    wait_until(lab.consumers, "it consumes")
    freeze(reader)  # it prints no more, but the broker goes on delivering
    lab.publish(*"abcde")
    wait_until(lambda: lab.ready() == left, f"{left} are left")
    reader.kill()
    wait_until(lambda: not lab.connections("consumer.py"), "the broker notices")
    wait_until(lambda: lab.ready() == returned, f"{returned} are back")


def test_what_was_printed_is_acknowledged(lab: Lab, run: Run):
    lab.declare()
    lab.publish(*"abc")
    reader = run("consumer.py", "--queue", "q", "--acknowledge", "--prefetch", "1", lab=lab)
    reader.wait_for("Received 'c'")  # delivered once the two others were acknowledged
    reader.kill()
    wait_until(lambda: not lab.connections("consumer.py"), "the broker notices")
    assert set(lab.take()) <= {b"c"}


# ---- stopping by itself


@pytest.mark.parametrize("options", [[], ["--acknowledge"], ["--acknowledge", "--prefetch", "1"]])
def test_limit_takes_exactly_that_many(lab: Lab, run: Run, options):
    lab.declare()
    lab.publish(*"abcde")
    reader = run("consumer.py", "--queue", "q", "-n", "3", *options, lab=lab)
    assert reader.wait() == 0
    assert received(reader) == ["'a'", "'b'", "'c'"]
    assert reader.text("stdout").splitlines()[-1] == " [*] 3 messages received"
    assert [body for body, _ in lab.remains()] == [b"d", b"e"]


def test_limit_leaves_the_other_messages_untouched(lab: Lab, run: Run):
    lab.declare()
    lab.publish(*"abcde")
    assert run("consumer.py", "--queue", "q", "-n", "3", lab=lab).wait() == 0
    assert lab.remains() == [(b"d", False), (b"e", False)]


def test_limit_waits_for_those_that_are_still_to_come(lab: Lab, run: Run):
    lab.declare()
    lab.publish(*"abc")
    reader = run("consumer.py", "--queue", "q", "-n", "5", lab=lab)
    reader.wait_for("Received 'c'")
    lab.publish("d")
    reader.wait_for("Received 'd'")
    assert reader.process.poll() is None
    lab.publish(*"efg")
    assert reader.wait() == 0
    assert len(received(reader)) == 5
    assert [body for body, _ in lab.remains()] == [b"f", b"g"]


@pytest.mark.parametrize("options", [[], ["--acknowledge"], ["--acknowledge", "--prefetch", "7"]])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_exit_when_empty_empties_the_queue_first(lab: Lab, run: Run, options, count):
    lab.declare()
    lab.publish(*numbers(count))
    reader = run("consumer.py", "--queue", "q", "--exit-when-empty", *options, lab=lab)
    assert reader.wait() == 0
    assert received(reader) == [f"'{number}'" for number in range(count)]
    assert lab.ready() == 0


def test_limit_and_exit_when_empty_go_together(lab: Lab, run: Run):
    lab.declare()
    lab.publish(*"abc")
    options = "--queue", "q", "--exit-when-empty", "-n"
    assert len(received_by(run, lab, *options, "2")) == 2
    assert len(received_by(run, lab, *options, "2")) == 1
    assert lab.ready() == 0


def received_by(run: Run, lab: Lab, *options: str) -> list[str]:
    reader = run("consumer.py", *options, lab=lab)
    assert reader.wait() == 0, reader.text()
    return received(reader)


# ---- being stopped


@pytest.mark.parametrize("stop", ["interrupt", "terminate"])
@pytest.mark.parametrize("options", [[], ["--acknowledge"], ["-n", "5"]])
def test_being_stopped_while_waiting_is_a_good_end(lab: Lab, run: Run, stop, options):
    lab.declare()
    lab.publish("aaa")
    reader = run("consumer.py", "--queue", "q", *options, lab=lab)
    reader.wait_for("Received 'aaa'")
    getattr(reader, stop)()
    assert reader.wait() == 0
    assert reader.text("stderr") == ""
    assert reader.text("stdout").splitlines()[-1] == " [*] 1 message received"
    assert lab.remains() == []


def test_being_stopped_in_a_flood_gives_back_what_is_not_printed(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=lab)
    reader.wait_for(WAITING)
    wait_until(lab.consumers, "it consumes")
    freeze(reader)
    lab.publish(*numbers(1000))
    wait_until(lambda: lab.ready() == 0, "all are handed over")
    reader.interrupt()
    reader.signal(signal.SIGCONT)
    assert reader.wait() == 0
    assert len(received(reader)) + len(lab.remains()) == 1000


def test_being_stopped_in_a_flood_loses_nothing_when_it_acknowledges(lab: Lab, run: Run):
    lab.declare()
    count = 5000
    assert run("producer.py", "--queue", "q", "--count", count, "a", lab=lab).wait() == 0
    reader = run("consumer.py", "--queue", "q", "--acknowledge", lab=lab)
    reader.wait_for("Received", count=10)
    reader.interrupt()
    assert reader.wait() == 0
    assert reader.text("stderr") == ""
    assert len(received(reader)) + len(lab.remains()) == count


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("acknowledge", [(), ("--acknowledge",)], ids=str)
@pytest.mark.parametrize("stop", ["interrupt", "terminate", "-n", "--exit-when-empty"])
def test_what_arrives_while_the_consumer_is_cancelled_is_printed_or_returned(
    lab: Lab,
    run: Run,
    proxied: tuple[Proxy, str],
    acknowledge: tuple,
    stop: str,
    queue_type: str,
):
    proxy, url = proxied
    lab.declare(arguments={"x-queue-type": queue_type})
    proxy.before_cancel = lambda: QueueClient(lab.url).publish(*"abc")
    options = {"-n": ("-n", 2), "--exit-when-empty": ("--exit-when-empty",)}.get(stop, ())
    lab.publish("1", "2")
    reader = run("consumer.py", "--queue", "q", *acknowledge, *options, url=url)
    reader.wait_for("Received", count=2)
    if not options:
        getattr(reader, stop)()
    assert reader.wait() == 0
    assert proxy.before_cancel is None, "no basic.cancel was seen"
    remains = lab.remains()
    assert len(received(reader)) + len(remains) == 5
    assert (
        reader.text("stdout").splitlines()[-1] == f" [*] {len(received(reader))} messages received"
    )


@pytest.mark.parametrize("options", [("-n", 2), ("-n", 2, "--acknowledge")], ids=str)
def test_a_limit_is_kept_though_the_connection_is_lost_at_the_last_message(
    lab: Lab, run: Run, proxied: tuple[Proxy, str], options: tuple
):
    proxy, url = proxied
    lab.declare()
    proxy.before_cancel = proxy.cut
    lab.publish(*"abcde")
    reader = run("consumer.py", "--queue", "q", *options, url=url)
    assert reader.wait() == 0, reader.text()
    assert received(reader)[:2] == ["'a'", "'b'"]
    assert len(received(reader)) == 2
    assert {body for body, _ in lab.remains()} >= {b"c", b"d", b"e"}


# Reads the first line, closes the pipe, and says so.
HEAD = '| { read -r line; echo "$line"; exec <&-; echo hung up; }'


def test_piped_into_head_it_says_what_is_lost(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=lab, shell=HEAD)
    reader.wait_for("hung up")
    lab.publish(*"abcde")
    assert reader.wait() == 0
    assert reader.text("stdout").strip() == f"[*] {WAITING}\nhung up"
    said = " [!] LOST 'a': nobody reads it, and it was auto-acknowledged"
    assert reader.text("stderr") == said
    assert [body for body, _ in lab.remains()] == [b"b", b"c", b"d", b"e"]


@pytest.mark.parametrize("options", [["--acknowledge"], ["-n", "5"]])
def test_piped_into_head_nothing_is_lost_when_it_acknowledges(lab: Lab, run: Run, options):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", *options, lab=lab, shell=HEAD)
    reader.wait_for("hung up")
    lab.publish(*"abcde")
    assert reader.wait() == 0
    assert reader.text("stderr") == ""
    wait_until(lambda: lab.ready() == 5, "all are back")


# ---- the broker goes away


def test_it_reads_on_when_the_broker_is_back(own_lab: Lab, run: Run):
    own_lab.declare()
    own_lab.publish("a", persistent=True)
    reader = run("consumer.py", "--queue", "q", "--acknowledge", lab=own_lab)
    reader.wait_for("Received 'a'")
    own_lab.broker.flush_to_disk()
    own_lab.broker.node.kill()
    own_lab.broker.node.start()
    reader.wait_for(WAITING, count=2)
    own_lab.reconnect()
    own_lab.publish("b")
    reader.wait_for("Received 'b'")
    (said,) = reader.find("[!]")
    assert said.text.startswith(f" [!] Lost RabbitMQ at 127.0.0.1:{own_lab.broker.port} (")
    assert said.text.endswith("); connecting again")


@pytest.mark.parametrize("stop", ["interrupt", "terminate"])
def test_a_signal_while_the_broker_is_away_is_a_good_end(
    lab: Lab, run: Run, proxied: tuple[Proxy, str], stop: str
):
    proxy, url = proxied
    lab.declare()
    reader = run("consumer.py", "--queue", "q", url=url)
    reader.wait_for(WAITING)
    proxy.play_dead()
    proxy.cut()
    reader.wait_for(" [!] Lost")
    wait_until(lambda: proxy.links > 2, "it tries again and again")
    getattr(reader, stop)()
    assert reader.wait() == 0
    assert reader.text("stdout").splitlines()[-1] == " [*] 0 messages received"
    assert "Traceback" not in reader.text()


@pytest.mark.parametrize("first", ["interrupt", "terminate"])
def test_a_second_ctrl_c_does_not_wait_for_a_broker_that_does_not_answer(
    lab: Lab, run: Run, proxied: tuple[Proxy, str], first: str
):
    proxy, url = proxied
    lab.declare()
    asked = proxy.fall_silent_at_cancel()
    reader = run("consumer.py", "--queue", "q", url=url)
    reader.wait_for(WAITING)
    getattr(reader, first)()
    assert asked.wait(DEADLINE)
    reader.interrupt()
    assert reader.wait() == 0
    assert reader.text("stdout").splitlines()[-1] == " [*] 0 messages received"
    assert "Traceback" not in reader.text()


def test_a_queue_that_is_deleted_is_said_and_created_again(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", "--durable", lab=lab)
    reader.wait_for(WAITING)
    wait_until(lab.consumers, "it consumes")
    lab.connection.channel().queue_delete("q")
    where = f"Lost RabbitMQ at 127.0.0.1:{lab.broker.port}"
    reader.wait_for(f" [!] {where} (queue 'q' was deleted, or the delivery timeout passed); ")
    reader.wait_for(WAITING, count=2)
    lab.publish("aaa")
    reader.wait_for("Received 'aaa'")


def test_a_connection_that_is_closed_on_the_management_page_is_made_anew(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", "--name", "me", lab=lab)
    reader.wait_for(WAITING)
    (connection,) = wait_until(lambda: lab.connections("me"))
    name = connection["name"].replace(" ", "%20").replace(">", "%3E")
    lab.broker.api("DELETE", f"connections/{name}")
    reader.wait_for(WAITING, count=2)
    lab.publish("aaa")
    reader.wait_for("Received 'aaa'")
    assert len(reader.find("[!]")) == 1


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_an_undecodable_header_ends_it_with_its_cause_and_harms_no_other_message(
    lab: Lab, run: Run, queue_type: str
):
    lab.declare(arguments={"x-queue-type": queue_type})
    lab.publish(*"abcde")
    lab.connection.channel().basic_publish("", "q", b"poison", UndecodableProperties())
    lab.publish(*"fghij")
    reader = run("consumer.py", "--queue", "q", "--acknowledge", "--exit-when-empty", lab=lab)
    if undecodable_is_fine():
        assert reader.wait() == 0
        assert len(received(reader)) == 11
        return
    assert reader.wait() == 1
    assert not reader.find("Lost RabbitMQ")
    said = [line.text for line in reader.find(" [!] ")]
    assert 1 <= len(said) <= 4  # lost connections
    assert all(line.startswith(" [!] Pika cannot decode the next message") for line in said)
    error, advice = reader.text("stderr").splitlines()[-2:]
    assert error.startswith("consumer.py: error: pika cannot decode the next message of queue 'q'")
    assert advice.startswith("  try: take ") and "management page" in advice
    remains = [message["payload"] for message in lab.peek()]
    printed = [text.strip("'") for text in received(reader)]
    assert {*remains, *printed} == {*"abcdefghij", "poison"}, "innocent messages are gone"
