"""A room as a program sees it: say something, hear everything, notice when the line is dead.

Room is a thread, and this thread alone speaks to the broker. What happens it tells as events:
Entered, Heard, Delivered, Lost, Back and Ended.
"""

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from chatroom.message import HERE, JOINED, LEFT, MARK, SAID, Message, new_id
from chatroom.way import Way
from kit.amqp import BrokerError, reason
from kit.cli import UNEXPECTED

KEPT = 50  # messages that are shown to someone who joins late
BEAT = 5  # seconds between two "I am still here"
RETRY = 0.5  # seconds between two tries to come back
TRIES = 3  # to get past what cannot be read
REMEMBERED = 50_000  # ids, to know what comes twice: more than a stream of 1 MB can hold


@dataclass(frozen=True)
class Entered:
    """We are in; `old` is what was said last."""

    old: list[Message]


@dataclass(frozen=True)
class Heard:
    """Somebody said something, joined, left, or is still here."""

    message: Message


@dataclass(frozen=True)
class Delivered:
    """What we said has reached the room."""

    message: Message


@dataclass(frozen=True)
class Lost:
    """The connection is lost; we try to come back, and keep what is to be said."""

    why: str


@dataclass(frozen=True)
class Back:
    """The connection is there again."""


@dataclass(frozen=True)
class Ended:
    """It is over: because we have left, or by an error."""

    error: BaseException | None


class Room(threading.Thread):
    """A place in a room under a name, or without one as a silent listener.

    `tell` is called with each event, in this thread.
    """

    def __init__(self, way: Way, me: str | None, tell: Callable[[object], None]) -> None:
        super().__init__(daemon=True)
        self.way, self.me, self.tell = way, me, tell
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
        self.way.wake()

    @property
    def unsent(self) -> list[Message]:
        """What we have said and the room does not have."""
        return list(self._outbox)

    def leave(self, within: float = 2) -> list[Message]:
        """Go, politely if that does not take long; return what could not be said any more."""
        self._leaving.set()
        self.way.wake()
        self.join(within)
        return self.unsent

    # ---- in this thread

    def run(self) -> None:
        """Be there until we leave, coming back whenever the connection is lost."""
        error = None
        try:
            self._be_there()
        except BaseException as problem:
            error = problem
        self.tell(Ended(error))

    def _be_there(self) -> None:
        entered, unreadable = False, 0
        while not self._leaving.is_set():
            begun = time.monotonic()
            try:
                self.way.listen(self._on_message)
                self._arrive(again=entered)
                entered = True
                self._stay()
                self._go()
            except BrokerError as error:
                # What is kept in the room comes at each try, what is in our own queue but once.
                if time.monotonic() - begun > BEAT:
                    unreadable = 0
                unreadable += error.code == UNEXPECTED
                # A broker that is just booting may refuse what it lets in a moment later.
                is_final = not entered or unreadable == TRIES
                if not is_final:
                    why = error if error.code == UNEXPECTED else reason(error.__cause__ or error)
                    self.tell(Lost(str(why)))
                self.way.hang_up()
                if is_final:
                    raise
                self._leaving.wait(RETRY)

    def _arrive(self, again: bool) -> None:
        """Say that we are here; what comes before these words is old."""
        if again:
            self.tell(Back())
        elif self.me:
            self.way.publish(Message(JOINED, self.me, who=self.who))
        else:
            self.way.publish(Message(MARK, "", who=self.who))
        self._next_beat = 0

    def _stay(self) -> None:
        while True:
            self._send()
            if self._leaving.is_set():
                return
            now = time.monotonic()
            if self.me and now >= self._next_beat:
                self.way.publish(Message(HERE, self.me, who=self.who))
                self._next_beat = now + BEAT
            self.way.wait(max(self._next_beat - now, 0.01) if self.me else BEAT)

    def _send(self) -> None:
        while self._outbox:
            self.way.publish(self._outbox[0])
            self.tell(Delivered(self._outbox.popleft()))

    def _go(self) -> None:
        if self.me:
            self.way.publish(Message(LEFT, self.me, who=self.who))
        self.way.close()

    def _on_message(self, message: Message) -> None:
        if message.kind == HERE:
            self.tell(Heard(message))
        elif message.id not in self._known:
            self._known[message.id] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            self._sort(message)

    def _sort(self, message: Message) -> None:
        """Tell what is new; keep what is old until our own first words come back to us."""
        if self._old is not None:
            if message.who == self.who:
                self.tell(Entered(list(self._old)))
                self._old = None
            elif message.kind == SAID:
                self._old.append(message)
            return
        if message.kind == JOINED and message.who != self.who:
            self._next_beat = 0  # so that the newcomer learns of us
        if message.kind != MARK:
            self.tell(Heard(message))
