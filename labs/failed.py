#!/usr/bin/env python3
"""Show the messages that failed, in QUEUE.failed, or move them back to be processed again.

    labs/failed.py jobs                  # look: what failed, why, where and when
    labs/failed.py jobs --retry          # move all of them back to their first queue

Each message is acknowledged once its first queue has it: a crash may duplicate it, not lose it.
"""

import argparse
import copy

from kit.cli import clean, requirements

with requirements():
    import pika

    from kit import amqp
    from kit.amqp import number, queue_name, show
    from kit.cli import OK, REFUSED, Trouble, closing, lab_parser, run_lab, say

EXAMPLES = """examples:
  labs/failed.py --vhost ada --username ada jobs --retry -n 1    # move the first one back

A look takes the messages and returns them: they keep their order but are marked redelivered.
If QUEUE.failed is a quorum queue of RabbitMQ 4, each look counts towards its delivery limit of 20.
A message at the limit is copied to the end of the queue; otherwise the broker would drop it."""
ABOUT = "error", "worker", "failed-at", "first-queue"  # headers that qprocessor.py adds
BROKER_HEADERS = "CC", "x-delivery-count", "x-acquired-count"
LAST_RETURN = 20  # after one more return, a quorum queue of RabbitMQ 4 drops the message


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = lab_parser(__doc__, EXAMPLES, "failed.py")
    add = parser.add_argument
    add("queue", type=queue_name, metavar="QUEUE", help="the queue whose messages failed")
    add("--retry", action="store_true", help="move them back to their first queue")
    add("-n", "--limit", type=number(int, 1), metavar="N", help="only the first N (default: all)")
    return parser.parse_args()


def plain(header: object) -> str:
    """Return at most 300 characters of a header, without terminal control characters."""
    text = header.decode(errors="replace") if isinstance(header, bytes) else str(header)
    return clean(text[:300])


def move(channel, queue: str, delivery: tuple, without: tuple = ()) -> None:
    """Publish a delivery to a queue, and acknowledge it once that is confirmed."""
    method, properties, body = delivery
    headers = {
        k: v for k, v in (properties.headers or {}).items() if k not in without + BROKER_HEADERS
    }
    properties = copy.copy(properties)
    properties.headers = headers or None
    properties.user_id = None  # the broker refuses the user_id of anyone else
    channel.basic_publish("", queue, body, properties, mandatory=True)
    channel.basic_ack(method.delivery_tag)


def save(channel, failed: str, delivery: tuple) -> None:
    """Copy a message to the end of the queue if it would not survive its return."""
    if (delivery[1].headers or {}).get("x-delivery-count") == LAST_RETURN:
        move(channel, failed, delivery)


def look(channel, failed: str, count: int) -> None:
    """Print a line for each of the first messages; closing the connection returns them."""
    for _ in range(count):  # a nack would put them at the end of a quorum queue of RabbitMQ 3
        method, properties, body = delivery = channel.basic_get(failed)
        if not method:
            break
        about = [plain((properties.headers or {}).get(name, "?")) for name in ABOUT]
        say("x", "{body} of {3}: {0} ({1}, {2})".format(*about, body=show(body)))
        save(channel, failed, delivery)


def retry(channel, failed: str, count: int) -> int:
    """Move the first messages back to their first queues; return how many were moved."""
    for moved in range(count):
        method, properties, body = delivery = channel.basic_get(failed)
        if not method:
            return moved
        queue = (properties.headers or {}).get("first-queue")
        queue = queue if isinstance(queue, str) else failed.removesuffix(".failed")
        try:
            move(channel, queue, delivery, without=ABOUT)
        except (pika.exceptions.UnroutableError, pika.exceptions.NackError) as error:
            save(channel, failed, delivery)
            is_full = isinstance(error, pika.exceptions.NackError)
            why = "it is full" if is_full else "there is no such queue"
            what, hint = f"cannot move {show(body)} to {queue!r}: {why}", "start its worker first"
            raise Trouble(what, hint, REFUSED) from error
        say("x", f"Moved {show(body)} to {queue!r}")
    return count


def main(options: argparse.Namespace, broker: amqp.Broker) -> int:
    """Show the failed messages, or move them back; return the exit code."""
    failed, moved = f"{options.queue}.failed", 0
    try:
        with closing(broker.keep_trying(broker.connect)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            total = channel.queue_declare(failed, passive=True).method.message_count
            count = min(total, options.limit or total)
            if options.retry:
                moved = retry(channel, failed, count)
            else:
                look(channel, failed, count)
    except pika.exceptions.AMQPError as error:
        if getattr(error, "reply_code", None) != 404:
            raise
        say("*", f"There is no queue {failed!r}: no message of {options.queue!r} has failed")
        return OK
    remaining = total - moved
    say("*", f"{remaining} message{'s' * (remaining != 1)} in {failed!r}")
    return OK


if __name__ == "__main__":
    run_lab(main, parse())
