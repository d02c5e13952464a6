#!/usr/bin/env python3
"""Show what waits in the queues: ready, unacknowledged, consumers, as it is now.

    labs/queues.py hello                  # this queue
    labs/queues.py                        # all queues of the vhost

Ready and consumers of a queue you name come from the broker itself and are always exact. The rest
comes from the management page's API; where that is not to be had, it is said so.
"""

import argparse
import base64
import json
import os
import urllib.error
import urllib.request
from urllib.parse import quote

import pika

import producer
from broker import Broker
from kit.say import say, warn
from producer import OK, REFUSED, BrokerError, Parser, connect, number

EXAMPLES = """examples:
  labs/queues.py tasks results                        # two queues
  labs/queues.py --host broker.example --vhost ada --username ada tasks"""
TITLES = ("ready", "unacknowledged", "consumers")
TOLD_EVERY = 5.5  # seconds after which a quorum queue has surely told its counts again


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = Parser(
        description=__doc__.splitlines()[0],
        epilog=f"{EXAMPLES}\n\n{producer.EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("queues", nargs="*", metavar="QUEUE", help="default: all queues of the vhost")
    add("-v", "--verbose", action="store_true", help="show tracebacks and pika's own log")
    add("--version", action="version", version=f"%(prog)s {producer.VERSION}")
    add = parser.add_argument_group("broker (or AMQP_URL in the environment)").add_argument
    add("--host", action="append", help="may be repeated: tried in turn (default: localhost)")
    add("--port", type=number(int, 1, 65535), help="(default: 5672, with TLS 5671)")
    add("--vhost", help="(default: /)")
    add("--username", help="(default: guest)")
    add("--password", help="(default: guest); with --username and without this you are asked")
    add("--url", help="amqp://user:password@host:port/vhost, or amqps://, instead of the above")
    add("--cafile", metavar="FILE", help="use TLS, and trust this certificate authority")
    add("--management-port", type=number(int, 1, 65535), metavar="PORT",
        help="(default: LAB_MANAGEMENT_PORT, or 10000 more than the other port)")  # fmt: skip
    # The scripts have these too; here nobody needs to choose.
    parser.set_defaults(queue="-", heartbeat=60, name="queues.py", retry_for=0)
    options = parser.parse_args()
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


class Page:
    """The management page's API, asked as the same user and for the same vhost."""

    def __init__(self, where: pika.URLParameters, port: int | None) -> None:
        self.host = where.host
        self.port = port or int(os.environ.get("LAB_MANAGEMENT_PORT") or 0)
        if not self.port:
            local = Broker("lab")
            self.port = local.page if local.port == where.port else where.port + 10_000
        # Other addresses of this API, and this one without its options, are up to 10 s late.
        self.address = (
            f"http://{self.host}:{self.port}/api/queues/{quote(where.virtual_host, safe='')}"
            "?disable_stats=true&enable_queue_totals=true"
        )
        login = where.credentials
        secret = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {secret}"}

    def queues(self) -> dict[str, dict]:
        """Return the queues of the vhost by name. Raises BrokerError."""
        no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.address, headers=self.headers)
        try:
            with no_proxy.open(request, timeout=5) as answer:
                return {queue["name"]: queue for queue in json.load(answer)}
        except urllib.error.HTTPError as error:
            why = "does not let you in" if error.code in (401, 403) else f"says {error.code}"
        except (OSError, ValueError) as error:
            why = f"does not answer ({producer.reason(getattr(error, 'reason', error))})"
        raise BrokerError(
            f"the management page on {self.host}:{self.port} {why}",
            "name the queues, or see --management-port",
            producer.UNREACHABLE,
        )


def main(options: argparse.Namespace, broker: dict) -> int:
    """Print a line for each queue; return the exit code."""
    connection = connect(**broker)
    where = {key: value for key, value in broker.items() if key != "retry_for"}
    page = Page(producer.broker_parameters(**where)[0], options.management_port)
    try:
        known = page.queues()
        names = options.queues or sorted(known)
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
         str(count[1]))
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
