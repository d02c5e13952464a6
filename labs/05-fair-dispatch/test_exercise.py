"""The checks that labs/check.py 5 runs."""

import pytest
from pika.spec import Basic

from kit.exercise.fixture import Exercise
from kit.exercise.program import Program

PACE = ("--seconds-per-character", "0.1")
SECOND = "a" * 10  # one second of work
LONG = "a" * 30  # three seconds of work


def two_workers(exercise: Exercise, *options: str) -> list[Program]:
    """Start ada and bob on the queue."""
    return [exercise.start_worker("--name", name, *PACE, *options) for name in ("ada", "bob")]


@pytest.mark.task(1)
def test_acknowledges_by_hand(exercise: Exercise) -> None:
    """The worker acknowledges each task after its work.

    Read: https://www.rabbitmq.com/docs/confirms#consumer-acknowledgements
    """
    worker = exercise.start_worker(*PACE)
    assert not exercise.sent(Basic.Consume)[0].what.no_ack, (
        "Your worker takes its tasks with auto_ack: the broker considers them done at once, and "
        "has nothing to count."
    )
    exercise.send(SECOND, "bb")
    begun = worker.wait_for("eceived", "Your worker did not print that it received a task.")
    exercise.wait_until(
        lambda: exercise.sent(Basic.Ack) or worker.find("Done"),
        "Your worker neither printed Done nor acknowledged a task of one second in 10 s.",
    )
    early = [ack for ack in exercise.sent(Basic.Ack) if ack.time < begun.time + 0.7]
    assert not early, (
        "Your worker acknowledged a task before the work was done: it looks free while it is busy."
    )
    worker.wait_for(
        "Done",
        "Your worker did one task and got no second one: acknowledge the first when it is done.",
        count=2,
    )
    exercise.wait_until(
        lambda: len(exercise.sent(Basic.Ack)) == 2,
        "Your worker did two tasks and did not acknowledge both, each once.",
        within=2,
    )


@pytest.mark.task(2)
def test_the_free_worker_gets_the_task(exercise: Exercise) -> None:
    """While one worker is busy with a long task, the other gets all the short ones.

    Read: https://www.rabbitmq.com/docs/consumer-prefetch
    """
    workers = two_workers(exercise)
    exercise.send(LONG, "b", "c", "d")
    exercise.wait_until(
        lambda: any(worker.find(LONG) for worker in workers), "Neither worker got the long task."
    )
    busy, free = sorted(workers, key=lambda worker: not worker.find(LONG))
    exercise.wait_until(
        lambda: len(free.find("Done")) == 3 or busy.find("Done"),
        "A task was sent to two workers, and after 10 s neither was done with it.",
    )
    done, qos = len(free.find("Done")), exercise.sent(Basic.Qos)
    why = "the busy one held the others. "
    if not qos:
        why += "Limit what it may hold: basic_qos."
    elif qos[0].time > exercise.sent(Basic.Consume)[0].time:
        why += "basic_qos comes too late: it applies to consumers that subscribe after it."
    else:
        why += f"A prefetch of {qos[0].what.prefetch_count} is not 1 (0 means no limit)."
    assert done == 3, (
        "One of your workers was busy for three seconds, the other was free, and yet only "
        f"{done} of three short tasks were done by then: {why}"
    )


@pytest.mark.task(2)
def test_it_takes_the_next_when_free(exercise: Exercise) -> None:
    """A worker holds one task at a time, and still gets them all.

    Read: https://www.rabbitmq.com/docs/consumer-prefetch
    """
    worker = exercise.start_worker("--seconds-per-character", "0.5")
    exercise.send("a", "b", "c")
    worker.wait_for("eceived", "Your worker did not print that it received a task.")
    held = len(exercise.received(Basic.Deliver)) - len(exercise.sent(Basic.Ack))
    assert held <= 1 and exercise.ready() >= 1, (
        f"Your worker is busy with one task and holds {held} in all: another worker could have "
        "done the others."
    )
    worker.wait_for("Done", "Your worker did not do all of three tasks.", count=3)


@pytest.mark.task(3)
def test_prefetch_is_an_option(exercise: Exercise) -> None:
    """With --prefetch 3 a worker holds three tasks, and the fourth stays in the queue.

    Read: https://docs.python.org/3/howto/argparse.html
    """
    exercise.start_worker("--prefetch", "3", "--seconds-per-character", "30")
    exercise.send("a", "b", "c", "d")
    exercise.wait_until(
        lambda: len(exercise.received(Basic.Deliver)) >= 3,
        lambda: (
            "With --prefetch 3 your worker should hold three tasks, but it holds "
            f"{len(exercise.received(Basic.Deliver))}."
        ),
        within=3,
    )
    exercise.wait_ready(
        1, "With --prefetch 3 your worker holds more than three tasks, or none of them.", within=2
    )
