"""The checks that labs/check.py 4 runs."""

import pytest
from pika.spec import BasicProperties, Confirm

from kit.exercise.fixture import Exercise


@pytest.mark.task(1)
def test_the_queue_is_durable(exercise: Exercise) -> None:
    """The queue is kept on disk.

    Read: https://www.rabbitmq.com/docs/queues#durability
    """
    exercise.run("three apples")
    assert exercise.is_durable(), (
        "Your queue is not durable: after a restart of the broker the queue and all that was "
        "in it would be gone."
    )


@pytest.mark.task(2)
def test_the_messages_are_persistent(exercise: Exercise) -> None:
    """Each message is kept on disk.

    Read: https://www.rabbitmq.com/docs/publishers#message-properties
    """
    exercise.run("three apples", "a pear")
    modes = [h.what.delivery_mode for h in exercise.sent(BasicProperties)]
    assert modes, "Your program sent no message."
    assert modes == [2] * len(modes), (
        "Your messages are not persistent: after a restart of the broker the durable queue would "
        "be there, and empty."
    )


@pytest.mark.task(3)
def test_returned_is_not_sent(exercise: Exercise) -> None:
    """A message that no queue takes is not reported as sent.

    Read: https://www.rabbitmq.com/docs/publishers#unroutable
    """
    sender = exercise.start("--no-declare", "lost")
    code = sender.wait("Your program does not end when no queue takes its message.")
    assert not sender.find("[x] Sent"), (
        "There was no queue, the broker threw your message away, and your program printed Sent: "
        + (
            "publish with mandatory=True, or the broker will not tell you."
            if exercise.sent(Confirm.Select)
            else "it did not ask the broker what became of it."
        )
    )
    assert not sender.crash(), f"Nothing caught what the broker returned: {sender.crash()}."
    assert sender.find("Not sent"), "Your program did not print 'Not sent' for a message it lost."
    assert code == 1, f"A message was not sent, so the exit code should be 1, but it is {code}."


@pytest.mark.task(3)
def test_refused_is_not_sent(exercise: Exercise) -> None:
    """Of three messages, those that a full queue refuses are not reported as sent.

    Read: https://www.rabbitmq.com/docs/maxlength#overflow-behaviour
    """
    room_for_one = {"x-max-length": 1, "x-overflow": "reject-publish"}
    exercise.client.declare(durable=True, arguments=room_for_one)
    sender = exercise.start("--no-declare", "one", "two", "three")
    code = sender.wait("Your program does not end when a queue is full.")
    assert not sender.crash(), f"Nothing caught the broker's refusal: {sender.crash()}."
    sent, arrived = len(sender.find("[x] Sent")), exercise.ready()
    assert sent == arrived, (
        f"The queue was full and took {arrived} of three messages, but your program printed Sent "
        f"{sent} times: ask for confirms (confirm_delivery)."
    )
    assert len(sender.find("Not sent")) == 3 - arrived, (
        "Your program must go on after a message that was refused, and say 'Not sent' for each."
    )
    assert code == 1, f"Two messages were refused, so the exit code should be 1, but it is {code}."


@pytest.mark.task(3)
def test_all_is_well(exercise: Exercise) -> None:
    """When nothing goes wrong, every message is sent once and the exit code is 0.

    Read: https://www.rabbitmq.com/docs/confirms#publisher-confirms
    """
    sender = exercise.run("three apples", "a pear")
    assert exercise.sent(Confirm.Select), (
        "Your program does not ask the broker for confirms: it cannot know what arrived."
    )
    bodies = [body for _, _, body in exercise.take()]
    assert bodies == [b"three apples", b"a pear"], (
        f"Your program should have sent 'three apples' and 'a pear', but the queue holds {bodies}."
    )
    assert len(sender.find("[x] Sent")) == 2, "Your program must print Sent for each message."
    assert sender.process.returncode == 0, (
        f"All was sent, so the exit code should be 0, but it is {sender.process.returncode}."
    )


@pytest.mark.task(2)
@pytest.mark.usefixtures("when_all_else_is_right")
def test_over_a_restart(exercise: Exercise) -> None:
    """The broker is restarted, and all messages are still there.

    Read: https://www.rabbitmq.com/docs/persistence-conf
    """
    exercise.run("three apples", "a pear")
    exercise.restart_broker()
    assert exercise.has_queue(), "The broker was restarted, and your queue is gone."
    bodies = [body for _, _, body in exercise.take()]
    assert bodies == [b"three apples", b"a pear"], (
        f"The broker was restarted; the queue should hold your two messages but holds {bodies}."
    )
