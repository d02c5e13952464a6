"""kit.web.relay: what it says and does while the broker does not take a message."""

from conftest import Lab
from kit.amqp import Broker
from kit.web import relay
from kit.web.relay import Outgoing, Relay

FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}


class Outbox(Relay):
    """Holds one message for a queue that is missing at first, then full, then has room."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(Broker(url=lab.url))
        self.lab, self.looks, self.pauses = lab, 0, []
        self.waiting = [Outgoing(1, "", "late", b"a")]

    def declare(self, channel) -> None:
        """Declare nothing: the queue stays missing."""

    def unpublished(self) -> list[Outgoing]:
        self.looks += 1
        if self.looks == 4:
            self.lab.declare("late", arguments=FULL)
        if self.looks == 8:
            self.lab.connection.channel().queue_delete("late")
            self.lab.declare("late")
        return self.waiting

    def publish(self, channel, message: Outgoing) -> bool:
        channel.connection.sleep = self.pauses.append
        return super().publish(channel, message)

    def mark_published(self, message: Outgoing) -> None:
        self.waiting.remove(message)
        self.stopping = True


def test_each_reason_is_said_once_and_every_new_try_waits(lab: Lab, capsys):
    outbox = Outbox(lab)
    outbox.run()
    assert capsys.readouterr().err.splitlines() == [
        " [!] No queue takes 'late': was it deleted? Declaring it again",
        f" [!] The broker refuses a message; trying again every {relay.REFUSED_PAUSE} s",
    ]
    # Seven tries failed; only after the first, which declaring may mend, comes the next at once.
    assert outbox.pauses == [relay.REFUSED_PAUSE] * 6
    assert lab.take("late") == [b"a"]
