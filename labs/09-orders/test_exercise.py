"""The checks that labs/check.py 9 runs."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from pika.spec import Basic, Queue

from kit.exercise.fixture import Exercise
from kit.exercise.program import Mistake, Program

DELAY = 0.8  # seconds; leaves a busy machine time between two attempts


def start(exercise: Exercise, folder: Path, task: int) -> Program:
    """Start the warehouse and wait until it has subscribed. Raises Mistake."""
    try:
        return exercise.start_worker("--folder", folder, "--delay", DELAY)
    except Mistake:
        program = exercise.programs[-1]
        if not (why := what_is_refused(program.text("stderr"))):
            raise
        exercise.programs.remove(program)  # its crash is reported here
        line = program.crash().partition(",")[0]
        program.end()
        raise Mistake(
            f"Your retry queue cannot be declared ({line}): {why}"
            if task == 2
            else f"Task {task} cannot be judged before task 2 is done: its queue is refused."
        ) from None


def what_is_refused(text: str) -> str:
    """Return what is wrong with the arguments of the retry queue, "" if it is something else."""
    text = text.replace("\\'", "'").replace('"', "")
    if wrong := re.search(r"PRECONDITION_FAILED - (.+) for queue '.+-retry' .+?: (.+)", text):
        return f"{wrong[1]}: {wrong[2]}".rstrip("')") + "."
    if wrong := re.search(r"UnsupportedAMQPFieldException: .+-retry.+, (.+)\)", text):
        return f"pika cannot send {wrong[1]} as an argument; a whole number is an int."
    return ""


def order(number: int, *products: int) -> str:
    """Return the message of an order."""
    return json.dumps({"number": number, "product_ids": products})


def packed(folder: Path) -> Counter:
    """Return how often each line is in packed.txt."""
    file = folder / "packed.txt"
    return Counter(file.read_text(encoding="utf-8").splitlines() if file.exists() else [])


def out_of_stock(folder: Path, product: int) -> Path:
    """Mark a product as out of stock; return the file that marks it, to be deleted later."""
    mark = folder / f"no-{product}"
    mark.touch()
    return mark


def wait_for_acks(exercise: Exercise, count: int) -> None:
    """Wait until `count` messages are acknowledged."""
    exercise.wait_until(
        lambda: len(exercise.sent(Basic.Ack)) >= count,
        lambda: (
            f"Your warehouse acknowledged {len(exercise.sent(Basic.Ack))} of {count} messages: "
            "acknowledge each once it is packed or sent on."
        ),
        within=4,
    )


@pytest.mark.task(1)
def test_an_order_is_packed_once(exercise: Exercise, tmp_path: Path) -> None:
    """An order that is delivered twice is packed once.

    Read: https://www.rabbitmq.com/docs/reliability#consumer-side
    """
    warehouse = start(exercise, tmp_path, 1)
    exercise.send(order(12, 7), order(1, 7), order(1, 7), order(2, 7))
    wait_for_acks(exercise, 4)
    lines = packed(tmp_path)
    assert lines["order 1"] != 2, (
        "Order 1 was delivered twice, and packed twice: look into packed.txt before you write."
    )
    missing = [number for number in (1, 2, 12) if not lines[f"order {number}"]]
    assert not missing, (
        f"Orders 12, 1, 1 and 2 were delivered, and order {missing[0]} was not packed: compare "
        "whole lines, as 'order 1' is a part of 'order 12'."
    )
    assert lines == {"order 1": 1, "order 2": 1, "order 12": 1}, (
        f"packed.txt should have a line for each of the orders 1, 2 and 12, and has {dict(lines)}."
    )
    # An order may also have been packed before a restart.
    warehouse.end()
    exercise.wait_until_returned()
    begun = len(exercise.sent(Basic.Ack))
    start(exercise, tmp_path, 1)
    exercise.send(order(2, 7))
    wait_for_acks(exercise, begun + 1)
    assert packed(tmp_path)["order 2"] == 1, (
        "Order 2 was packed once more after a restart: what is packed has to be read from "
        "packed.txt, a variable is gone with the program."
    )


@pytest.mark.task(2)
def test_what_fails_is_tried_again_later(exercise: Exercise, tmp_path: Path) -> None:
    """An order that cannot be packed now comes back after a while.

    Read: https://www.rabbitmq.com/docs/dlx
    """
    mark = out_of_stock(tmp_path, 42)
    warehouse = start(exercise, tmp_path, 2)
    exercise.send(order(1, 42))
    warehouse.wait_for("Attempt 1", "Your warehouse did not print 'Attempt 1: product 42 is ...'.")
    arguments = declared(exercise, "-retry")
    ttl = arguments.get("x-message-ttl")
    wrong = (
        f"With --delay {DELAY} a message waits {ttl} ms in your retry queue, but should wait "
        f"{DELAY * 1000:.0f}."
    )
    assert ttl in (None, DELAY * 1000), wrong
    mark.unlink()
    nowhere = "x-dead-letter-exchange" not in arguments
    exercise.wait_until(
        lambda: packed(tmp_path)["order 1"],
        lambda: (
            "An order could not be packed, and it never came back from the retry queue: "
            + (
                "it needs the argument x-message-ttl, in milliseconds."
                if "x-message-ttl" not in arguments
                else "it expired, and was dropped: where should it go? "
                "x-dead-letter-exchange is '', the default exchange."
                if nowhere
                else "x-dead-letter-routing-key has to be the name of the queue it came from."
            )
        ),
        within=6,
    )
    assert ttl is not None, wrong


def declared(exercise: Exercise, end: str) -> dict:
    """Return the arguments of the program's queue whose name ends with `end`."""
    queues = [one.what for one in exercise.sent(Queue.Declare) if one.what.queue.endswith(end)]
    return (queues[-1].arguments if queues else None) or {}


@pytest.mark.task(3)
def test_what_fails_too_often_is_parked(exercise: Exercise, tmp_path: Path) -> None:
    """An order that still cannot be packed at the third attempt is parked, and nothing is lost.

    Read: https://www.rabbitmq.com/docs/dlx
    """
    parked = f"{exercise.queue}-parked"
    out_of_stock(tmp_path, 42)
    warehouse = start(exercise, tmp_path, 3)
    exercise.send(order(1, 42), order(2, 7))
    exercise.wait_until(
        lambda: exercise.client.ready(parked) or warehouse.find("Attempt 4"),
        lambda: (
            "An order that fails again and again did not come into the queue for parked orders."
            if warehouse.find("Attempt 2")
            else "Task 3 cannot be judged before task 2 is done: there was no second attempt."
        ),
        within=6,
    )
    assert not warehouse.find("Attempt 4"), (
        "Your warehouse makes a fourth attempt, and goes on: count them, three are enough."
    )
    attempts = len(warehouse.find("Attempt "))
    assert attempts == 3, f"The order was parked after attempt {attempts}, but should be after 3."
    wait_for_acks(exercise, 4)
    retry = exercise.client.ready(f"{exercise.queue}-retry")
    assert not retry, "The order is parked, and comes back all the same: send it to one of the two."
    [(_, properties, body)] = exercise.client.take_all(parked)
    assert json.loads(body)["number"] == 1 and properties.delivery_mode == 2, (
        "The parked message should be the order as it came, and persistent."
    )
    assert packed(tmp_path) == {"order 2": 1}, "The other order has to be packed meanwhile, once."
