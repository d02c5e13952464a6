"""Test labs/queues.py on a real broker: live counts, with a student's rights or fewer."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def queues(lab, *arguments, url: str | None = None, page: int | None = None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "AMQP_"))}
    return subprocess.run(
        [sys.executable, ROOT / "labs/queues.py", *arguments],
        env=environment
        | {
            "PYTHONPATH": str(ROOT),  # import the scripts as modules, as after `pip install -e .`
            "AMQP_URL": url or lab.url,
            "LAB_MANAGEMENT_PORT": str(page or lab.broker.management_port),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def read_stream(lab) -> None:
    """Read the stream "log" from now on."""
    lab.declare("log", durable=True, arguments={"x-queue-type": "stream"})
    channel = lab.connection.channel()
    channel.basic_qos(prefetch_count=10)
    channel.basic_consume("log", lambda *delivery: None)


@pytest.fixture
def busy(lab):
    """Return a vhost with a queue of 5 messages, 2 of them with a consumer, and an empty one."""
    lab.declare("busy", durable=True)
    lab.declare("idle", durable=True)
    lab.publish(*"abcde", queue="busy")
    channel = lab.connection.channel()
    channel.basic_qos(prefetch_count=2)
    held = []
    channel.basic_consume("busy", lambda *delivery: held.append(delivery))
    while len(held) < 2:
        lab.connection.process_data_events(time_limit=1)
    return lab


def test_counts_are_those_of_this_moment(busy):
    assert queues(busy, "busy").stdout == "busy  ready 3  unacknowledged 2  consumers 1\n"
    busy.publish(*"x" * 10, queue="idle")
    assert queues(busy).stdout.splitlines() == [
        "busy  ready  3  unacknowledged 2  consumers 1",
        "idle  ready 10  unacknowledged 0  consumers 0",
    ]


def test_quorum_queue_is_waited_for(lab):
    lab.declare("safe", durable=True, arguments={"x-queue-type": "quorum"})
    lab.publish("a", "b", queue="safe")
    channel = lab.connection.channel()
    assert channel.basic_get("safe")[0]
    note, row = queues(lab, "safe").stdout.splitlines()
    assert "every 5 s" in note
    assert row.startswith("safe  ready 1  unacknowledged 1  consumers ")


def test_readers_of_a_stream_are_unknown(lab):
    read_stream(lab)
    output = queues(lab, "log").stdout
    assert re.fullmatch(r"log  ready 0  unacknowledged \S+  consumers \?\n", output)


def test_missing_queue_is_named(busy):
    done = queues(busy, "idle", "none")
    assert done.returncode == 4
    assert done.stdout.splitlines()[1] == "none  there is no such queue"
    assert done.stdout.splitlines()[0].startswith("idle  ready 0")


def test_exclusive_queues_of_others_do_not_hide_the_rest(busy):
    busy.declare("mine", durable=False, exclusive=True)
    rows = queues(busy).stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["busy", "idle"]


def test_empty_vhost_is_named_as_such(lab):
    assert queues(lab).stdout == " [*] There is no queue in this vhost\n"


def test_where_the_page_is_out_of_reach_named_queues_still_show(busy):
    done = queues(busy, "busy", page=1)
    assert done.returncode == 0
    assert done.stdout == "busy  ready 3  unacknowledged ?  consumers 1\n"
    assert "Unacknowledged is not known" in done.stderr
    unnamed = queues(busy, page=1)
    assert unnamed.returncode == 3
    assert "try: name the queues" in unnamed.stderr


def test_student_without_the_page_sees_named_queues(busy):
    user = f"u{uuid.uuid4().hex[:8]}"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    busy.broker.api("PUT", f"users/{user}", {"password": "p-w", "tags": ""})
    try:
        busy.broker.api("PUT", f"permissions/{busy.vhost}/{user}", everything)
        url = busy.url.replace("guest:guest", f"{user}:p-w")
        done = queues(busy, "busy", url=url)
        assert done.stdout == "busy  ready 3  unacknowledged ?  consumers 1\n"
        assert "does not let you in" in done.stderr
        busy.broker.api("PUT", f"users/{user}", {"password": "p-w", "tags": "management"})
        assert queues(busy, url=url).stdout.startswith("busy  ready 3  unacknowledged 2")
    finally:
        busy.broker.api("DELETE", f"users/{user}")


def test_no_broker_is_one_line(lab):
    done = queues(lab, "q", url="amqp://localhost:1")
    assert done.returncode == 3
    assert done.stderr.startswith("queues.py: error: cannot reach RabbitMQ at localhost:1")
    assert "Traceback" not in done.stderr


def test_deletes_the_queues_that_are_named_and_no_others(busy):
    done = queues(busy, "--delete", "busy", "nosuch")
    assert (done.returncode, done.stdout) == (0, "busy  deleted\nnosuch  there is no such queue\n")
    assert queues(busy).stdout == "idle  ready 0  unacknowledged 0  consumers 0\n"


def test_delete_without_a_name_is_refused(busy):
    done = queues(busy, "--delete")
    assert done.returncode == 2
    assert "--delete needs the names of the queues" in done.stderr
    assert busy.ready("busy") == 3


def test_control_characters_in_names_do_not_reach_the_terminal(lab):
    lab.declare("a\x1b[2J", durable=True)
    lab.declare("plain", durable=True)
    output = queues(lab).stdout
    assert output.startswith("a\\x1b[2J  ready 0 ")
    assert "\nplain  " in output and "\x1b" not in output
    assert queues(lab, "no\x1b[2J").stdout == "no\\x1b[2J  there is no such queue\n"
    assert queues(lab, "--delete", "a\x1b[2J").stdout == "a\\x1b[2J  deleted\n"


@pytest.mark.parametrize("name", ["hello\r", "a\nb", "", "x" * 256, b"\xff"])
def test_name_that_cannot_be_one_is_refused(lab, name):
    done = queues(lab, name)  # a broker drops line breaks, and pika waits for ever
    assert done.returncode == 2
    assert "the name of a queue has 1 to 255 bytes" in done.stderr
