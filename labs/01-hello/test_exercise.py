"""The checks that labs/check.py 1 runs."""

import pytest

from kit.exercise.fixture import Exercise

WAITS = "Your receiver never printed that it is waiting for messages."


@pytest.mark.task(1)
def test_both_sides_declare_the_queue(exercise: Exercise) -> None:
    """Sender and receiver both declare the queue.

    Read: https://www.rabbitmq.com/tutorials/tutorial-one-python
    """
    exercise.start().wait_for("Waiting", WAITS)
    assert exercise.has_queue(), (
        f"Your receiver waits, but not on the queue {exercise.queue!r} that --queue names: "
        "declare that one."
    )
    exercise.client.connection.channel().queue_delete(exercise.queue)
    exercise.run("Hello")
    assert exercise.has_queue(), (
        "Your receiver declares the queue but your sender does not, so messages that it sends "
        "before the first receiver starts are lost: declare the queue on both sides."
    )


@pytest.mark.task(2)
def test_messages_arrive(exercise: Exercise) -> None:
    """The messages are in the queue, in the order in which they were sent.

    Read: https://www.rabbitmq.com/tutorials/amqp-concepts#exchange-default
    """
    exercise.run("Hello", "Good morning")
    bodies = [body.decode(errors="replace") for _, _, body in exercise.take()]
    assert bodies, (
        "Your sender said Sent twice, but the queue is empty: with the default exchange the "
        "routing key is the name of the queue."
    )
    assert bodies == ["Hello", "Good morning"], (
        f"Your sender should have sent 'Hello' and 'Good morning', but the queue holds {bodies}."
    )


@pytest.mark.task(3)
def test_bodies_are_shown_as_text(exercise: Exercise) -> None:
    """The receiver prints text, not bytes.

    Read: https://docs.python.org/3/howto/unicode.html
    """
    receiver = exercise.start()
    receiver.wait_for("Waiting", WAITS)
    exercise.send("Grüße", "2")
    received = "Your receiver did not print that it received"
    line = receiver.wait_for("eceived", f"{received} the first of two messages.")
    receiver.wait_for("eceived", f"{received} the second of two messages.", count=2)
    assert "b'" not in line.text and 'b"' not in line.text, (
        f"Your receiver printed {line.text.strip()!r}: that is bytes; decode the body."
    )
    assert "Grüße" in line.text, (
        f"Your receiver printed {line.text.strip()!r} for the message 'Grüße': decode it as UTF-8."
    )
