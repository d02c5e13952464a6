"""The work that every worker here does: print two lines as the tutorials do, and wait between.

QUEUE, PREFETCH (0: no limit), SECONDS_PER_CHARACTER and QUIET come from labs/measure.py. With
QUIET=N only the first and the Nth task are printed.
"""

import os
import time

QUEUE = os.environ["QUEUE"]
PREFETCH = int(os.environ.get("PREFETCH", "0"))
SECONDS = float(os.environ.get("SECONDS_PER_CHARACTER", "0"))
QUIET = int(os.environ.get("QUIET", "0"))
URL = os.environ["AMQP_URL"]
BODY = "hello world!"
done = 0


def begin(text: str) -> float:
    """Say that a task has come; return how long it takes, in seconds."""
    if not QUIET or done in (0, QUIET - 1):
        print(f" [x] Received {text!r}", flush=True)
    return len(text) * SECONDS


def end() -> None:
    """Say that a task is done."""
    global done
    done += 1
    if not QUIET or done in (1, QUIET):
        print(" [x] Done", flush=True)


def work(text: str) -> None:
    """Do one task."""
    if seconds := begin(text):  # sleep(0) is not for nothing: it costs some 60 us
        time.sleep(seconds)
    end()
