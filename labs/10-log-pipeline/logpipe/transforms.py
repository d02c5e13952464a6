"""Turn each log record into a row of a table, with a transform for each kind of record."""

import hashlib
import json
from collections.abc import Callable

Row = dict[str, object]  # its "table", the "id" of its record, and its columns

REJECTS, OTHER = "rejects", "other"  # messages that are not records; records without a transform


def columns(table: str, **kinds: type) -> Callable[[dict], Row]:
    """Return a transform that copies these fields, and `run`, which each record has.

    It raises ValueError if one is missing.
    """
    kinds = {"run": str} | kinds

    def transform(fields: dict) -> Row:
        for name, kind in kinds.items():
            if type(fields.get(name)) is not kind:
                raise ValueError(f"{name!r} is no {kind.__name__}")
        return {"table": table} | {name: fields[name] for name in kinds}

    return transform


# (channel, event) of a record: its transform. For a new kind of record, add a line here.
TRANSFORMS = {
    ("lobby", "joined"): columns("participants", game=int, player=int, hero=str),
    ("lobby", "started"): columns("games", game=int, seats=int),
    ("combat", "hit"): columns("hits", game=int, player=int, target=int, damage=int),
    ("combat", "placed"): columns("places", game=int, player=int, rounds=int, rank=int),
}


def to_row(record_id: str | bytes | None, body: bytes) -> Row:
    """Return the row of a message; nothing is thrown away.

    A message that is not one of our records goes to a table, too. Requeued, it would come again for
    ever, and nobody looks into a dead letter queue.
    """
    if isinstance(record_id, bytes):  # from pika, if it is not UTF-8
        record_id = record_id.decode(errors="backslashreplace")
    try:
        if not record_id:
            raise ValueError("it has no message_id")
        record = json.loads(body)
        kind = record["logger"].rpartition(".")[2], record["fields"].get("event")
        if transform := TRANSFORMS.get(kind):
            row = transform(record["fields"])
        else:
            row = {"table": OTHER, "kind": "/".join(map(str, kind)), "record": record}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        row = {"table": REJECTS, "why": str(error), "body": body.decode(errors="backslashreplace")}
    # A message without an id gets the same one, from its text, when it comes again.
    return row | {"id": record_id or hashlib.sha256(body).hexdigest()}
