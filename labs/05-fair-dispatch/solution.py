"""Lab 5: a worker that takes the next task only when it is free.

python labs/05-fair-dispatch/solution.py --queue tasks --name ada
python labs/05-fair-dispatch/solution.py --queue tasks --name bob --prefetch 5
"""

import argparse
import os
import time

import pika


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True)
    parser.add_argument("--name", default="worker")
    parser.add_argument("--seconds-per-character", type=float, default=1)
    parser.add_argument("--prefetch", type=int, default=1, metavar="N")
    return parser.parse_args()


def main() -> None:
    """Take tasks from the queue and work on them."""
    args = options()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(args.queue, durable=True)

    def on_message(channel, method, properties, body: bytes) -> None:
        text = body.decode()
        print(f" [x] {args.name} received {text!r}")
        time.sleep(len(text) * args.seconds_per_character)
        print(f" [x] {args.name} Done with {text!r}")
        channel.basic_ack(method.delivery_tag)

    auto_ack = False

    channel.basic_qos(prefetch_count=args.prefetch)
    channel.basic_consume(args.queue, on_message, auto_ack=auto_ack)

    print(f" [*] {args.name}: Waiting for messages on {args.queue!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
