"""Lab 7: a log router: errors to a file, one service's lines to another, all to the screen.

python labs/07-publish-subscribe/exercise.py --queue mine --service payments
"""

import argparse
import os
from pathlib import Path

import pika


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def write(file: Path, line: str) -> None:
    """Add a line to a file."""
    with file.open("a", encoding="utf-8") as end:
        end.write(line + "\n")


def patterns(service: str) -> dict[str, str]:
    """Return the pattern of each place; keys are SERVICE.LEVEL, SERVICE.PART.LEVEL, or longer."""
    # TODO(2): everything goes everywhere. The errors of all services belong in one file, and
    # everything from our service in the other. (Keys have two words or more.)
    return {"screen": "#", "errors": "#", "service": "#"}


def main() -> None:
    """Take log lines from the exchange, and put each where it belongs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True, help="prefix of our queues' names")
    parser.add_argument("--exchange", default="logs")
    parser.add_argument("--service", required=True)
    parser.add_argument("--folder", type=Path, default=".", help="where the files are")
    args = parser.parse_args()
    connection = connect()
    channel = connection.channel()
    channel.exchange_declare(args.exchange, "topic", durable=True)
    files = {"errors": args.folder / "errors.log", "service": args.folder / f"{args.service}.log"}

    def subscribe(place: str, pattern: str) -> None:
        # TODO(1): three places share one queue, so each line reaches only one. Give each a copy.
        queue = args.queue

        def on_message(channel, method, properties, body: bytes) -> None:
            line = f"{method.routing_key} {body.decode()}"
            if place == "screen":
                print(f" [x] {line}")
            else:
                write(files[place], line)
            channel.basic_ack(method.delivery_tag)

        # TODO(3): an exclusive queue is deleted when we exit, and lines logged until we are back
        # are missing from the files. Make the queues stay.
        channel.queue_declare(queue, exclusive=True)
        channel.queue_bind(queue, args.exchange, pattern)
        channel.basic_consume(queue, on_message)

    for place, pattern in patterns(args.service).items():
        subscribe(place, pattern)
    print(f" [*] Waiting for log lines from {args.exchange!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
