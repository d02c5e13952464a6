"""The checks that labs/check.py 2 runs."""

import pytest

from kit.exercise.fixture import Exercise

FAST = ("--seconds-per-character", "0.01")
PACE = 0.05  # seconds per character, where time is measured


@pytest.mark.task(1)
def test_the_queue_is_the_same_for_all(exercise: Exercise) -> None:
    """All workers use the queue that --queue names, whatever their names are.

    Read: https://www.rabbitmq.com/tutorials/tutorial-two-python
    """
    for name in ("ada", "bob"):
        worker = exercise.start("--name", name, *FAST)
        worker.wait_for("aiting", "Your worker never printed that it is waiting.")
    assert exercise.has_queue(), (
        f"Your workers ada and bob were started with --queue {exercise.queue}, but nobody declared "
        "that queue: tasks sent there reach neither of them."
    )


@pytest.mark.task(2)
def test_it_stays(exercise: Exercise) -> None:
    """The worker keeps running and takes one task after another.

    Read: https://www.rabbitmq.com/docs/consumers
    """
    worker = exercise.start("--name", "ada", *FAST)
    worker.wait_for("aiting", "Your worker never printed that it is waiting.")
    for number, body in enumerate(("a", "bb", "ccc"), start=1):
        exercise.send(body)
        worker.wait_for(
            "eceived",
            f"Your worker got {number - 1} of {number} tasks: it must subscribe (basic_consume) "
            "and stay (start_consuming).",
            count=number,
            if_it_ends="Your worker went home instead of waiting for the next task: subscribe with "
            "basic_consume and stay with start_consuming.",
        )


@pytest.mark.task(2)
def test_two_workers_share(exercise: Exercise) -> None:
    """Two workers share the tasks: each task goes to one of them.

    Read: https://www.rabbitmq.com/tutorials/tutorial-two-python
    """
    workers = [exercise.start("--name", name, *FAST) for name in ("ada", "bob")]
    for worker in workers:
        worker.wait_for("aiting", "Your worker never printed that it is waiting.")
    tasks = ["a", "bb", "ccc", "dddd"]
    exercise.wait_until(
        lambda: exercise.consumers() == 2 or any(worker.has_ended() for worker in workers),
        "Two workers were started, but they are not both subscribed to the queue.",
    )
    exercise.send(*tasks)

    def shares() -> list[int]:
        return [len(worker.find("eceived")) for worker in workers]

    exercise.wait_until(
        lambda: sum(shares()) >= 4,
        "Four tasks were sent to two workers, but not all of them were received.",
    )
    assert shares() == [2, 2], (
        f"Four tasks were sent; ada received {shares()[0]} and bob {shares()[1]}, but each "
        "should get two."
    )


@pytest.mark.task(3)
def test_the_work_takes_its_time(exercise: Exercise) -> None:
    """A task takes --seconds-per-character for each of its characters before it is done.

    Read: https://docs.python.org/3/library/time.html#time.sleep
    """
    worker = exercise.start("--name", "ada", "--seconds-per-character", PACE)
    worker.wait_for("aiting", "Your worker never printed that it is waiting.")
    exercise.send("b" * 20, "a" * 4)
    worker.wait_for("Done", "Your worker did not say Done for both of two tasks.", count=2)
    assert len(worker.find("eceived")) == 2, "Your worker must say Received before it works."
    for body in ("b" * 20, "a" * 4):
        (received, *_), (done, *_) = (
            [line for line in worker.find(word) if body in line.text] or worker.find(word)
            for word in ("eceived", "Done")
        )
        took, expected = done.time - received.time, len(body) * PACE
        assert took > 0.7 * expected, (
            f"Your worker said Done {took:.1f} s after it received a task of {len(body)} "
            f"characters; at {PACE} s a character the work takes {expected:.1f} s."
        )
        assert took < expected + 2, (
            f"Your worker took {took:.1f} s for a task of {len(body)} characters; at {PACE} s a "
            f"character it should take {expected:.1f} s."
        )
