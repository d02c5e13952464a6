#!/usr/bin/env python3
"""Subscribe to an exchange: print a copy of each message that it gets.

    ./subscribe.py --exchange news
    ./subscribe.py --exchange logs --type topic --bind 'kern.#' '*.error'
    ./subscribe.py --exchange news --queue ada --durable    # keeps the copies while you are away
    ./subscribe.py --draw                                   # who is subscribed to what

Without --queue the queue is this program's own: the broker names it, and deletes it when the
connection ends.
"""

import argparse
import contextlib
import os

try:
    import draw
    import pika
    from exchanges import (
        TYPES,
        broker_of,
        declare,
        exists,
        make_parser,
        refusal,
        valid_exchange,
        valid_key,
        valid_name,
    )
    from pika.adapters.blocking_connection import BlockingChannel

    from kit.amqp import Broker, Parser, number, show
    from kit.cli import OK, UNREACHABLE, closing, first_broker, run, say, stop_as_with_ctrl_c
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"subscribe.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./subscribe.py --exchange logs --type direct --bind error warning
  ./subscribe.py --draw --exchange logs > logs.mmd     # paste it at https://mermaid.live
  ./subscribe.py --delete --exchange logs"""
PREFETCH = 100  # unacknowledged copies at a time


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLES, "subscribe.py")
    add = parser.add_argument_group("exchange").add_argument
    add("--exchange", type=valid_exchange, metavar="NAME", help="created if missing")
    add("--type", choices=TYPES, default="fanout", help="(default: %(default)s)")
    add(
        "--bind",
        type=valid_key,
        nargs="+",
        action="extend",
        metavar="KEY",
        help="which messages: keys for a direct exchange, patterns for a topic exchange",
    )
    add = parser.add_argument_group("queue").add_argument
    add("--queue", dest="own_queue", type=valid_name, metavar="NAME", help="its name")
    add("--durable", action="store_true", help="it stays, and collects messages while you are away")
    add = parser.add_argument_group("stopping").add_argument
    add("-n", "--limit", type=number(int, 1), metavar="N", help="take N messages, no more")
    group = parser.add_argument_group("instead of subscribing")
    add = group.add_mutually_exclusive_group().add_argument
    add(
        "--draw",
        action="store_true",
        help="print a Mermaid graph of the bindings of the exchange, or of all",
    )
    add("--delete", action="store_true", help="delete the exchange")
    group.add_argument(
        "--management-port",
        type=number(int, 1, 65535),
        metavar="PORT",
        default=os.environ.get("LAB_MANAGEMENT_PORT") or None,
        help="for --draw (default: LAB_MANAGEMENT_PORT, or 10000 more than --port)",
    )
    options = parser.parse_args()
    if not options.draw:
        check(parser, options)
    return options


def check(parser: Parser, options: argparse.Namespace) -> None:
    """Exit with a usage error if the options do not go together."""
    if options.exchange is None:
        parser.error("which exchange? Add --exchange NAME")
    if not options.exchange:
        parser.error("nothing can be bound to the default exchange: consumer.py reads a queue")
    if options.delete:
        return
    if options.type == "fanout" and options.bind:
        parser.error("a fanout exchange knows no keys: add --type direct or topic, or no --bind")
    if options.type != "fanout" and not options.bind:
        parser.error(f"a {options.type} exchange goes by keys: add --bind KEY ...")
    if options.own_queue and not options.durable:
        parser.error("--queue needs --durable: a queue with a name is there to stay")
    if options.durable and not options.own_queue:
        parser.error("--durable needs --queue NAME: without a name you would not find it again")


class Subscriber:
    """Print the messages of an exchange; reconnect as often as needed."""

    def __init__(self, options: argparse.Namespace, broker: Broker) -> None:
        self.options, self.broker = options, broker
        self.count, self.done, self.queue_is_new = 0, False, False

    def read(self) -> None:
        """Read from a new connection until done. Raises pika's errors when it is lost."""
        if self.done:  # since the last connection was lost
            return
        with closing(self.broker.connect()) as connection:
            try:
                channel, queue = self.subscribe(connection)
                self.report_subscription(queue)
                channel.start_consuming()
            except pika.exceptions.ChannelClosedByBroker as error:
                problem = refusal(error)
                if problem.code == UNREACHABLE:
                    raise
                raise problem from error
            if not self.done:
                self.queue_is_new = True
                why = f"queue {queue!r} was deleted, or the delivery timeout passed"
                raise pika.exceptions.ConsumerCancelled(why)

    def subscribe(self, connection: pika.BlockingConnection) -> tuple[BlockingChannel, str]:
        """Declare exchange, queue and bindings, and subscribe; return channel and queue."""
        options, again = self.options, self.broker.connections > 1
        channel = declare(connection, options.exchange, options.type, again=again)
        own = options.own_queue
        declared = channel.queue_declare(own or "", durable=options.durable, exclusive=not own)
        queue = declared.method.queue
        for key in options.bind or [""]:
            channel.queue_bind(queue, options.exchange, key)
        # If the last connection died young, the next message may be the cause: take it alone.
        most = 1 if self.broker.short_lived else min(options.limit or PREFETCH, PREFETCH)
        channel.basic_qos(prefetch_count=most)
        channel.basic_consume(queue, self.on_message)
        return channel, queue

    def report_subscription(self, queue: str) -> None:
        """Print what we wait for, and whether messages were missed."""
        options = self.options
        if self.broker.connections > 1 and options.durable and not self.queue_is_new:
            say("*", "Connected again; what was sent meanwhile is in the queue")
        elif self.broker.connections > 1:
            say("!", "Connected again; what was sent meanwhile has gone past us")
        self.queue_is_new = False
        keys = "".join(f", {key!r}" for key in options.bind or [])
        say("*", f"Our queue is {queue!r}: {'durable' if options.durable else 'gone when we go'}")
        source = f"{options.exchange!r} ({options.type}{keys})"
        say("*", f"Waiting for copies from {source}. To exit press CTRL+C")

    def on_message(self, channel, method, properties, body: bytes) -> None:
        """Print one message, then acknowledge it."""
        notes = [f"key {method.routing_key!r}"] if method.routing_key else []
        notes += ["redelivered"] if method.redelivered else []
        say("x", f"Received {show(body)}" + (f" ({', '.join(notes)})" if notes else ""))
        channel.basic_ack(method.delivery_tag)
        self.count += 1
        if self.count == self.options.limit:
            self.done = True
            channel.stop_consuming()  # later messages stay in the queue


