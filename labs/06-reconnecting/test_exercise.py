"""The checks that labs/check.py 6 runs."""

import time

import pytest
from pika.spec import Basic, Connection

from kit.exercise.fixture import Exercise

PACE = ("--seconds-per-character", "0.2")
OUTAGE = 3  # seconds
BACK = 12  # seconds allowed for coming back; the waits are 5 s at most


@pytest.mark.task(1)
def test_waits_for_a_broker_that_boots(exercise: Exercise) -> None:
    """A worker that starts before its broker waits for it, without trying all the time.

    Read: https://tenacity.readthedocs.io/en/latest/#waiting-before-retrying
    """
    exercise.proxy.play_dead()
    worker = exercise.start()
    end = time.monotonic() + OUTAGE
    exercise.wait_until(
        lambda: worker.has_ended() or time.monotonic() > end, "never happens", OUTAGE + 1
    )
    tries = exercise.proxy.links
    assert not worker.has_ended(), (
        f"The broker was away for {OUTAGE} s, and your worker gave up after {tries} "
        f"{'try' if tries == 1 else 'tries'}: wait between them, and do not stop."
    )
    assert tries > 1, f"Your worker tried to connect only once in {OUTAGE} s."
    assert tries <= 15, (
        f"Your worker tried {tries} times in {OUTAGE} s: wait after each try, longer every time, "
        "so that a broker that boots is left in peace."
    )
    exercise.proxy.play_dead(False)
    worker.wait_for(
        "Waiting",
        f"The broker was back for {BACK} s, and your worker did not connect: wait 5 s at most.",
        within=BACK,
    )


def one_try(exercise: Exercise, wrong: str, url: str) -> None:
    """Check that the program tries once and ends."""
    worker = exercise.start(url=url)
    exercise.wait_until(
        lambda: worker.has_ended() or len(exercise.sent(Connection.StartOk)) > 1,
        f"With a wrong {wrong} your worker neither ended nor tried again.",
    )
    assert len(exercise.sent(Connection.StartOk)) == 1, (
        f"Your worker tried the same wrong {wrong} again: it will be wrong the next time too, so "
        "let the error end the program."
    )
    assert worker.process.wait() != 0, (
        f"With a wrong {wrong} your worker ended as if all was well: let the error end it, so that "
        "the exit code is not 0."
    )


@pytest.mark.task(2)
def test_wrong_password(exercise: Exercise) -> None:
    """With a wrong password the worker ends after one try.

    Read: https://tenacity.readthedocs.io/en/latest/#whether-to-retry
    """
    one_try(exercise, "password", exercise.url_with(password=f"not-{exercise.queue}"))


@pytest.mark.task(2)
def test_wrong_vhost(exercise: Exercise) -> None:
    """With a vhost that does not exist the worker ends after one try.

    Read: https://www.rabbitmq.com/docs/vhosts
    """
    one_try(exercise, "vhost", exercise.url_with(vhost=f"not-{exercise.queue}"))


@pytest.mark.task(3)
def test_comes_back(exercise: Exercise) -> None:
    """When the connection is cut, the worker comes back and goes on.

    Read: https://www.rabbitmq.com/docs/connections
    """
    worker = exercise.start_worker(*PACE)
    exercise.drop_connections()
    gone = "Your worker's connection was cut, and it did not come back"
    worker.wait_for(
        "Waiting",
        f"{gone}: go round again with a new connection.",
        count=2,
        within=BACK,
        if_it_ends=f"{gone}, but ended",
    )
    exercise.send("aa")
    worker.wait_for("Done", f"{gone} to work: it says it waits, but does not get a task.")


@pytest.mark.task(3)
def test_cut_in_the_middle_of_a_task(exercise: Exercise) -> None:
    """When it is cut in the middle of a task, the task is done again and then acknowledged.

    Read: https://www.rabbitmq.com/docs/reliability
    """
    worker = exercise.start_worker(*PACE)
    exercise.send("aaaaa", "b")
    worker.wait_for("eceived", "Your worker did not print that it received a task.")
    exercise.drop_connections()
    worker.wait_for(
        "'b'",
        "Your worker's connection was cut in the middle of a task, and it did not go on.",
        count=2,
        within=BACK,
        if_it_ends="Your worker's connection was cut in the middle of a task, and it ended",
    )
    exercise.wait_until(
        lambda: len(exercise.sent(Basic.Ack)) >= 2,
        "Your worker came back and did not acknowledge what it did.",
        within=3,
    )
    worker.end()
    exercise.wait_until_returned()
    exercise.wait_ready(0, "Your worker did all tasks, and yet some came back to the queue.")


@pytest.mark.task(3)
def test_its_own_mistakes_end_it(exercise: Exercise) -> None:
    """An error that has nothing to do with the connection ends the program.

    Read: https://tenacity.readthedocs.io/en/latest/#whether-to-retry
    """
    worker = exercise.start_worker(*PACE)
    exercise.send(b"\xff")
    exercise.wait_until(
        lambda: worker.has_ended() or len(worker.find("Waiting")) > 1,
        "Your worker failed on a message that is not text, and neither ended nor went on.",
    )
    assert worker.has_ended(), (
        "Your worker failed on a message that is not text, took that for a lost connection, and "
        "got the same message again and again: come back only after errors "
        "that are worth another try."
    )


@pytest.mark.task(3)
@pytest.mark.usefixtures("when_all_else_is_right")
def test_nothing_is_lost(exercise: Exercise) -> None:
    """With one worker killed and the other cut off twice, every task is done.

    Read: https://www.rabbitmq.com/docs/reliability
    """
    ada, bob = (exercise.start_worker(*PACE) for _ in range(2))
    tasks = ["aaaa", "bbb", "cccc", "ddd", "eeee", "fff", "gggg", "hhh"]
    exercise.send(*tasks)
    ada.wait_for("eceived", "Your first worker got none of eight tasks.")
    ada.end()
    for _ in range(2):
        bob.wait_for("Done", "Your second worker did none of eight tasks.")
        exercise.drop_connections()
    printed = "\n".join(line.text for line in ada.find("Done"))
    exercise.wait_until(
        lambda: all(f"Done with {task!r}" in printed + bob.text() for task in tasks),
        "Some of the eight tasks were never done.",
        within=20,
    )
    exercise.wait_until(
        lambda: exercise.ready() == 0, "Your worker did all tasks, but some are still in the queue."
    )
