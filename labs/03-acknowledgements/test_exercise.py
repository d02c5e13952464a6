"""The checks that labs/check.py 3 runs."""

import contextlib

import pytest
from pika.spec import Basic

from kit.cli import wait_until
from kit.exercise.fixture import Exercise
from kit.exercise.program import Program

RECEIVED = "Your worker did not print that it received a task."
FAST = ("--seconds-per-character", "0.05")


def busy(exercise: Exercise, *tasks: str) -> Program:
    """Return a worker in the middle of its first task."""
    worker = exercise.start_worker("--seconds-per-character", "30")
    exercise.send(*tasks)
    worker.wait_for("eceived", RECEIVED)
    return worker


@pytest.mark.task(1)
def test_killed_in_the_middle_of_a_task(exercise: Exercise) -> None:
    """A worker that is killed in the middle of a task loses nothing.

    Read: https://www.rabbitmq.com/docs/confirms#acknowledgement-modes
    """
    worker = busy(exercise, "aaa", "b", "c")
    exercise.wait_until(
        lambda: len(exercise.received(Basic.Deliver)) >= 1, "Your worker did not get a task."
    )
    with contextlib.suppress(TimeoutError):  # it may be about to acknowledge
        wait_until(lambda: exercise.sent(Basic.Ack), 0.5)
    worker.end()
    lost = "Your worker was killed in the middle of a task, and the task is lost: "
    if exercise.sent(Basic.Consume)[0].what.no_ack:
        lost += "with auto_ack the broker forgets a task when it hands it over."
    elif exercise.sent(Basic.Ack):
        lost += "your worker acknowledged it before the work was done."
    else:
        lost += "not all of the three tasks came back to the queue."
    exercise.wait_ready(3, lost)
    (method, _, body), *_ = exercise.take()
    assert body == b"aaa" and method.redelivered, (
        "The task that your worker held did not come back as it was: leave it alone until the work "
        "is done."
    )


@pytest.mark.task(2)
def test_done_is_done(exercise: Exercise) -> None:
    """A finished task is acknowledged once and never comes back.

    Read: https://www.rabbitmq.com/docs/confirms#consumer-acknowledgements
    """
    worker = exercise.start_worker(*FAST)
    exercise.send("aa", "bb")
    worker.wait_for("Done", "Your worker did not say Done for both of two tasks.", count=2)
    exercise.wait_until(
        lambda: len(exercise.sent(Basic.Ack)) >= 2 or worker.has_ended(),
        lambda: (
            "Your worker did two tasks and acknowledged only one."
            if exercise.sent(Basic.Ack)
            else "Your worker said Done twice, and the broker knows nothing of it: acknowledge "
            "each task after its work."
        ),
        within=2,
    )
    exercise.send("c")
    worker.wait_for(
        "Done",
        "Your worker did not go on after its first two tasks.",
        count=3,
        if_it_ends="Your worker did not get far after its first tasks: a task may be acknowledged "
        "only once, and not at all with auto_ack",
    )
    exercise.wait_until(
        lambda: len(exercise.sent(Basic.Ack)) >= 3,
        "Your worker acknowledges some tasks but not all.",
        2,
    )
    worker.end()
    exercise.wait_until_returned()
    exercise.wait_ready(0, "Your worker did all its tasks, and yet some came back to the queue.")


@pytest.mark.task(3)
def test_refuses_what_nobody_can_do(exercise: Exercise) -> None:
    """A task that cannot be done is refused and does not come back.

    Read: https://www.rabbitmq.com/docs/nack
    """
    worker = exercise.start_worker(*FAST)
    exercise.send("why?", "a")
    worker.wait_for("Failed", "Your worker did not print that it failed on the task 'why?'.")
    worker.wait_for("Done", "Your worker did not go on to the next task after one that failed.")
    refused = exercise.sent(Basic.Reject) + exercise.sent(Basic.Nack)
    assert len(worker.find("Failed")) == 1 and not (refused and refused[0].what.requeue), (
        f"Your worker failed on the same task {len(worker.find('Failed'))} times, because it put "
        "the task back into the queue."
    )
    assert refused, (
        "Your worker failed on a task and told the broker nothing: the task stays unacknowledged "
        "for as long as the worker lives."
    )
    worker.end()
    exercise.wait_until_returned()
    bodies = [body for _, _, body in exercise.take()]
    assert b"why?" not in bodies, "The task that cannot be done came back to the queue."
