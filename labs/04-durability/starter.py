"""Lab 4: a sender whose messages outlive the broker, and that never says "Sent" too early.

python labs/04-durability/exercise.py --queue orders "three apples" "a pear"
python labs/04-durability/exercise.py --queue nowhere --no-declare lost    # must say "Not sent"
"""

import argparse
import os
import sys

import pika


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def send(channel, queue: str, texts: list[str]) -> int:
    """Send each text as one message; return how many the broker did not accept."""
    # TODO(2): the broker keeps these messages in memory only, even in a queue that is kept on disk.
    # Mark them as persistent.
    properties = pika.BasicProperties(content_type="text/plain")

    not_sent = 0
    # TODO(3): "Sent" here means "I threw it over the wall". Have the broker confirm each message,
    # and return those that no queue takes. For one that was returned (UnroutableError) or refused
    # (NackError) print " [!] Not sent 'the text'", and count it.
    for text in texts:
        channel.basic_publish("", queue, text.encode(), properties)
        print(f" [x] Sent {text!r}")
    return not_sent


def main() -> int:
    """Send the texts of the command line; return 1 if not all of them arrived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True)
    parser.add_argument("--no-declare", action="store_true", help="use the queue as it is")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    args = parser.parse_args()
    connection = connect()
    channel = connection.channel()
    if not args.no_declare:
        # TODO(1): when the broker restarts, this queue is gone. Have the broker keep it on disk.
        channel.queue_declare(args.queue)
    not_sent = send(channel, args.queue, args.texts)
    connection.close()
    return 1 if not_sent else 0


if __name__ == "__main__":
    sys.exit(main())
