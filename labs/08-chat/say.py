#!/usr/bin/env python3
"""Say one thing in a room of the chat.

labs/08-chat/say.py --username ada --message "hello, all"
labs/08-chat/say.py --username ada --room kitchen --message "is there tea?"
"""

import argparse

try:
    from chatroom.message import LONGEST_TEXT, SAID, Message, new_id
    from chatroom.options import chat_parser, transport_and_name
    from kit.cli import OK, run, say
except ImportError as missing:
    hint = ". .venv/bin/activate    (in the kit's folder)"
    raise SystemExit(f"say.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  labs/08-chat/say.py --host broker.example --vhost class --username ada --password \\
      --message "it is really me"                        # asks for ada's password
  labs/08-chat/say.py --via pubsub --project my-project --username ada --message hello"""


def parse() -> argparse.Namespace:
    parser = chat_parser(__doc__, EXAMPLES, "say.py", speaks=True)
    parser.add_argument("--message", required=True, metavar="TEXT", help="what to say")
    options = parser.parse_args()
    if not 0 < len(options.message.strip()) <= LONGEST_TEXT:
        parser.error(f"--message: 1 to {LONGEST_TEXT} characters")
    return options


def main(options: argparse.Namespace) -> int:
    """Say it; return the exit code."""
    transport, name = transport_and_name(options)
    transport.open()
    transport.publish(Message(SAID, name, options.message, new_id()))
    transport.close()
    say("x", f"Said {options.message!r} in {options.room!r}")
    return OK


if __name__ == "__main__":
    run(main, parse())
