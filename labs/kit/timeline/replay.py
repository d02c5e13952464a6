"""Replay the events of a run into processes, messages and deliveries.

Times are seconds since the first message was sent or, without a producer's journal, received.
Events that have not happened have the time NEVER.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from kit.timeline.journal import MESSAGE_EVENTS

NEVER = math.inf
# The scripts' words for the outcomes of a delivery; any other is "returned" or "lost".
FATES = {"waiting": "", "working": "", "done": "worked", "failed": "failed"}


@dataclass(eq=False)
class Process:
    """One program from its start to its end."""

    worker: str
    pid: int
    first: float
    last: float  # time of its last line
    is_producer: bool = False
    queue: str = "QUEUE"
    acknowledge: bool = False
    prefetch: int | None = None  # None: unlimited
    stopped: float = NEVER
    killed: float = NEVER  # at the latest, as the lines of others show
    gaps: list[list[float]] = field(default_factory=list)  # times without a connection: from, to
    deliveries: list["Delivery"] = field(default_factory=list)

    @property
    def over(self) -> float:
        return min(self.stopped, self.killed)

    @property
    def options(self) -> str:
        if not self.acknowledge:
            return "automatic acknowledgement"
        return "--acknowledge" + (f" --prefetch {self.prefetch}" if self.prefetch else "")


@dataclass(eq=False)
class Message:
    """One task, and its deliveries in order of time."""

    text: str
    sent: float = NEVER
    confirmed: float = NEVER
    deliveries: list["Delivery"] = field(default_factory=list)

    @property
    def fate(self) -> str:
        if any(delivery.outcome == "done" for delivery in self.deliveries):
            return "worked"
        last = self.deliveries[-1].fate if self.deliveries else ""
        return last if last in ("lost", "failed") else "left"


@dataclass(eq=False)
class Delivery:
    """One delivery of a message to a worker: its times and its outcome.

    `outcome` is done, abandoned, killed (its worker was killed), returned, lost or failed; while
    the delivery is open, it is waiting or working.
    """

    message: Message
    process: Process
    received: float
    redelivered: bool
    begun: float = NEVER
    seconds: float = NEVER  # how long the work should take
    ended: float = NEVER
    outcome: str = "waiting"
    again: bool = False  # the message had been done before
    settled: bool = False  # the broker knows the outcome
    returned: bool = False  # it went, or will go, back to the queue
    released: float = NEVER  # when the broker stopped counting it as the worker's
    after: "Delivery | None" = None  # the next delivery of the same message
    is_repeated: bool = False  # delivered again, as it was not done or not acknowledged

    @property
    def fate(self) -> str:
        return FATES.get(self.outcome, "returned" if self.returned else "lost")


class Replay:
    """The processes and messages that the events describe."""

    def __init__(self, events: Iterable[dict], zero: float) -> None:
        self.processes: list[Process] = []
        self.messages: list[Message] = []
        self._running: dict[tuple, Process] = {}
        self._messages: dict[object, Message] = {}
        self._deliveries: dict[tuple, Delivery] = {}
        for event in events:
            time, kind = event["time"] - zero, event["event"]
            process = self._process(event, time)
            process.last = time
            if "delivery" in event:
                self._take_delivery(event, time, process)
            elif kind not in MESSAGE_EVENTS:
                take_state(event, time, process)
            elif event["message_id"]:
                message, process.is_producer = self._message(event), True
                if kind == "sent":  # may be repeated after a lost connection; the first counts
                    message.sent = min(time, message.sent)
                elif kind == "confirmed":
                    message.confirmed = time
                else:
                    message.sent = NEVER

    def _process(self, event: dict, time: float) -> Process:
        """Return the process that wrote a line; a reused process number is a new process."""
        process = self._running.get(event["process"])
        if not process or process.stopped < NEVER or event["event"] == "started":
            _, pid, worker = event["process"]
            process = self._running[event["process"]] = Process(worker, pid, time, time)
            self.processes.append(process)
        return process

    def _message(self, event: dict) -> Message:
        """Return the message of an event: found by id or, if redelivered without an id, by text."""
        key = event["message_id"] or ("without an id", event["message"])
        is_new = not event["message_id"] and not event.get("redelivered")
        if is_new or key not in self._messages:
            self._messages[key] = Message(event["message"])
            self.messages.append(self._messages[key])
        return self._messages[key]

    def _take_delivery(self, event: dict, time: float, process: Process) -> None:
        key, kind = (process, event["delivery"]), event["event"]
        delivery = self._deliveries.get(key)
        if not delivery:
            message, redelivered = self._message(event), bool(event.get("redelivered"))
            delivery = self._deliveries[key] = Delivery(message, process, time, redelivered)
            if message.deliveries:
                message.deliveries[-1].after = delivery
            message.deliveries.append(delivery)
            process.deliveries.append(delivery)
        if kind == "working":
            delivery.begun, delivery.seconds, delivery.outcome = time, event["seconds"], kind
        elif kind != "received":
            delivery.settled = kind != "lost" and event.get("acknowledged", True)
            delivery.again = kind == "done" and delivery.message.fate == "worked"
            delivery.returned = kind == "requeued" or bool(event.get("returned"))
            delivery.outcome = {"requeued": "returned", "rejected": "failed"}.get(kind, kind)
            delivery.ended = time


def take_state(event: dict, time: float, process: Process) -> None:
    """Record that a process started, stopped, lost its connection or reconnected."""
    if event["event"] == "started":
        process.is_producer = event.get("script") == "producer.py"
        process.queue = event.get("queue") or process.queue
        process.acknowledge = bool(event.get("acknowledge"))
        process.prefetch = event.get("prefetch")
    elif event["event"] == "stopped":
        process.stopped = time
    elif event["event"] == "connection_lost":
        if not process.gaps or process.gaps[-1][1] < NEVER:
            process.gaps.append([time, NEVER])
    elif process.gaps:
        process.gaps[-1][1] = min(time, process.gaps[-1][1])
