"""Read the journals that the scripts write with --journal; labs/journal.md has the format."""

import json
from datetime import datetime
from pathlib import Path

from kit.cli import Trouble, clean

VERSION = 1
DELIVERY_EVENTS = ("received", "working", "done", "lost", "abandoned", "requeued", "rejected")
MESSAGE_EVENTS = ("sent", "confirmed", "refused")
PROCESS_EVENTS = ("started", "connection_lost", "connection_back", "stopped")
HINT = "the three scripts write a journal with --journal FILE: see labs/journal.md"


def read_journals(paths: list[Path]) -> tuple[list[dict], list[str]]:
    """Return the events of the files in order of time, and warnings. Raises Trouble."""
    events: list[dict] = []
    warnings: list[str] = []
    for path in {path.resolve(): path for path in paths}.values():
        name = clean(str(path))
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise Trouble(f"cannot read {name}: {error.strerror.lower()}", HINT, 1) from error
        parsed = {number: parse(line) for number, line in enumerate(lines, 1) if line.strip()}
        found = [event for event in parsed.values() if event]
        unknown = [number for number, event in parsed.items() if not event]
        if not found:
            what = f"not a journal of version {VERSION}" if parsed else "empty"
            warnings.append(f"{name} is {what}")
        elif unknown:
            why = f"cut or unknown in version {VERSION}, the first is line {unknown[0]}"
            warnings.append(f"{name}: lines left out: {len(unknown)} ({why})")
        events += found
    if not events:
        raise Trouble(warnings[-1], HINT, code=1)
    return sorted(events, key=lambda event: event["time"]), warnings


def parse(line: bytes) -> dict | None:
    """Parse a line; return its event with time, process and delivery added, None if invalid.

    `time` is in seconds since 1970, from `utc`, the only clock that several machines share.
    """
    try:
        event = json.loads(line)
        kind, is_known = event["event"], event["v"] == VERSION
        event["time"] = datetime.fromisoformat(event["utc"].replace("Z", "+00:00")).timestamp()
        event["process"] = str(event["host"]), int(event["pid"]), str(event["worker"])
        if kind in DELIVERY_EVENTS:
            event["delivery"] = int(event["connection"]), int(event["delivery_tag"])
        if kind == "working":
            event["seconds"] = float(event["seconds"])
        if kind in DELIVERY_EVENTS + MESSAGE_EVENTS:
            event["message"] = clean(event["message"])
            event["message_id"] = event["message_id"] and str(event["message_id"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return event if is_known and kind in DELIVERY_EVENTS + MESSAGE_EVENTS + PROCESS_EVENTS else None
