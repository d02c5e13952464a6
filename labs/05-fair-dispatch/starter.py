"""Lab 5: a worker that takes the next task only when it is free.

python labs/05-fair-dispatch/exercise.py --queue tasks --name ada
python labs/05-fair-dispatch/exercise.py --queue tasks --name bob --prefetch 5
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
    # TODO(3): one at a time is fair, but with tiny tasks the worker spends more time waiting for
    # the next one than working. Add an option --prefetch N, 1 by default.
    args = parser.parse_args()
    args.prefetch = 1
    return args


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
        # TODO(1): the broker counts the tasks that a worker has not acknowledged yet. With auto_ack
        # (below) there is nothing to count. Acknowledge each task here, by hand.

    # TODO(1): for that, turn auto_ack off.
    auto_ack = True

    # TODO(2): the worker sets its prefetch, and yet gets everything at once. It does so too late: a
    # prefetch applies only to consumers that subscribe after it.
    channel.basic_consume(args.queue, on_message, auto_ack=auto_ack)
    channel.basic_qos(prefetch_count=args.prefetch)

    print(f" [*] {args.name}: Waiting for messages on {args.queue!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
