"""Lab 2: a worker; start several on the same queue and they share the work.

python labs/02-work-queues/solution.py --queue mine --name ada
python labs/02-work-queues/solution.py --queue mine --name bob --seconds-per-character 0.1
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

    queue = args.queue

    channel.queue_declare(queue, durable=True)

    def on_message(channel, method, properties, body: bytes) -> None:
        text = body.decode()
        print(f" [x] {args.name} received {text!r}")
        seconds = len(text) * args.seconds_per_character
        time.sleep(seconds)
        print(f" [x] {args.name} Done with {text!r}")

    channel.basic_consume(queue, on_message, auto_ack=True)
    print(f" [*] {args.name}: Waiting for messages on {queue!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
