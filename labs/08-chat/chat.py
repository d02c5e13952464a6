#!/usr/bin/env python3
"""Chat in a room: what is said, who is here, and your own line at the bottom.

    labs/08-chat/chat.py --username ada
    labs/08-chat/chat.py --username ada --room kitchen

Enter says the line, Ctrl-C leaves. A ~ before a name: nobody has checked it.
"""

import argparse
import queue
import sys

try:
    from chatroom.alarm import Alarm
    from chatroom.conversation import Conversation
    from chatroom.options import chat_parser, way_and_name
    from chatroom.room import Ended, Room
    from chatroom.way import Way
    from kit.amqp import Parser
    from kit.cli import OK, UNREACHABLE, USAGE, run, say
    from kit.cli.terminal import can_show
except ImportError as missing:
    hint = ". .venv/bin/activate    (in the kit's folder)"
    raise SystemExit(f"chat.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  labs/08-chat/chat.py --host broker.example --vhost class --username ada --password
  labs/08-chat/chat.py --via pubsub --project my-project --username ada"""


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = chat_parser(__doc__, EXAMPLES, "chat.py", speaks=True)
    options = parser.parse_args()
    if not has_keyboard():
        without_a_terminal(parser)
    return options


def has_keyboard() -> bool:
    """Return True if there is a terminal whose keys can be read one by one."""
    try:
        import termios  # noqa: F401  (not on Windows)
    except ImportError:
        return False
    return bool(sys.stdin) and sys.stdin.isatty() and can_show()


def without_a_terminal(parser: Parser) -> None:
    """Say what to use instead, and end."""
    parser.exit(
        USAGE,
        f"{parser.prog}: error: it needs a terminal of Linux or macOS, to read each key\n"
        "  try: labs/08-chat/listen.py in one window, labs/08-chat/say.py in another\n",
    )


def main(options: argparse.Namespace, way: Way, name: str) -> int:
    """Chat until we are told to leave; return the exit code."""
    from chatroom.screen import Screen

    alarm, events = Alarm(), queue.SimpleQueue()
    alarm.catch_signals()

    def tell(event: object) -> None:
        events.put(event)
        alarm.ring()

    room = Room(way, name, tell)
    screen = Screen(options.room, room, Conversation(), events, alarm)
    room.start()
    first = screen.wait_for_first_event()  # a refusal is a line, and no screen
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
    run(lambda options: main(options, *way_and_name(options)), parse())
