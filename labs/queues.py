#!/usr/bin/env python3
"""Show what waits in the queues: ready, unacknowledged, consumers, as it is now.

    labs/queues.py hello                  # this queue
    labs/queues.py                        # all queues of the vhost
    labs/queues.py --delete hello mine    # delete these, and what is in them

Ready and consumers of a queue you name come from the broker itself and are always exact (those who
read a stream it does not count). The rest comes from the management page's API; where that is not
to be had, it is said so.
"""

import argparse

from kit.say import requirements, say, warn

with requirements():
    import pika

    import producer
    from kit.management import Page, broker_parser
    from producer import OK, REFUSED, BrokerError, connect

EXAMPLES = """examples:
  labs/queues.py tasks results                        # two queues
  labs/queues.py --host broker.example --vhost ada --username ada tasks"""
TITLES = ("ready", "unacknowledged", "consumers")
TOLD_EVERY = 5.5  # seconds after which a quorum queue has surely told its counts again


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = broker_parser(__doc__, EXAMPLES, "queues.py")
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="default: all queues of the vhost"
    )
    parser.add_argument("--delete", action="store_true", help="delete them, messages and all")
    options = parser.parse_args()
    if options.delete and not options.queues:
        parser.error("--delete needs the names of the queues")
    return options, producer.broker_options(parser, options)


def ask_broker(queue: str, connection: pika.BlockingConnection) -> tuple[int, int] | None:
    """Return ready messages and consumers of a queue, or None if there is no such queue."""
    channel = connection.channel()
    try:
        answer = channel.queue_declare(queue, passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code == 404:
            return None
        raise
    channel.close()
    return answer.message_count, answer.consumer_count


def delete(queues: list[str], connection: pika.BlockingConnection) -> int:
    """Delete queues, with a line for each; return the exit code."""
    for name in queues:
        there = ask_broker(name, connection)
        connection.channel().queue_delete(name)
        print(f"{name}  deleted" if there else f"{name}  there is no such queue")
    return OK


def main(options: argparse.Namespace, broker: dict) -> int:
    """Print a line for each queue; return the exit code."""
    connection = connect(**broker)
    if options.delete:
        return delete(options.queues, connection)
    where = {key: value for key, value in broker.items() if key != "retry_for"}
    page = Page(
        producer.broker_parameters(**where)[0], options.management_port, options.management_url
    )
    try:
        known = page.queues()
        # Another connection's exclusive queue is nobody else's to ask for.
        names = options.queues or sorted(q for q in known if not known[q].get("exclusive"))
        if any(known[name].get("type") == "quorum" for name in names if name in known):
            say("A quorum queue tells its unacknowledged every 5 s; waiting for that ...")
            connection.sleep(TOLD_EVERY)
            known = page.queues()
    except BrokerError as error:
        if not options.queues:
            raise
        warn(f"Unacknowledged is not known: {error}")
        known, names = {}, options.queues
    counts = {name: ask_broker(name, connection) for name in names}
    connection.close()
    rows = [
        (name, str(count[0]), str(known.get(name, {}).get("messages_unacknowledged", "?")),
         "?" if known.get(name, {}).get("type") == "stream" else str(count[1]))
        for name, count in counts.items() if count
    ]  # fmt: skip
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name in names:
        if not counts[name]:
            print(f"{name}  there is no such queue")
            continue
        row = next(row for row in rows if row[0] == name)
        cells = [cell.rjust(width) for cell, width in zip(row[1:], wide[1:], strict=True)]
        print(name.ljust(wide[0]), *map(" ".join, zip(TITLES, cells, strict=True)), sep="  ")
    if not names:
        say("There is no queue in this vhost")
    return OK if all(counts.values()) else REFUSED


if __name__ == "__main__":
    chosen, where = parse()
    producer.run(lambda: main(chosen, where), chosen.verbose)
