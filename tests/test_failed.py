"""Test labs/failed.py on a real broker: looking changes nothing, moving back loses nothing."""

import re

import pika
import pytest

from conftest import Lab, Run, wait_until

ABOUT = {
    "error": "ValueError: no, mine.py:7",
    "worker": "worker-1",
    "failed-at": "2026-11-28T12:00:00+00:00",
    "first-queue": "q",
}
THREE = [b"one", b"two", b"three"]
SEEN = [
    f" [x] '{body.decode()}' of q: ValueError: no, mine.py:7 (worker-1, 2026-11-28T12:00:00+00:00)"
    for body in THREE
]


def put(lab: Lab, body: bytes, headers: dict | None = None, **properties) -> None:
    """Put a message into q.failed like qprocessor.py; `headers` are merged into its own."""
    channel = lab.connection.channel()
    channel.confirm_delivery()
    about = pika.BasicProperties(headers=ABOUT | (headers or {}), delivery_mode=2, **properties)
    channel.basic_publish("", "q.failed", body, about, mandatory=True)
    channel.close()


@pytest.fixture(params=["classic", "quorum"])
def failed(lab: Lab, request: pytest.FixtureRequest) -> Lab:
    """Return a vhost with an empty q, and three messages in q.failed."""
    lab.declare("q")
    lab.declare("q.failed", arguments={"x-queue-type": request.param})
    for body in THREE:
        put(lab, body)
    return lab


def bodies(lab: Lab, queue: str, count: int) -> list[bytes]:
    """Wait until a number of messages is ready in a queue, and take them."""
    wait_until(lambda: lab.ready(queue) == count, f"{count} messages in {queue}")
    return lab.take(queue)


def test_looking_shows_them_and_changes_nothing(failed: Lab, run: Run) -> None:
    for _ in range(2):
        wait_until(lambda: failed.ready("q.failed") == 3)
        script = run("labs/failed.py", "q", lab=failed)
        assert script.wait() == 0, script.text()
        assert script.text().splitlines() == [*SEEN, " [*] 3 messages in 'q.failed'"]
    assert bodies(failed, "q.failed", 3) == THREE
    assert failed.ready("q") == 0


def test_looking_at_the_first_ones_keeps_the_order(failed: Lab, run: Run) -> None:
    script = run("labs/failed.py", "q", "-n", 2, lab=failed)
    assert script.wait() == 0, script.text()
    assert script.text().splitlines() == [*SEEN[:2], " [*] 3 messages in 'q.failed'"]
    assert bodies(failed, "q.failed", 3) == THREE


def test_many_looks_lose_nothing(failed: Lab, run: Run) -> None:
    """A quorum queue of RabbitMQ 4 drops a message at its 21st return."""
    channel = failed.connection.channel()
    for _ in range(18):
        wait_until(lambda: failed.ready("q.failed") == 3)
        for _ in THREE:
            channel.basic_get("q.failed")
        channel.basic_nack(0, multiple=True, requeue=True)
    for _ in range(5):
        wait_until(lambda: failed.ready("q.failed") == 3)
        assert run("labs/failed.py", "q", lab=failed).wait() == 0
    assert sorted(bodies(failed, "q.failed", 3)) == sorted(THREE)


def test_all_are_moved_back_in_their_order(failed: Lab, run: Run) -> None:
    script = run("labs/failed.py", "q", "--retry", lab=failed)
    assert script.wait() == 0, script.text()
    moved = [f" [x] Moved '{body}' to 'q'" for body in ("one", "two", "three")]
    assert script.text().splitlines() == [*moved, " [*] 0 messages in 'q.failed'"]
    assert bodies(failed, "q", 3) == THREE
    assert failed.ready("q.failed") == 0


def test_the_first_ones_are_moved_back_alone(failed: Lab, run: Run) -> None:
    script = run("labs/failed.py", "q", "--retry", "-n", 2, lab=failed)
    assert script.wait() == 0, script.text()
    assert script.text().splitlines()[-1] == " [*] 1 message in 'q.failed'"
    assert bodies(failed, "q", 2) == THREE[:2]
    assert bodies(failed, "q.failed", 1) == THREE[2:]


