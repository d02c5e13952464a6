"""The checks that labs/check.py 8 runs."""

from collections.abc import Callable, Iterator

import pika
import pytest
from pika.spec import Basic

from kit.exercise.fixture import Exercise
from kit.exercise.program import Mistake, Program


class Room:
    """The two exchanges of the student's program; we speak and listen on them too."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self.everybody, self.private = exercise.queue, f"{exercise.queue}.private"

    def listener(self, name: str) -> Program:
        """Start the program as a listener, and wait until it has subscribed."""
        begun = len(self.exercise.received(Basic.ConsumeOk))
        program = self.exercise.start("--name", name)
        program.wait_for("Waiting", "Your program never printed that it is waiting for messages.")
        self.exercise.wait_until(
            lambda: len(self.exercise.received(Basic.ConsumeOk)) > begun or program.has_ended(),
            "Your program prints that it waits, but it did not subscribe to its queue.",
        )
        return program

    def publish(self, exchange: str, key: str, text: str) -> None:
        """Say something. Raises pika's UnroutableError if nobody gets it."""
        channel = self.exercise.client.connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, text.encode(), mandatory=True)

    def ear(self, exchange: str, key: str = "") -> Callable[[], list[str]]:
        """Bind a queue of our own; return a function that returns everything received."""
        channel = self.exercise.client.connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        heard: list[str] = []
        try:
            channel.queue_bind(queue, exchange, routing_key=key)
        except pika.exceptions.ChannelClosedByBroker:
            raise Mistake(f"Your program did not declare the exchange {exchange!r}.") from None

        def listen() -> list[str]:
            while (message := channel.basic_get(queue, auto_ack=True))[0]:
                heard.append(message[2].decode(errors="replace"))
            return heard

        return listen


@pytest.fixture
def room(exercise: Exercise) -> Iterator[Room]:
    """Return the room; delete its exchanges afterwards: they stay if nothing was ever bound."""
    room = Room(exercise)
    yield room
    exercise.client.reconnect()
    for exchange in (room.everybody, room.private):
        exercise.client.connection.channel().exchange_delete(exchange)


@pytest.mark.task(1)
def test_hears_what_is_for_it_alone(room: Room) -> None:
    """A listener hears what is for them alone, and nobody else hears it.

    Read: https://www.rabbitmq.com/tutorials/tutorial-four-python
    """
    ada, bob = room.listener("ada"), room.listener("bob")
    try:
        room.publish(room.private, "ada", "carl: psst")
    except pika.exceptions.UnroutableError:
        raise Mistake(
            f"A message to the exchange {room.private!r} with the routing key 'ada' came back, "
            "though ada listens: her queue is not bound to it, or not with her name."
        ) from None
    ada.wait_for("psst", "Your program got a message for it alone and did not print it.")
    room.publish(room.everybody, "", "carl: good night")
    bob.wait_for("good night", "Your program no longer prints what is for everybody.")
    assert not bob.find("psst"), "Bob also heard what was for ada alone."


@pytest.mark.task(2)
def test_whispers_to_one(room: Room) -> None:
    """What begins with /msg NAME goes to that name alone, the rest to everybody.

    Read: https://www.rabbitmq.com/tutorials/tutorial-four-python
    """
    room.listener("ada")
    public, bobs = room.ear(room.everybody), room.ear(room.private, "bob")
    program = room.exercise.run("--name", "carl", "/msg bob psst, you")
    crash = program.crash()
    assert not public(), f"The whole room can read your whisper: {public()[0]!r}."
    assert bobs(), (
        f"Your program crashed: {crash}."
        if crash
        else f"'/msg bob psst, you' did not reach bob: on the exchange {room.private!r} nothing "
        "came with the routing key 'bob'."
    )
    assert bobs() == ["carl: psst, you"], (
        f"Bob gets {bobs()[0]!r}; it should be 'carl: psst, you', without the command."
    )
    room.exercise.run("--name", "carl", "hello, all")
    assert public() == ["carl: hello, all"], "What is for everybody no longer reaches them."
    room.exercise.run("--name", "carl", "/msgbob hey")
    assert len(bobs()) == 1, (
        f"'/msgbob hey' is no whisper, there is no space after '/msg'; and bob got {bobs()[1]!r}."
    )
    crash = room.exercise.run("--name", "carl", "/msg bob").crash()
    assert not crash, f"At '/msg bob', with no words after the name, your program crashed: {crash}."


@pytest.mark.task(3)
def test_says_when_nobody_got_it(room: Room) -> None:
    """A whisper to somebody who is not here is reported to have reached nobody.

    Read: https://www.rabbitmq.com/docs/publishers#unroutable
    """
    room.listener("ada")
    bobs = room.ear(room.private, "bob")
    program = room.exercise.run("--name", "carl", "/msg zoe psst")
    sent = room.exercise.sent(Basic.Publish)
    why = (
        "Publish with mandatory=True, and the broker returns what it has no queue for."
        if sent and not sent[-1].what.mandatory
        else "The broker returned it: confirm_delivery makes an UnroutableError of that."
    )
    assert not program.find("Said"), f"Nobody is called zoe, and your program printed 'Said'. {why}"
    program.wait_for("[!]", "Nobody is called zoe, and your program did not say so with ' [!] '.")
    program = room.exercise.run("--name", "carl", "/msg bob psst")
    program.wait_for("Said", "Bob got his message, and your program no longer says so.")
    assert bobs() == ["carl: psst"], f"Bob should have got one message, and got {len(bobs())}."
