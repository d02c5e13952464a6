#!/usr/bin/env python3
"""Show what everyone says in a room of the chat.

    labs/08-chat/listen.py                        # the room "lobby"
    labs/08-chat/listen.py --room kitchen --mode rich

It begins with the last 50 messages. A ~ before a name means that nobody has checked it.
"""

import argparse
import queue
import sys

try:
    from rich.console import Console
    from rich.text import Text

    from chatroom.conversation import Conversation, Notice, Said
    from chatroom.options import chat_parser, transport_and_name
    from chatroom.room import BEAT, Ended, Entered, Room
    from kit.cli import OK, run, say, stop_as_with_ctrl_c
except ImportError as missing:
    hint = ". .venv/bin/activate    (in the kit's folder)"
    raise SystemExit(f"listen.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  labs/08-chat/listen.py --host broker.example --vhost class --username ada
  labs/08-chat/listen.py --via pubsub --project my-project"""


def parse() -> argparse.Namespace:
    parser = chat_parser(__doc__, EXAMPLES, "listen.py", speaks=False)
    parser.add_argument(
        "--mode",
        choices=["print", "rich"],
        default="print",
        help="rich: in colours (default: %(default)s)",
    )
    return parser.parse_args()


def show(line: Said | Notice) -> None:
    """Print a line, trouble to stderr."""
    trouble = isinstance(line, Notice) and line.trouble
    print(line.plain(), file=sys.stderr if trouble else sys.stdout, flush=True)


def show_rich(line: Said | Notice) -> None:
    """Print a line in colours."""
    Console().print(Text(f"{line.when} ", "dim") + line.words(), soft_wrap=True)


def main(options: argparse.Namespace) -> int:
    """Show all that is said until we are stopped; return the exit code."""
    stop_as_with_ctrl_c()
    transport, _ = transport_and_name(options)
    show_line = show_rich if options.mode == "rich" else show
    events: queue.SimpleQueue = queue.SimpleQueue()
    room, conversation = Room(transport, None, events.put), Conversation()
    room.start()
    try:
        while True:
            try:
                event = events.get(timeout=BEAT)
            except queue.Empty:
                event = None
            if isinstance(event, Ended):
                raise event.error
            for line in conversation.take(event) + conversation.miss():
                show_line(line)
            if isinstance(event, Entered):
                say("*", f"Listening in {options.room!r}. To exit press CTRL+C")
    except KeyboardInterrupt:
        room.leave()
        say("*", "Stopped")
    return OK


if __name__ == "__main__":
    run(main, parse())
