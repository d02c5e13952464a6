"""Count a queue's messages and consumers by a passive declare, which is always exact."""

import contextlib

import pika


def count(connection: pika.BlockingConnection, queue: str) -> tuple[int, int] | None:
    """Return the numbers of ready messages and consumers, or None if there is no such queue."""
    channel = connection.channel()
    try:
        answer = channel.queue_declare(queue, passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
            connection.process_data_events()  # pika 1.5 raises it again
        # "inaccessible" means that the queue's node is down.
        if error.reply_code == 404 and "inaccessible" not in error.reply_text:
            return None
        raise
    channel.close()
    return answer.message_count, answer.consumer_count
