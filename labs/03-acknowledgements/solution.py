"""Lab 3: a worker that can be killed at any moment without losing a task.

python labs/03-acknowledgements/solution.py --queue mine
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


def work(text: str, seconds: float) -> None:
    """Do the work of one task. Raises ValueError if it cannot be done."""
    if "?" in text:
        raise ValueError("a task is not a question")
    time.sleep(seconds)


def main() -> None:
    """Take tasks from the queue and work on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True)
    parser.add_argument("--seconds-per-character", type=float, default=1)
    args = parser.parse_args()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(args.queue, durable=True)

    def on_message(channel, method, properties, body: bytes) -> None:
        text = body.decode()
        again = " once more" if method.redelivered else ""
        print(f" [x] Received {text!r}{again}")
        try:
            work(text, len(text) * args.seconds_per_character)
        except ValueError as error:
            print(f" [!] Failed on {text!r}: {error}")
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        print(f" [x] Done with {text!r}")
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(args.queue, on_message, auto_ack=False)
    print(f" [*] Waiting for messages on {args.queue!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
