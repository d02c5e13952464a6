"""Count the fates of a run's messages, and compute bounds on its finishing time."""

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence

from kit.timeline.replay import NEVER, Message


def count_fates(messages: Sequence[Message]) -> dict[str, int]:
    """Return counts by name, where tasks = worked + lost + failed + left."""
    deliveries = [delivery for message in messages for delivery in message.deliveries]
    done = sum(delivery.outcome == "done" for delivery in deliveries)
    fates = Counter(message.fate for message in messages)
    return {
        "tasks": len(messages),
        "worked": fates["worked"],
        "lost": fates["lost"],
        "returned": sum(delivery.fate == "returned" for delivery in deliveries),
        "failed": fates["failed"],
        "left": fates["left"],
        "redelivered": sum(delivery.redelivered for delivery in deliveries),
        "duplicates": done - fates["worked"],
    }


def find_tasks(messages: Sequence[Message]) -> list[tuple[float, float]]:
    """Return (sent, seconds of work) of each task, sorted; seconds as measured or announced."""
    tasks = []
    for message in messages:
        begun = [delivery for delivery in message.deliveries if delivery.begun < NEVER]
        measured = [one.ended - one.begun for one in begun if one.outcome == "done"]
        if begun:
            sent = 0.0 if message.sent == NEVER else message.sent
            tasks.append((sent, min(measured or [one.seconds for one in begun])))
    return sorted(tasks)


def shortest_time(tasks: Sequence[tuple[float, float]], workers: int) -> float:
    """Return a lower bound on the finishing time, however the workers share the tasks.

    The tasks sent from any moment on take at least as long as the longest of them, and as long as
    all workers together need for them. Also, of the k*m + 1 longest tasks one of m workers gets
    k + 1, which take at least as long as the k + 1 shortest of them.
    """
    total = longest = bound = 0.0
    for sent, seconds in reversed(tasks):
        total, longest = total + seconds, max(longest, seconds)
        bound = max(bound, sent + longest, sent + total / workers)
    in_order = sorted((seconds for _, seconds in tasks), reverse=True)
    sums = [0.0, *itertools.accumulate(in_order)]
    for k in range(1, (len(tasks) - 1) // workers + 1):
        bound = max(bound, sums[k * workers + 1] - sums[k * workers - k])
    return bound


def time_in_turn(tasks: Sequence[tuple[float, float]], workers: int) -> float:
    """Return the finishing time if each task, once sent, goes to the first free worker."""
    free_at = [0.0] * workers
    for sent, seconds in tasks:
        heapq.heapreplace(free_at, max(free_at[0], sent) + seconds)
    return max(free_at)
