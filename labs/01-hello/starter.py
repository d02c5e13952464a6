"""Lab 1: a sender and a receiver.

python labs/01-hello/exercise.py --queue mine                       # receives, until Ctrl-C
python labs/01-hello/exercise.py --queue mine Hello "Good morning"  # sends two texts
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
        # TODO(2): these messages reach no queue, and nothing complains. With the default exchange,
        # which routing key leads to our queue?
        channel.basic_publish(exchange="", routing_key="hello", body=text.encode())
        print(f" [x] Sent {text!r}")


def receive(channel, queue: str) -> None:
    """Print each message as it arrives."""

    def on_message(channel, method, properties, body: bytes) -> None:
        # TODO(3): the body is bytes, and prints as b'...'. Make it text before printing it.
        text = body
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
    # TODO(1): neither side knows which one starts first, so both must make sure that there is a
    # queue. Declare it with durable=True (lab 4 explains why).
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
