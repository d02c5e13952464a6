"""Lab 2: a worker; start several on the same queue and they share the work.

python labs/02-work-queues/exercise.py --queue mine --name ada
python labs/02-work-queues/exercise.py --queue mine --name bob --seconds-per-character 0.1
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


def main() -> None:
    """Take tasks from the queue and work on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True)
    parser.add_argument("--name", default="worker")
    parser.add_argument("--seconds-per-character", type=float, default=1)
    args = parser.parse_args()
    connection = connect()
    channel = connection.channel()

    # TODO(1): each worker declares a queue of its own and waits there, but the tasks go to
    # another one. Which queue should all workers use, whatever their names?
    queue = f"{args.queue}-{args.name}"

    channel.queue_declare(queue, durable=True)

    def on_message(channel, method, properties, body: bytes) -> None:
        text = body.decode()
        print(f" [x] {args.name} received {text!r}")
        # TODO(3): this prints Done without any work. A task takes args.seconds_per_character for
        # each character of its text: keep the worker busy (asleep) for that long.
        seconds = 0
        time.sleep(seconds)
        print(f" [x] {args.name} Done with {text!r}")

    # TODO(2): this takes one message, if there is one, and exits. Subscribe to the queue, so that
    # pika calls on_message for each message as it arrives, and keep running.
    print(f" [*] {args.name} is waiting for one message on {queue!r}")
    method, properties, body = channel.basic_get(queue, auto_ack=True)
    if method:
        on_message(channel, method, properties, body)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
