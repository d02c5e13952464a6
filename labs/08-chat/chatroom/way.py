"""The small interface between a room and whatever carries its messages."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from chatroom.message import Message


class Way(ABC):
    """A way to a room. One thread calls all of this; only `wake` may be called from any other.

    Every method may raise BrokerError. After one with the code UNREACHABLE, `hang_up` and `listen`
    again may help: what was said meanwhile comes then.
    """

    @abstractmethod
    def open(self) -> None:
        """Connect, and make the room if there is none."""

    @abstractmethod
    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Connect too, and from now on hear everything: first what was said before, then the rest.

        In the order in which it was said; a message may come twice.
        """

    @abstractmethod
    def publish(self, message: Message) -> None:
        """Hand a message over; return when it is safe there."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let messages come in for so long, or until something has come, or `wake` was called."""

    @abstractmethod
    def wake(self) -> None:
        """End a wait, this one or else the next."""

    @abstractmethod
    def hang_up(self) -> None:
        """Drop the connection, in order to come back. Never raises."""

    def close(self) -> None:
        """Go for good, and leave nothing of one's own behind."""
        self.hang_up()
