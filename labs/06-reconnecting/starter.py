"""Lab 6: a worker that loses no task, does not hog tasks, and comes back.

python labs/06-reconnecting/exercise.py --queue own
"""

import argparse
import os
import time

import pika
import tenacity


def worth_another_try(error: BaseException) -> bool:
    """Return True if another try may succeed."""
    # TODO(2): a wrong password is wrong the next time too, and so is the name of a vhost that does
    # not exist. Which of pika.exceptions mean that the connection failed, and which of those mean
    # that it will always fail?
    return True


def announce(state: tenacity.RetryCallState) -> None:
    """Print when we try again."""
    error = repr(state.outcome.exception())
    print(f" [!] No connection ({error}); trying again in {state.upcoming_sleep:.1f} s")


@tenacity.retry(
    # TODO(1): three immediate tries are over before a broker has booted. Wait after each try,
    # longer every time but never more than 5 s, and do not give up.
    stop=tenacity.stop_after_attempt(3),
    wait=tenacity.wait_none(),
    retry=tenacity.retry_if_exception(worth_another_try),
    before_sleep=announce,
    reraise=True,
)
def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def consume(connection: pika.BlockingConnection, args: argparse.Namespace) -> None:
    """Take tasks from the queue and work on them, as long as the connection holds."""
    channel = connection.channel()
    channel.queue_declare(args.queue, durable=True)
    channel.basic_qos(prefetch_count=1)

    def on_message(channel, method, properties, body: bytes) -> None:
        text = body.decode()
        print(f" [x] Received {text!r}")
        time.sleep(len(text) * args.seconds_per_character)
        print(f" [x] Done with {text!r}")
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(args.queue, on_message)
    print(f" [*] Waiting for messages on {args.queue!r}. To exit press CTRL+C")
    channel.start_consuming()


def main() -> None:
    """Work until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True)
    parser.add_argument("--seconds-per-character", type=float, default=1)
    args = parser.parse_args()
    # TODO(3): when the connection breaks, so does the worker. If the error is worth another try,
    # say that the connection is lost, connect again and go on; if not, let it end the program.
    with connect() as connection:
        consume(connection, args)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
