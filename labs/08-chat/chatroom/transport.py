"""The small interface between a room and the service that carries its messages."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from chatroom.message import Message


class Transport(ABC):
    """Carries the messages of a room. One thread calls this; only `wake` may be called from others.

    Every method may raise BrokerError. After one with the code UNREACHABLE, call `hang_up` and
    `listen` again: then comes what was said meanwhile.
    """

    @abstractmethod
    def open(self) -> None:
        """Connect, and create the room if there is none."""

    @abstractmethod
    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Connect, and call `on_message` with all that was said before, then with what is new.

        Messages come in the order in which they were said; one may come twice.
        """

    @abstractmethod
    def publish(self, message: Message) -> None:
        """Publish a message; return when it is safe there."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Receive for so many seconds, or until something has come or `wake` was called."""

    @abstractmethod
    def wake(self) -> None:
        """End a wait: the present one, or else the next."""

    @abstractmethod
    def hang_up(self) -> None:
        """Drop the connection, to come back later. Never raises."""

    def close(self) -> None:
        """Leave for good, with nothing of our own left behind."""
        self.hang_up()
