"""Read journals (labs/journal.md): what the programs of a run did, delivery by delivery.

Times are seconds on one common scale: the clock that is never set, as the machine's own wall clock
stood to it. What cannot be read is left out, and told in `notes`.
"""

import math
import statistics
from array import array
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path

from kit.cli import Trouble
from kit.timeline.lines import HINT, decode, moved, parse_utc, plain, read_lines, same, text_of

VERSION = 1
PATIENCE = 1000  # lines of something else before a file is given up
CLOSE = 1.0  # seconds by which wall clock and steady clock may drift apart unnoticed


@dataclass(slots=True)
class Clock:
    """The steady clock of one machine, from one boot to the next."""

    host: str
    offsets: array = field(default_factory=lambda: array("d"))  # wall clock less steady clock
    last: float = -math.inf

    def shift(self) -> float:
        """Return the seconds to add to this clock for the common scale."""
        return statistics.median_low(self.offsets)


@dataclass(slots=True, eq=False)
class Process:
    """One program from its start to its end."""

    worker: str
    host: str
    pid: int
    clock: Clock
    first: float
    last: float
    script: str = ""
    queue: str | None = None
    acknowledge: bool | None = None  # None: it did not say
    prefetch: int | None = None
    started: bool = False
    stopped: float | None = None
    killed: float | None = None  # by when; what the others wrote tells
    gaps: list[tuple[float, float | None]] = field(default_factory=list)  # without a connection

    def shift(self, by: float) -> None:
        """Move its times by some seconds."""
        self.first += by
        self.last += by
        self.stopped = moved(self.stopped, by)
        self.gaps = [(begin + by, moved(end, by)) for begin, end in self.gaps]


@dataclass(slots=True, eq=False)
class Bar:
    """One delivery to one worker: when it came, was begun and ended, and what became of it.

    `outcome` is done, lost, abandoned, requeued or rejected as the journal says; cut (its worker
    was killed), returned (never begun; the broker took it back), working or waiting (no end yet).
    `fate` says it in the words of the scripts' last line.
    """

    process: Process
    received: float
    message: str
    message_id: str | None
    redelivered: bool = False
    begun: float | None = None
    end: float | None = None
    outcome: str = "waiting"
    seconds: float | None = None  # how long the work was to take
    acknowledged: bool = True
    returned: bool = False  # it went back to the queue
    kept: bool = False  # it went, or will go, back to the queue
    released: float | None = None  # when the broker ceased to count it as the worker's
    gone: bool = False  # nobody will get it any more
    again: bool = False  # it had been done before

    @property
    def succeeded(self) -> bool:
        """Whether the work was done, known to the broker or not."""
        return self.outcome == "done"

    @property
    def fate(self) -> str:
        """What became of it: worked, lost, returned or failed; "" while that is open."""
        if self.outcome in ("working", "waiting"):
            return ""
        if self.succeeded:
            return "worked"
        if self.outcome == "rejected":
            return "failed"
        return "returned" if self.kept else "lost"

    def shift(self, by: float) -> None:
        """Move its times by some seconds."""
        self.received += by
        self.begun, self.end = moved(self.begun, by), moved(self.end, by)


@dataclass(slots=True, eq=False)
class Sent:
    """One message that a producer sent."""

    process: Process
    message: str
    message_id: str | None
    sent: float
    confirmed: float | None = None
    refused: bool = False

    def shift(self, by: float) -> None:
        """Move its times by some seconds."""
        self.sent += by
        self.confirmed = moved(self.confirmed, by)


