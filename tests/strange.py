"""Unusual message properties that a foreign program may send."""

ODD = {  # names and values that are not UTF-8, a nested table, and headers of others
    "message_id": b"\xe9t\xe9",
    "correlation_id": b"\xff",
    "type": b"\xe9",
    "app_id": b"\x1b[2J",
    "headers": {"x": b"\xff\x00", "t": {"u": [1, None, {"v": b"\xe9"}]}, "x-stream-offset": "no"},
}
