#!/usr/bin/env python3
"""Chat in a room: what is said, who is here, and your own line at the bottom.

    labs/08-chat/chat.py --username ada
    labs/08-chat/chat.py --username ada --room kitchen

Enter says the line, Ctrl-C leaves. A ~ before a name means that nobody has checked it.
"""

import argparse
import queue
import sys

try:
    from chatroom.alarm import Alarm
    from chatroom.conversation import Conversation
    from chatroom.options import chat_parser, transport_and_name
    from chatroom.room import Ended, Room
    from kit.cli import OK, UNREACHABLE, USAGE, Trouble, run, say
    from kit.cli.terminal import can_show
except ImportError as missing:
    hint = ". .venv/bin/activate    (in the kit's folder)"
    raise SystemExit(f"chat.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  labs/08-chat/chat.py --host broker.example --vhost class --username ada --password
  labs/08-chat/chat.py --via pubsub --project my-project --username ada"""


def parse() -> argparse.Namespace:
    return chat_parser(__doc__, EXAMPLES, "chat.py", speaks=True).parse_args()


def has_keyboard() -> bool:
    """Return True if there is a terminal whose keys can be read one by one."""
    try:
        import termios  # noqa: F401  (not on Windows)
    except ImportError:
        return False
    return bool(sys.stdin) and sys.stdin.isatty() and can_show()


def main(options: argparse.Namespace) -> int:
    """Chat until we are told to leave; return the exit code."""
    if not has_keyboard():
        what = "it needs a terminal of Linux or macOS, to read each key"
        hint = "labs/08-chat/listen.py in one window, labs/08-chat/say.py in another"
        raise Trouble(what, hint, USAGE)
    from chatroom.screen import Screen

    transport, name = transport_and_name(options)
    alarm, events = Alarm(), queue.SimpleQueue()
    alarm.catch_signals()

    def tell(event: object) -> None:
        events.put(event)
        alarm.ring()

    room = Room(transport, name, tell)
    screen = Screen(options.room, room, Conversation(), events, alarm)
    room.start()
    first = screen.wait_for_first_event()  # a refusal prints a line and opens no screen
    if not isinstance(first, Ended):
        screen.show()
    unsent = room.leave()
    if screen.error:
        raise screen.error
    for message in unsent:
        say("!", f"Not said: {message.text!r} (the connection was lost)")
    say("*", f"Left {options.room!r}")
    return UNREACHABLE if unsent else OK


if __name__ == "__main__":
    run(main, parse())