def warn_about_half_wildcards(keys: list[str]) -> None:
    """Warn about topic keys that look like patterns but are not."""
    for key in keys:
        for word in key.split("."):
            if len(word) > 1 and ("*" in word or "#" in word):
                say("!", f"In {key!r} the {word!r} is no pattern: * and # stand for whole words")


def listen(options: argparse.Namespace, broker: Broker) -> int:
    """Subscribe, again after each lost connection; return the exit code."""
    stop_as_with_ctrl_c()
    if options.type == "topic":
        warn_about_half_wildcards(options.bind)
    elif options.type == "direct" and set("*#") & set("".join(options.bind)):
        takes = "A direct exchange takes '*' and '#' letter by letter"
        say("!", f"{takes}; patterns need --type topic")
    subscriber = Subscriber(options, broker)
    with contextlib.suppress(KeyboardInterrupt):
        broker.keep_trying(subscriber.read)
    count = subscriber.count
    say("*", f"{count} message{'s' * (count != 1)} received")
    return OK


def print_graph(options: argparse.Namespace, broker: Broker) -> int:
    """Print the current bindings of one exchange, or of all; return the exit code."""
    where = first_broker(broker)
    port = options.management_port or where.port + 10_000
    print(draw.graph(where, port, options.exchange), flush=True)
    return OK


def delete(options: argparse.Namespace, broker: Broker) -> int:
    """Delete an exchange, and with it its bindings; return the exit code."""
    connection = broker.connect()
    there = exists(connection, options.exchange)
    try:
        connection.channel().exchange_delete(options.exchange)
    except pika.exceptions.ChannelClosedByBroker as error:
        raise refusal(error) from error
    connection.close()
    if there:
        say("*", f"Exchange {options.exchange!r} is deleted")
    else:
        say("!", f"There is no exchange {options.exchange!r}")
    return OK


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Draw, delete or subscribe; return the exit code."""
    if options.draw:
        return print_graph(options, broker)
    if options.delete:
        return broker.keep_trying(lambda: delete(options, broker))
    return listen(options, broker)


if __name__ == "__main__":
    run(lambda options: main(options, broker_of(options)), parse())