def test_a_message_keeps_what_its_sender_gave_it(lab: Lab, run: Run) -> None:
    lab.declare("q")
    lab.declare("q.failed")
    own = {"message_id": "m-1", "content_type": "text/plain", "correlation_id": "c", "priority": 3}
    put(lab, b"mine", {"colour": "red"}, **own)
    put(lab, b"plain")
    assert run("labs/failed.py", "q", "--retry", lab=lab).wait() == 0
    wait_until(lambda: lab.ready("q") == 2)
    (_, mine, _), (_, plain, _) = lab.take_all("q")
    assert {name: getattr(mine, name) for name in own} == own
    assert (mine.headers, mine.delivery_mode) == ({"colour": "red"}, 2)
    assert not plain.headers


def test_each_goes_to_the_queue_it_came_from(failed: Lab, run: Run) -> None:
    failed.declare("other")
    put(failed, b"four", {"first-queue": "other"})
    put(failed, b"five", {"first-queue": 5})
    assert run("labs/failed.py", "q", "--retry", lab=failed).wait() == 0
    assert bodies(failed, "other", 1) == [b"four"]
    assert bodies(failed, "q", 4) == [*THREE, b"five"]


@pytest.mark.parametrize("trouble", ["gone", "full"])
def test_a_message_that_its_queue_refuses_stays(failed: Lab, run: Run, trouble: str) -> None:
    failed.connection.channel().queue_delete("q")
    if trouble == "full":
        failed.declare("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        failed.publish("in the way", queue="q")
    script = run("labs/failed.py", "q", "--retry", lab=failed)
    assert script.wait() == 4
    why = {"gone": "there is no such queue", "full": "it is full"}[trouble]
    expected = f"failed.py: error: cannot move 'one' to 'q': {why}\n  try: "
    assert script.text("stderr").startswith(expected)
    assert bodies(failed, "q.failed", 3) == THREE


def test_a_message_that_failed_in_the_worker_can_be_processed_again(lab: Lab, run: Run) -> None:
    lab.declare("q")
    lab.publish("aa", queue="q")
    worker = ("qprocessor.py", "--queue", "q", "--acknowledge", "--exit-when-empty")
    # That is too long for sleep(): work() raises OverflowError.
    script = run(*worker, "--seconds-per-character", 2**53, lab=lab)
    script.wait_for("Moved to 'q.failed'")
    assert script.wait() == 0, script.text()
    look = run("labs/failed.py", "q", lab=lab)
    assert look.wait() == 0
    line = look.find("'aa'")[0].text
    assert re.fullmatch(r" \[x\] 'aa' of q: OverflowError: .*, qprocessor.py:\d+ \(.+\)", line)
    assert run("labs/failed.py", "q", "--retry", lab=lab).wait() == 0
    script = run(*worker, "--seconds-per-character", 0, lab=lab)
    assert script.wait() == 0
    assert " [*] Stopped: 1 worked, 0 lost, 0 returned, 0 failed" in script.text()


def test_headers_cannot_command_the_terminal(lab: Lab, run: Run) -> None:
    lab.declare("q.failed")
    put(lab, b"\x1b[2J", {"error": "\x1b]0;title\x07 \u202e", "worker": b"\xe9", "failed-at": None})
    script = run("labs/failed.py", "q", lab=lab)
    assert script.wait() == 0, script.text()
    line = script.find("of q")[0].text
    assert line == r" [x] '\x1b[2J' of q: \x1b]0;title\x07 \u202e (" + "\ufffd, None)"


def test_a_message_that_came_another_way_is_shown_too(lab: Lab, run: Run) -> None:
    lab.declare("q.failed")
    lab.publish("bare", queue="q.failed")
    assert run("labs/failed.py", "q", lab=lab).wait_for("'bare' of ?: ? (?, ?)")


def test_nothing_has_failed(lab: Lab, run: Run) -> None:
    script = run("labs/failed.py", "q", lab=lab)
    assert script.wait() == 0
    assert script.text() == " [*] There is no queue 'q.failed': no message of 'q' has failed"
    lab.declare("q.failed")
    for option in [], ["--retry"]:
        script = run("labs/failed.py", "q", *option, lab=lab)
        assert script.wait() == 0
        assert script.text() == " [*] 0 messages in 'q.failed'"


def test_no_broker_is_one_line(run: Run) -> None:
    script = run("labs/failed.py", "q", url="amqp://localhost:1")
    assert script.wait() == 3
    assert script.text().startswith("failed.py: error: cannot reach RabbitMQ at localhost:1")
    assert "Traceback" not in script.text()


def test_a_name_that_the_broker_would_alter_is_refused(run: Run) -> None:
    script = run("labs/failed.py", "q\r")
    assert script.wait() == 2
    assert "printable" in script.text()
