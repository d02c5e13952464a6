"""Lab 3: a worker that may be killed at any moment, and no task is lost.

python labs/03-acknowledgements/exercise.py --queue mine
"""

import argparse
import os
import time

import pika


def connect() -> pika.BlockingConnection:
    """Connect to the broker of AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def work(text: str, seconds: float) -> None:
    """Do the work of one task. Raises ValueError for a task that nobody can do."""
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
            # TODO(3): this task stays in our hands, and when we go the next worker fails on it, and
            # the next. Tell the broker that we refuse it, and that it must not be put back.
            return
        print(f" [x] Done with {text!r}")
        # TODO(2): the work is done, but the broker does not know. Tell it, here and not earlier.

    # TODO(1): the broker forgets a task as soon as it has handed it over. Let it keep the task
    # until we say that we are done with it.
    channel.basic_consume(args.queue, on_message, auto_ack=True)
    print(f" [*] Waiting for messages on {args.queue!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