class Journal:
    """What some files together tell: processes, bars and messages sent, in order of writing."""

    def __init__(self, paths: list[Path]) -> None:
        self.processes: list[Process] = []
        self.bars: list[Bar] = []
        self.sent: list[Sent] = []
        self.notes: list[str] = []
        self._current: dict[tuple, Process] = {}
        self._clocks: dict[str, list[Clock]] = defaultdict(list)
        self._open: dict[tuple, Bar] = {}
        self._sent: dict[tuple, Sent] = {}
        self._nameless: dict[tuple, deque[Sent]] = defaultdict(deque)
        read: list[Path] = []
        for path in paths:
            if any(same(path, other) for other in read):
                self.notes.append(f"{plain(str(path))} is given twice: read once")
                continue
            read.append(path)
            self._read(path)
        if not self.processes:
            raise Trouble(self.notes.pop() if self.notes else "no journal", HINT, code=1)
        self._settle_clocks()

    def _read(self, path: Path) -> None:
        """Take in one file. Raises Trouble where it is none to be read, or no journal."""
        name, good, bad, strange, number = plain(str(path)), 0, [], Counter(), 0
        for number, raw in read_lines(path):
            found, whole = decode(raw)
            if not whole:
                bad.append((number, "is cut or no JSON"))
            for record in found:
                why = self._take(record)
                good += not why
                if why == "form":
                    bad.append((number, "is no line of a journal"))
                elif why:
                    strange[why] += 1
            if not good and len(bad) == PATIENCE:
                break
        if number == 0:
            self.notes.append(f"{name} is empty")
        elif not good and not strange:
            self.notes.append(f"{name} is not a journal")
        elif len(bad) > 3:
            first = f"{len(bad)} lines are cut or no journal's, the first is line {bad[0][0]}"
            self.notes.append(f"{name}: {first}: left out")
        else:
            self.notes += [f"{name}, line {number} {why}: left out" for number, why in bad]
        for what, count in strange.most_common(5):
            self.notes.append(f"{name}: {count} line{'s' * (count > 1)} of {what}: left out")

    def _take(self, record: object) -> str:
        """Take in one line; return why not, "" if it was taken."""
        try:
            version, event = record["v"], record["event"]
            if version != VERSION:
                return f"version {plain(str(version))[:20]} of the format (known here: {VERSION})"
            steady, wall = float(record["monotonic"]), parse_utc(record["utc"])
            if not math.isfinite(steady):
                return "form"
            who = str(record["worker"]), str(record["host"]), int(record["pid"])
            take = TAKERS.get(event)
            if not take:
                return f"unknown event {plain(str(event))[:40]!r}"
            process = self._process(*who, steady, wall, event)
            take(self, process, steady, record)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            return "form"
        process.last = max(process.last, steady)
        return ""

    def _process(
        self, worker: str, host: str, pid: int, steady: float, wall: float, event: str
    ) -> Process:
        """Return the process that wrote a line: a new one when its number is used again."""
        process = self._current.get((host, pid, worker))
        again = process and (process.stopped is not None or event == "started")
        if not process or again:
            clock = self._clock(host, steady, wall)
            process = Process(worker, host, pid, clock, steady, steady)
            self._current[host, pid, worker] = process
            self.processes.append(process)
        process.clock.offsets.append(wall - steady)
        process.clock.last = max(process.clock.last, steady)
        return process

    def _clock(self, host: str, steady: float, wall: float) -> Clock:
        """Return the clock of a new process: a new one when the machine has been started again."""
        for clock in reversed(self._clocks[host]):
            known = clock.offsets[0], clock.offsets[-1]
            # Only a machine started again has both an earlier time and another offset: programs
            # with a file each are read one after the other, and a wall clock may be set.
            if min(abs(wall - steady - offset) for offset in known) < CLOSE:
                return clock
            if steady > clock.last - CLOSE:
                return clock
        self._clocks[host].append(Clock(host))
        return self._clocks[host][-1]

    def _delivery(self, process: Process, steady: float, record: dict) -> Bar:
        """Return the bar that a line is about; a new one if its `received` is missing."""
        key = id(process), int(record["connection"]), int(record["delivery_tag"])
        if key not in self._open:
            text, name = record.get("message"), record.get("message_id")
            bar = Bar(process, steady, text_of(text), None if name is None else str(name))
            bar.redelivered = bool(record.get("redelivered"))
            self._open[key] = bar
            self.bars.append(bar)
        return self._open[key]

    def _on_started(self, process: Process, steady: float, record: dict) -> None:
        queue, prefetch = record.get("queue"), record.get("prefetch")
        process.started, process.script = True, str(record.get("script") or "")
        process.queue = None if queue is None else str(queue)
        process.acknowledge = bool(record.get("acknowledge"))
        process.prefetch = prefetch if isinstance(prefetch, int) else None

    def _on_received(self, process: Process, steady: float, record: dict) -> None:
        self._delivery(process, steady, record)

    def _on_working(self, process: Process, steady: float, record: dict) -> None:
        bar = self._delivery(process, steady, record)
        bar.begun, seconds = steady, record.get("seconds")
        bar.outcome = "working"
        if isinstance(seconds, int | float) and 0 <= seconds < math.inf:
            bar.seconds = float(seconds)

    def _on_end(self, process: Process, steady: float, record: dict) -> None:
        bar = self._delivery(process, steady, record)
        bar.end, bar.outcome = steady, record["event"]
        bar.acknowledged = bool(record.get("acknowledged", True))
        bar.returned = bool(record.get("returned", bar.outcome == "requeued"))

    def _on_sent(self, process: Process, steady: float, record: dict) -> None:
        name, text = record.get("message_id"), text_of(record.get("message"))
        one = Sent(process, text, None if name is None else str(name), steady)
        if name is None:
            self._nameless[id(process), text].append(one)
        elif (id(process), name) in self._sent:
            return  # sent again after a lost connection: it counts from the first time
        else:
            self._sent[id(process), name] = one
        self.sent.append(one)

    def _on_answer(self, process: Process, steady: float, record: dict) -> None:
        name, text = record.get("message_id"), text_of(record.get("message"))
        if name is None:
            waiting = self._nameless[id(process), text]
            one = waiting.popleft() if waiting else None
        else:
            one = self._sent.get((id(process), name))
        if one is None:  # its `sent` is missing
            one = Sent(process, text, None if name is None else str(name), steady)
            self._sent[id(process), name] = one
            self.sent.append(one)
        if record["event"] == "refused":
            one.refused = True
        elif one.confirmed is None:
            one.confirmed = steady

    def _on_connection_lost(self, process: Process, steady: float, record: dict) -> None:
        if not process.gaps or process.gaps[-1][1] is not None:
            process.gaps.append((steady, None))

    def _on_connection_back(self, process: Process, steady: float, record: dict) -> None:
        if process.gaps and process.gaps[-1][1] is None:
            process.gaps[-1] = process.gaps[-1][0], steady

    def _on_stopped(self, process: Process, steady: float, record: dict) -> None:
        process.stopped = steady

    def _settle_clocks(self) -> None:
        """Put all times on the common scale, and tell of clocks that were set."""
        shifts = {}
        for clock in (clock for clocks in self._clocks.values() for clock in clocks):
            shifts[id(clock)] = clock.shift()
            jump = max(clock.offsets) - min(clock.offsets)
            if jump > CLOSE:
                self.notes.append(
                    f"the wall clock of {plain(clock.host)} moved by {jump:.1f} s meanwhile (it"
                    " was set, or the machine slept); the times here are of the steady clock"
                )
        if len(shifts) > 1:
            what = "machines" if len(self._clocks) > 1 else "boots of a machine"
            self.notes.append(f"{len(shifts)} {what}: put together by their wall clocks")
        for process in self.processes:
            process.shift(shifts[id(process.clock)])
        for one in (*self.bars, *self.sent):
            one.shift(shifts[id(one.process.clock)])


TAKERS = {
    "started": Journal._on_started,
    "received": Journal._on_received,
    "working": Journal._on_working,
    **dict.fromkeys(("done", "lost", "abandoned", "requeued", "rejected"), Journal._on_end),
    "sent": Journal._on_sent,
    **dict.fromkeys(("confirmed", "refused"), Journal._on_answer),
    "connection_lost": Journal._on_connection_lost,
    "connection_back": Journal._on_connection_back,
    "stopped": Journal._on_stopped,
}
