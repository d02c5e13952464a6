"""Properties of a message as a stranger may send them."""

ODD = {  # names and values that are not UTF-8, a table in a table, and what others have set before
    "message_id": b"\xe9t\xe9",
    "correlation_id": b"\xff",
    "type": b"\xe9",
    "app_id": b"\x1b[2J",
    "headers": {"x": b"\xff\x00", "t": {"u": [1, None, {"v": b"\xe9"}]}, "x-stream-offset": "no"},
}
