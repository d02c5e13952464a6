"""Do the work of every worker here: print the tutorials' two lines, and wait in between.

labs/measure.py sets QUEUE, PREFETCH (0: no limit), SECONDS_PER_CHARACTER and QUIET; with QUIET=N
only the first and the Nth task are printed.
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
    """Print that a task has arrived; return its duration in seconds."""
    if not QUIET or done in (0, QUIET - 1):
        print(f" [x] Received {text!r}", flush=True)
    return len(text) * SECONDS


def end() -> None:
    global done
    done += 1
    if not QUIET or done in (1, QUIET):
        print(" [x] Done", flush=True)


def work(text: str) -> None:
    if seconds := begin(text):  # skip sleep(0), which costs about 60 us
        time.sleep(seconds)
    end()
