"""The checks that labs/check.py 10 runs."""

import json
from collections import Counter
from pathlib import Path

import pytest
from pika.spec import Basic

from kit.exercise.fixture import Exercise
from kit.exercise.program import Program

SLOW = ("--seconds-per-row", "2")
WROTE = "Your sink did not say that it wrote a batch of 5 records."


def send(exercise: Exercise, ids: str) -> None:
    """Send a record for each letter."""
    exercise.send(*(json.dumps({"id": one, "text": f"this is {one}"}) for one in ids))


def start(exercise: Exercise, folder: Path, *arguments: str) -> Program:
    """Start a sink that writes when it has 5 records, and not before."""
    return exercise.start_worker("--output", folder, "--batch-seconds", "60", *arguments)


def wait_for_file(exercise: Exercise, sink: Program, folder: Path) -> None:
    """Wait until the sink is in the middle of writing."""
    sink.wait_for("Writing", "Your sink did not begin to write when it had 5 records.")
    exercise.wait_until(
        lambda: any(folder.iterdir()) or sink.has_ended(), "Your sink writes no file."
    )


def rows(folder: Path) -> list[dict]:
    """Return all rows that a reader finds."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    try:
        return list(map(json.loads, lines))
    except ValueError:
        raise AssertionError("A line in a file of yours is not a complete JSON object.") from None


def acknowledged(exercise: Exercise, before: int = 0) -> bool:
    """Return True if all of a batch of 5 was acknowledged, at once or one by one.

    The first `before` acknowledgements do not count.
    """
    return any(ack.what.delivery_tag >= 5 for ack in exercise.sent(Basic.Ack)[before:])


@pytest.mark.task(1)
def test_a_killed_sink_loses_nothing(exercise: Exercise, tmp_path: Path) -> None:
    """Records that a killed sink held go back to the queue; those in a file do not.

    Read: https://www.rabbitmq.com/docs/confirms#consumer-acks-multiple-parameter
    """
    sink = start(exercise, tmp_path / "first")
    send(exercise, "abc")
    sink.wait_for("Received", "Your sink did not print that it received a record.", count=3)
    sink.end()
    exercise.wait_ready(
        3,
        "Your sink was killed with 3 records in hand, in no file yet, and they are lost: it had "
        "acknowledged them.",
    )
    sink = start(exercise, tmp_path / "second", *SLOW)
    send(exercise, "de")
    wait_for_file(exercise, sink, tmp_path / "second")
    sink.end()
    exercise.wait_ready(
        5,
        "Your sink was killed while it wrote a file, and the records are not all back in the "
        "queue: acknowledge after writing.",
    )
    sink = start(exercise, tmp_path / "third")
    sink.wait_for("Wrote", WROTE)
    exercise.wait_until(
        lambda: acknowledged(exercise) or sink.has_ended(),
        "Your sink wrote a file, and the broker knows nothing of it: acknowledge the batch.",
    )
    sink.end()
    exercise.wait_until_returned()
    exercise.wait_ready(
        0,
        "Your sink acknowledged some records of a batch, not all: multiple=True, with the tag of "
        "the last.",
    )
    assert len(rows(tmp_path / "third")) == 5, "There are not 5 rows in the files for 5 records."


@pytest.mark.task(2)
def test_each_record_is_written_once(exercise: Exercise, tmp_path: Path) -> None:
    """A record that comes twice is written once, also when the sink was restarted in between.

    Read: https://www.rabbitmq.com/docs/reliability#consumer-side
    """
    sink = start(exercise, tmp_path)
    send(exercise, "abacd")
    sink.wait_for("Wrote", WROTE)
    found = Counter(row["id"] for row in rows(tmp_path))
    assert found["a"] < 2, "The record 'a' came twice, and your sink has written it twice."
    assert found == Counter("abcd"), f"Of the records a, b, c and d the files have {set(found)}."
    exercise.wait_until(
        lambda: acknowledged(exercise) or sink.has_ended(),
        "Your sink did not acknowledge the batch: that is task 1.",
    )
    sink.end()
    sink, before = start(exercise, tmp_path), len(exercise.sent(Basic.Ack))
    send(exercise, "abcda")
    exercise.wait_until(
        lambda: acknowledged(exercise, before) or sink.has_ended(),
        "A batch in which nothing is new must be acknowledged too: your sink was restarted, got 5 "
        "records that are in its files already, and the broker still waits for an answer.",
    )
    send(exercise, "abcde")
    exercise.wait_until(
        lambda: (
            any('"e"' in path.read_text() for path in tmp_path.glob("*.jsonl")) or sink.has_ended()
        ),
        "After a restart your sink does not write what is new.",
    )
    found = Counter(row["id"] for row in rows(tmp_path))
    assert found["a"] < 2, (
        "Your sink was restarted, and has written once more what was in its files already: "
        "known_ids reads their ids."
    )
    assert found == Counter("abcde"), "After a restart your sink does not write what is new."


@pytest.mark.task(3)
def test_no_file_is_torn(exercise: Exercise, tmp_path: Path) -> None:
    """A file gets its name only when it is complete, whenever the sink is killed.

    Read: https://docs.python.org/3/library/os.html#os.replace
    """
    folder = tmp_path / "files"
    sink = start(exercise, folder, *SLOW)
    send(exercise, "abcde")
    wait_for_file(exercise, sink, folder)
    early = list(folder.glob("*.jsonl"))
    sink.end()
    assert not early, (
        f"While your sink wrote, there was a {early[0].name} with {len(rows(folder))} of 5 rows: a "
        "reader takes it for complete."
    )
    assert not rows(folder), "Your sink was killed in the middle of writing, and left half a file."
    exercise.wait_until_returned()
    if not exercise.ready():  # it was acknowledged too early: that is task 1
        send(exercise, "abcde")
    sink = start(exercise, folder)
    sink.wait_for("Wrote", WROTE)
    assert len(rows(folder)) == 5, (
        "Your sink has written 5 records, and a reader of *.jsonl does not find 5: rename the file "
        "when it is whole."
    )
