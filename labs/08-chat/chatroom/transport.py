"""The small interface between a room and the service that carries its messages."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from chatroom.message import Message


class Transport(ABC):
    """Carries the messages of a room. One thread calls this; only `wake` may be called from others.

    Every method may raise BrokerError. After one with the code UNREACHABLE, call `hang_up` and
    `listen` again: it also brings what was said meanwhile.
    """

    @abstractmethod
    def open(self) -> None:
        """Connect, and create the room if there is none."""

    @abstractmethod
    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Connect, and call `on_message` with the old messages, then with new ones.

        Messages come in the order in which they were said; one may come twice.
        """

    @abstractmethod
    def publish(self, message: Message) -> None:
        """Publish a message; return when the service has stored it."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Receive for `seconds`, or until a message has come or `wake` was called."""

    @abstractmethod
    def wake(self) -> None:
        """End the current wait, or else the next one."""

    @abstractmethod
    def hang_up(self) -> None:
        """Drop the connection, to come back later. Never raises."""

    def close(self) -> None:
        """Leave for good, and delete what is only ours."""
        self.hang_up()
