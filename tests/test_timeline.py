"""labs/timeline.py: what is drawn for known journals, and for odd ones."""

import heapq
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONG, SHORT = "dddddd", "a"  # half a second a character
TASKS = [LONG, SHORT, SHORT] * 4
WORKERS = ("worker-1", "worker-2", "worker-3")
BOOTED = datetime(2026, 11, 21, 14, 0, tzinfo=timezone.utc)


class Log:
    """Write a journal as labs/journal.md has it, with times of our choice."""

    def __init__(self, host: str = "ada-laptop", booted: datetime = BOOTED) -> None:
        self.host, self.booted = host, booted
        self.events: list[tuple[float, int, str]] = []
        self.tags: dict[str, int] = {}

    def write(self, time: float, worker: str, event: str, pid: int | None = None, **more) -> None:
        """Add a line; time in seconds."""
        utc = (self.booted + timedelta(seconds=time)).isoformat(timespec="microseconds")
        line = {
            "v": 1,
            "utc": utc.replace("+00:00", "Z"),
            "monotonic": time,
            "host": self.host,
            "pid": pid or 4000 + sum(map(ord, worker)),
            "worker": worker,
            "event": event,
            **more,
        }
        self.events.append((time, len(self.events), json.dumps(line, ensure_ascii=False)))

    def start(self, time: float, worker: str, acknowledge=False, prefetch=None, **more) -> None:
        """Start a worker."""
        self.write(time, worker, "started", script="qprocessor.py", queue="films",
                   acknowledge=acknowledge, prefetch=prefetch, **more)  # fmt: skip

    def send(self, time: float, number: int, message: str) -> None:
        """Send and confirm a message."""
        one = {"message_id": f"m{number}", "message": message}
        self.write(time, "producer", "sent", bytes=len(message), **one)
        self.write(time + 0.002, "producer", "confirmed", **one)

    def receive(self, time: float, worker: str, number, message: str, redelivered=False) -> dict:
        """Bring a delivery; return what its other events repeat."""
        self.tags[worker] = self.tags.get(worker, 0) + 1
        message_id = None if number is None else f"m{number}"
        delivery = {"connection": 1, "delivery_tag": self.tags[worker], "message_id": message_id,
                    "message": message}  # fmt: skip
        self.write(time, worker, "received", redelivered=redelivered, bytes=len(message),
                   **delivery)  # fmt: skip
        return delivery

    def work(self, begun: float, worker: str, delivery: dict, end: str | None = "done", **more):
        """Work on a delivery, half a second a character; return when it ends."""
        seconds = len(delivery["message"]) / 2
        self.write(begun, worker, "working", seconds=seconds, **delivery)
        if end == "done":
            more = {"acknowledged": True, **more}
        if end:
            self.write(begun + seconds, worker, end, **delivery, **more)
        return begun + seconds

    def lines(self) -> list[str]:
        """Return the lines in order of time."""
        return [line for _, _, line in sorted(self.events)]

    def save(self, path: Path) -> Path:
        """Write the file."""
        path.write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")
        return path


def in_turn(begin: float = 100.0) -> Log:
    """Three workers, automatic acknowledgement: all tasks are handed out at once, in turn."""
    log, free = Log(), dict.fromkeys(WORKERS, 0.0)
    for number, worker in enumerate(WORKERS):
        log.start(begin - 2 + number / 10, worker)
    log.write(begin - 0.1, "producer", "started", script="producer.py", queue="films",
              acknowledge=None, prefetch=None)  # fmt: skip
    for number, message in enumerate(TASKS):
        time, worker = begin + number / 1000, WORKERS[number % 3]
        log.send(time, number, message)
        delivery = log.receive(time + 0.001, worker, number, message)
        free[worker] = log.work(max(time + 0.001, free[worker]), worker, delivery)
    log.write(begin + 0.1, "producer", "stopped", count=len(TASKS))
    for worker in WORKERS:
        log.write(begin + 12.5, worker, "stopped", worked=4, lost=0, abandoned=0)
    return log


def fair(begin: float = 100.0, killed_at: float | None = 1.5) -> Log:
    """Three workers with --prefetch 1; the first is killed in its first task."""
    log, waiting = Log(), [(begin + n / 1000, n, TASKS[n], False) for n in range(len(TASKS))]
    log.write(begin - 0.1, "producer", "started", script="producer.py", queue="films",
              acknowledge=None, prefetch=None)  # fmt: skip
    for number, worker in enumerate(WORKERS):
        log.start(begin - 2 + number / 10, worker, acknowledge=True, prefetch=1)
    for time, number, message, _ in waiting:
        log.send(time, number, message)
    free = [(begin + n / 1000 + 0.001, worker) for n, worker in enumerate(WORKERS)]
    while waiting:
        time, worker = heapq.heappop(free)
        ready = next((task for task in waiting if task[0] <= time), waiting[0])
        waiting.remove(ready)
        time = max(time, ready[0])
        delivery = log.receive(time, worker, ready[1], ready[2], redelivered=ready[3])
        if worker == "worker-1" and killed_at:
            log.work(time, worker, delivery, end=None)
            waiting.insert(0, (begin + killed_at, ready[1], ready[2], True))
            killed_at = None
            continue
        heapq.heappush(free, (log.work(time, worker, delivery) + 0.001, worker))
    log.write(begin + 0.2, "producer", "stopped", count=len(TASKS))
    ended = max(time for time, _ in free) + 0.5
    for _, worker in free:
        log.write(ended, worker, "stopped", worked=6, lost=0, abandoned=0)
    return log
