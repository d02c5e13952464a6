"""Lab 1: a sender and a receiver.

python labs/01-hello/solution.py --queue mine                       # receives, until Ctrl-C
python labs/01-hello/solution.py --queue mine Hello "Good morning"  # sends two texts
"""

import argparse
import os

import pika


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def send(channel, queue: str, texts: list[str]) -> None:
    """Send each text as one message."""
    for text in texts:
        channel.basic_publish(exchange="", routing_key=queue, body=text.encode())
        print(f" [x] Sent {text!r}")


def receive(channel, queue: str) -> None:
    """Print each message as it arrives."""

    def on_message(channel, method, properties, body: bytes) -> None:
        text = body.decode()
        print(f" [x] Received {text!r}")

    channel.basic_consume(queue, on_message, auto_ack=True)
    print(f" [*] Waiting for messages on {queue!r}. To exit press CTRL+C")
    channel.start_consuming()


def main() -> None:
    """Send the texts of the command line, or receive if there are none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True)
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    args = parser.parse_args()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(args.queue, durable=True)
    if args.texts:
        send(channel, args.queue, args.texts)
    else:
        receive(channel, args.queue)
    connection.close()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
