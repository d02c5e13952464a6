"""Lab 4: a sender whose messages outlive the broker, and that never says "Sent" too early.

python labs/04-durability/solution.py --queue orders "three apples" "a pear"
python labs/04-durability/solution.py --queue nowhere --no-declare lost    # must say "Not sent"
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
    properties = pika.BasicProperties(
        content_type="text/plain", delivery_mode=pika.DeliveryMode.Persistent
    )

    not_sent = 0
    channel.confirm_delivery()
    for text in texts:
        try:
            channel.basic_publish("", queue, text.encode(), properties, mandatory=True)
        except (pika.exceptions.UnroutableError, pika.exceptions.NackError):
            print(f" [!] Not sent {text!r}")
            not_sent += 1
        else:
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
        channel.queue_declare(args.queue, durable=True)
    not_sent = send(channel, args.queue, args.texts)
    connection.close()
    return 1 if not_sent else 0


if __name__ == "__main__":
    sys.exit(main())
