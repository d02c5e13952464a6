"""A room as a program sees it: say something, hear everything, notice a lost connection.

Room is a thread, the only one that speaks to the broker. It reports what happens as events:
Entered, Heard, Delivered, Lost, Back and Ended.
"""

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from chatroom.message import HERE, JOINED, LEFT, MARK, SAID, Message, new_id
from chatroom.transport import Transport
from kit.amqp import BrokerError, reason
from kit.cli import UNEXPECTED

KEPT = 50  # old messages shown on joining
BEAT = 5  # seconds between two "I am still here"
RETRY = 0.5  # seconds between two tries to come back
TRIES = 3  # attempts to get past a message that cannot be decoded
REMEMBERED = 50_000  # ids, to recognise duplicates: more than a stream of 1 MB can hold


@dataclass(frozen=True)
class Entered:
    """We have joined; `old` holds the last messages."""

    old: list[Message]


@dataclass(frozen=True)
class Heard:
    """Somebody said something, joined, left, or is still here."""

    message: Message


@dataclass(frozen=True)
class Delivered:
    """Our message has reached the room."""

    message: Message


@dataclass(frozen=True)
class Lost:
    """The connection is lost; we try to come back, and keep what we could not send."""

    why: str


@dataclass(frozen=True)
class Back:
    """We are connected again."""


@dataclass(frozen=True)
class Ended:
    """It is over: we have left, or an error ended it."""

    error: BaseException | None


class Room(threading.Thread):
    """Takes part in a room under a name, or without one as a silent listener.

    `tell` is called with each event, in this thread.
    """

    def __init__(
        self, transport: Transport, me: str | None, tell: Callable[[object], None]
    ) -> None:
        super().__init__(daemon=True)
        self.transport, self.me, self.tell = transport, me, tell
        self.who = new_id()
        self._outbox: collections.deque[Message] = collections.deque()
        self._leaving = threading.Event()
        self._old: collections.deque[Message] | None = collections.deque(maxlen=KEPT)
        self._known: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._next_beat = 0.0

    # ---- for all threads

    def say(self, text: str) -> None:
        """Say something: now, or as soon as the broker is back."""
        self._outbox.append(Message(SAID, self.me, text, self.who))
        self.transport.wake()

    @property
    def unsent(self) -> list[Message]:
        """Our messages that the room does not have yet."""
        return list(self._outbox)

    def leave(self, within: float = 2) -> list[Message]:
        """Leave, with a last message if there is time (`within` seconds); return what is unsent."""
        self._leaving.set()
        self.transport.wake()
        self.join(within)
        return self.unsent

    # ---- in this thread

    def run(self) -> None:
        """Stay until we leave, and come back whenever the connection is lost."""
        error = None
        try:
            self._stay_connected()
        except BaseException as problem:
            error = problem
        self.tell(Ended(error))

    def _stay_connected(self) -> None:
        entered, unreadable = False, 0
        while not self._leaving.is_set():
            started_at = time.monotonic()
            try:
                self.transport.listen(self._on_message)
                self._announce(again=entered)
                entered = True
                self._stay()
                self._say_goodbye()
            except BrokerError as error:
                # The room's history comes at each try, the messages in our own queue come once.
                if time.monotonic() - started_at > BEAT:
                    unreadable = 0
                unreadable += error.code == UNEXPECTED
                # A broker that boots may refuse what it accepts a moment later.
                is_final = not entered or unreadable == TRIES
                if not is_final:
                    why = error if error.code == UNEXPECTED else reason(error.__cause__ or error)
                    self.tell(Lost(str(why)))
                self.transport.hang_up()
                if is_final:
                    raise
                self._leaving.wait(RETRY)

    def _announce(self, again: bool) -> None:
        """Announce ourselves; messages that come before this one are old."""
        if again:
            self.tell(Back())
        elif self.me:
            self.transport.publish(Message(JOINED, self.me, who=self.who))
        else:
            self.transport.publish(Message(MARK, "", who=self.who))
        self._next_beat = 0

    def _stay(self) -> None:
        while True:
            self._send()
            if self._leaving.is_set():
                return
            now = time.monotonic()
            if self.me and now >= self._next_beat:
                self.transport.publish(Message(HERE, self.me, who=self.who))
                self._next_beat = now + BEAT
            self.transport.wait(max(self._next_beat - now, 0.01) if self.me else BEAT)

    def _send(self) -> None:
        while self._outbox:
            self.transport.publish(self._outbox[0])
            self.tell(Delivered(self._outbox.popleft()))

    def _say_goodbye(self) -> None:
        if self.me:
            self.transport.publish(Message(LEFT, self.me, who=self.who))
        self.transport.close()

    def _on_message(self, message: Message) -> None:
        if message.kind == HERE:
            self.tell(Heard(message))
        elif message.id not in self._known:
            self._known[message.id] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            self._sort(message)

    def _sort(self, message: Message) -> None:
        """Report a new message; keep old ones until our own first message comes back to us."""
        if self._old is not None:
            if message.who == self.who:
                self.tell(Entered(list(self._old)))
                self._old = None
            elif message.kind == SAID:
                self._old.append(message)
            return
        if message.kind == JOINED and message.who != self.who:
            self._next_beat = 0  # so that the newcomer hears of us
        if message.kind != MARK:
            self.tell(Heard(message))
