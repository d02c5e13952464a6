#!/usr/bin/env python3
"""Show the current counts of queues: ready, unacknowledged, consumers.

    labs/queues.py hello                  # this queue
    labs/queues.py                        # all queues of the vhost
    labs/queues.py --delete hello mine    # delete these and their messages

Ready and consumers of a queue you name come from the broker itself and are always exact (but it
does not count the readers of a stream). The rest comes from the management page's API; if that is
unavailable, we say so.
"""

import argparse

from kit.cli import clean, requirements, say

with requirements():
    import pika

    from kit.amqp import Broker, reason
    from kit.cli import OK, REFUSED, Trouble, first_broker, run_lab
    from kit.management.api import Page, queues_parser
    from kit.management.counts import count

EXAMPLES = """examples:
  labs/queues.py tasks results                        # two queues
  labs/queues.py --host broker.example --vhost ada --username ada tasks"""
TITLES = ("ready", "unacknowledged", "consumers")
QUORUM_REPORT = 5.5  # seconds to wait: a quorum queue reports its counts every 5 s


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = queues_parser(__doc__, EXAMPLES, "queues.py")
    parser.add_argument("--delete", action="store_true", help="delete them and their messages")
    options = parser.parse_args()
    if options.delete and not options.queues:
        parser.error("--delete needs the names of the queues")
    return options


def delete(queues: list[str], connection: pika.BlockingConnection) -> int:
    """Delete queues, print a line for each; return the exit code."""
    for name in queues:
        existed = count(connection, name)
        connection.channel().queue_delete(name)
        print(f"{clean(name)}  {'deleted' if existed else 'there is no such queue'}")
    return OK


def cells(counts: tuple[int, int], known: dict) -> tuple[str, str, str]:
    """Return the figures of a queue as text, in the order of TITLES."""
    ready, consumers = counts
    consumers = "?" if known.get("type") == "stream" else consumers
    return str(ready), str(known.get("messages_unacknowledged", "?")), str(consumers)


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Print a line for each queue; return the exit code."""
    connection = broker.connect()
    if options.delete:
        return delete(options.queues, connection)
    page = Page(first_broker(broker), options.management_port, options.management_url)
    try:
        known = page.queues()
        # The broker refuses to count another connection's exclusive queue.
        names = options.queues or sorted(q for q in known if not known[q].get("exclusive"))
        if any(known[name].get("type") == "quorum" for name in names if name in known):
            say("*", "A quorum queue reports its unacknowledged every 5 s; waiting for that ...")
            connection.sleep(QUORUM_REPORT)
            known = page.queues()
    except Trouble as error:
        if not options.queues:
            raise
        say("!", f"Unacknowledged is not known: {error}")
        known, names = {}, options.queues
    counts, absent = {}, {}
    for name in names:
        try:
            counts[name] = count(connection, name)
            absent[name] = "there is no such queue"
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != 404:
                raise
            counts[name], absent[name] = None, reason(error)  # its node is down
    connection.close()
    rows = {
        name: (clean(name), *cells(counted, known.get(name, {})))
        for name, counted in counts.items()
        if counted
    }
    widths = [max(map(len, column)) for column in zip(*rows.values(), strict=True)]
    for name in names:
        if name not in rows:
            print(f"{clean(name)}  {absent[name]}")
            continue
        row = rows[name]
        figures = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print(row[0].ljust(widths[0]), *map(" ".join, zip(TITLES, figures, strict=True)), sep="  ")
    if not names:
        say("*", "There is no queue in this vhost")
    return OK if all(counts.values()) else REFUSED


if __name__ == "__main__":
    run_lab(main, parse())
