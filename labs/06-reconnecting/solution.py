"""Lab 6: a worker that loses no task, does not hog tasks, and comes back.

python labs/06-reconnecting/solution.py --queue own
"""

import argparse
import os
import time

import pika
import tenacity


def worth_another_try(error: BaseException) -> bool:
    """Return True if another try may succeed."""
    failed = pika.exceptions.AMQPConnectionError, pika.exceptions.ChannelWrongStateError
    always = pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError
    return isinstance(error, failed) and not isinstance(error, always)


def announce(state: tenacity.RetryCallState) -> None:
    """Print when we try again."""
    error = repr(state.outcome.exception())
    print(f" [!] No connection ({error}); trying again in {state.upcoming_sleep:.1f} s")


@tenacity.retry(
    stop=tenacity.stop_never,
    wait=tenacity.wait_exponential(multiplier=0.5, max=5) + tenacity.wait_random(0, 0.2),
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
    while True:
        try:
            with connect() as connection:
                consume(connection, args)
        except Exception as error:
            if not worth_another_try(error):
                raise
            print(f" [!] Lost the connection ({error!r}); connecting again")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
