"""consumer.py: the simplest reader."""

import re
import signal
import time
from pathlib import Path

import pytest

from conftest import Lab, Run, Script, let_it_be_written, wait_until
from kit.net import amqp_answers

WAITING = "Waiting for messages on 'q'. To exit press CTRL+C"


def received(reader: Script) -> list[str]:
    """Return the messages that a reader has printed, as it printed them."""
    return [line.text.removeprefix(" [x] Received ") for line in reader.find(" [x] Received ")]


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
        r" [x] Received b'\xff'",
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
        ([], 0, 0),  # auto-acknowledged: what a reader holds dies with it
        (["--acknowledge"], 0, 5),
        (["--acknowledge", "--prefetch", "2"], 3, 5),
        (["-n", "2"], 3, 5),
    ],
)
def test_what_a_killed_reader_held_is_lost_only_if_auto_acknowledged(
    lab: Lab, run: Run, options, left, returned
):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", *options, lab=lab)
    reader.wait_for(WAITING)
    reader.signal(signal.SIGSTOP)  # it prints no more, but the broker goes on handing over
    lab.publish(*"abcde")
    wait_until(lambda: lab.ready() == left, f"{left} are left")
    reader.kill()
    wait_until(lambda: not lab.connections("consumer.py"), "the broker notices")
    wait_until(lambda: lab.ready() == returned, f"{returned} are back", within=5)


def test_what_was_printed_is_acknowledged(lab: Lab, run: Run):
    lab.declare()
    lab.publish(*"abc")
    reader = run("consumer.py", "--queue", "q", "--acknowledge", "--prefetch", "1", lab=lab)
    reader.wait_for("Received 'c'")  # which came when the two others were acknowledged
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
    assert reader.find("3 messages received")
    assert lab.take() == [b"d", b"e"]


def test_limit_leaves_the_other_messages_untouched(lab: Lab, run: Run):
    lab.declare()
    lab.publish(*"abcde")
    assert run("consumer.py", "--queue", "q", "-n", "3", lab=lab).wait() == 0
    method, _, body = lab.connection.channel().basic_get("q", auto_ack=True)
    assert (body, method.redelivered) == (b"d", False)


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
    assert lab.take() == [b"f", b"g"]


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
    when = getattr(reader, stop)()
    assert reader.wait() == 0
    assert time.monotonic() - when < 2
    assert reader.text("stderr") == ""
    assert reader.lines[-1].text == " [*] 1 messages received"
    assert lab.ready() == 0


def test_being_stopped_in_a_flood_says_how_many_are_lost(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=lab)
    reader.wait_for(WAITING)
    reader.signal(signal.SIGSTOP)
    lab.publish(*numbers(1000))
    wait_until(lambda: lab.ready() == 0, "all are handed over")
    reader.interrupt()
    reader.signal(signal.SIGCONT)
    assert reader.wait() == 0
    said = re.search(r" \[!\] (\d+) more had been handed over, LOST", reader.text("stderr"))
    assert len(received(reader)) + int(said[1]) == 1000


def test_being_stopped_in_a_flood_loses_nothing_when_it_acknowledges(lab: Lab, run: Run):
    lab.declare()
    count = 5000
    assert run("producer.py", "--queue", "q", "--count", count, "a", lab=lab).wait() == 0
    reader = run("consumer.py", "--queue", "q", "--acknowledge", lab=lab)
    reader.wait_for("Received", count=10)
    reader.interrupt()
    assert reader.wait() == 0
    assert reader.text("stderr") == ""
    assert len(received(reader)) + lab.ready() == count


# Reads the first line, hangs up, and says so.
HEAD = '| { read -r line; echo "$line"; exec <&-; echo hung up; }'


def test_piped_into_head_it_says_how_many_are_lost(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=lab, shell=HEAD)
    reader.wait_for("hung up")
    lab.publish(*"abcde")
    assert reader.wait() == 0
    assert reader.text("stdout").strip() == f"[*] {WAITING}\nhung up"
    (line,) = reader.text("stderr").splitlines()
    lost = re.fullmatch(r" \[!\] (\d+) more had been handed over, LOST: they were .*", line)
    assert int(lost[1]) + lab.ready() == 5


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


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_it_reads_on_within_a_second_of_the_broker_being_back(own_lab: Lab, run: Run, how):
    own_lab.declare()
    own_lab.publish("a", persistent=True)
    reader = run("consumer.py", "--queue", "q", "--acknowledge", lab=own_lab)
    reader.wait_for("Received 'a'")
    if how == "kill":
        let_it_be_written()
    back = own_lab.broker.away(how)
    assert reader.wait_for(WAITING, count=2).time - back < 1.0
    own_lab.reconnect()
    own_lab.publish("b")
    reader.wait_for("Received 'b'")
    said = reader.text().split("Received 'a'\n")[1].split(" [x]")[0].splitlines()
    tries = [line for line in said if "; trying again within " in line]
    away = back - reader.find(" [!] Lost")[0].time
    assert len(said) - len(tries) <= 2 and len(tries) <= 1 + away / 8, said
    assert said[0].startswith(f" [!] Lost RabbitMQ at 127.0.0.1:{own_lab.broker.port} (")


def test_ctrl_c_while_the_broker_is_away_is_a_good_end(own_lab: Lab, run: Run):
    own_lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=own_lab)
    reader.wait_for(WAITING)
    own_lab.broker.node.kill()
    reader.wait_for(" [!] Lost")
    assert not amqp_answers(own_lab.broker.port)
    when = reader.interrupt()
    assert reader.wait() == 0
    assert time.monotonic() - when < 2
    assert "Traceback" not in reader.text()


def test_a_second_ctrl_c_does_not_wait_for_a_broker_that_does_not_answer(own_lab: Lab, run: Run):
    own_lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=own_lab)
    reader.wait_for(WAITING)
    status = Path(f"/proc/{reader.process.pid}/status")
    handlers = r"SigCgt:.*[2367abef]\n"  # the second bit from the right: a handler for SIGINT
    with own_lab.broker.frozen():
        assert re.search(handlers, status.read_text())
        reader.interrupt()
        wait_until(lambda: not re.search(handlers, status.read_text()), "the first is noticed")
        reader.interrupt()
        assert reader.wait(within=1) == -signal.SIGINT
    assert "Traceback" not in reader.text()


def test_a_queue_that_is_deleted_is_said_and_created_again(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", "--durable", lab=lab)
    reader.wait_for(WAITING)
    channel = lab.connection.channel()
    when = time.monotonic()
    channel.queue_delete("q")
    said = reader.wait_for(f"Lost RabbitMQ at 127.0.0.1:{lab.broker.port} (queue 'q' was deleted)")
    assert said.time - when < 1
    reader.wait_for(WAITING, count=2)
    lab.publish("aaa")
    reader.wait_for("Received 'aaa'")


def test_a_queue_that_is_deleted_ends_it_where_it_may_not_create_one(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", "--passive", lab=lab)
    reader.wait_for(WAITING)
    lab.connection.channel().queue_delete("q")
    assert reader.wait() == 4
    assert "no queue 'q'" in reader.find("error: ")[0].text


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
