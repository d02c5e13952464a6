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
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where kit is

from kit.say import requirements

with requirements():
    import draw
    import pika
    from exchanges import (
        TYPES,
        broker_options,
        declare,
        exists,
        make_parser,
        refusal,
        valid_exchange,
        valid_key,
        valid_name,
    )

    import producer
    from kit.management import Page, first_broker
    from producer import (
        OK,
        UNREACHABLE,
        connect,
        explain,
        number,
        say,
        show,
        why_cancelled,
    )

EXAMPLES = """examples:
  ./subscribe.py --exchange logs --type direct --bind error warning
  ./subscribe.py --draw --exchange logs > logs.mmd     # paste it at https://mermaid.live
  ./subscribe.py --delete --exchange logs"""
PREFETCH = 100  # copies on their way to us at a time


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = make_parser(__doc__, EXAMPLES, "subscribe.py", page=True)
    add = parser.add_argument_group("exchange").add_argument
    add("--exchange", type=valid_exchange, metavar="NAME", help="made if there is none")
    add("--type", choices=TYPES, default="fanout", help="(default: %(default)s)")
    add("--bind", type=valid_key, nargs="+", action="extend", metavar="KEY",
        help="which messages: the keys of a direct, the patterns of a topic exchange")  # fmt: skip
    add = parser.add_argument_group("queue").add_argument
    add("--queue", dest="own_queue", type=valid_name, metavar="NAME", help="needs --durable")
    add("--durable", action="store_true", help="it stays, and collects while you are away")
    add = parser.add_argument_group("stopping").add_argument
    add("-n", "--limit", type=number(int, 1), metavar="N", help="take N messages, no more")
    add = parser.add_argument_group("instead of subscribing").add_mutually_exclusive_group()
    add.add_argument("--draw", action="store_true",
        help="print a Mermaid graph of what is bound to the exchange, or to any")  # fmt: skip
    add.add_argument("--delete", action="store_true", help="delete the exchange")
    options = parser.parse_args()
    if not options.draw:
        check(parser, options)
    return options, broker_options(parser, options)


def check(parser: producer.Parser, options: argparse.Namespace) -> None:
    """End with a usage error if the options do not go together."""
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
    """Print what an exchange hands out, over as many connections as it takes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.count, self.done = 0, False

    def subscribe(self, connection: pika.BlockingConnection, *, again: bool) -> tuple:
        """Declare exchange, queue and bindings, and subscribe; return channel and queue."""
        options = self.options
        channel = declare(connection, options.exchange, options.type, again=again)
        own = options.own_queue
        declared = channel.queue_declare(own or "", durable=options.durable, exclusive=not own)
        queue = declared.method.queue
        for key in options.bind or [""]:
            channel.queue_bind(queue, options.exchange, key)
        channel.basic_qos(prefetch_count=min(options.limit or PREFETCH, PREFETCH))
        channel.basic_consume(queue, self.on_message)
        return channel, queue

    def read(self, connection: pika.BlockingConnection, lost: Exception | None) -> None:
        """Read from one connection until done; raises pika's errors when it is lost."""
        channel, queue = self.subscribe(connection, again=bool(lost))
        deleted = isinstance(lost, pika.exceptions.ConsumerCancelled)
        if lost and self.options.durable and not deleted:
            say("*", "Connected again; what was sent meanwhile is in the queue")
        elif lost:
            say("!", "Connected again; what was sent meanwhile has gone past us")
        wanted = f"{self.options.exchange!r} ({self.options.type}"
        wanted += "".join(f", {key!r}" for key in self.options.bind or []) + ")"
        kind = "durable" if self.options.durable else "gone when we go"
        say("*", f"Our queue is {queue!r}: {kind}")
        say("*", f"Waiting for copies from {wanted}. To exit press CTRL+C")
        while not self.done:
            connection.process_data_events(time_limit=None)
            if not channel.consumer_tags:
                raise why_cancelled(channel, queue)

    def on_message(self, channel, method, properties, body: bytes) -> None:
        """Print one message, then acknowledge it."""
        if self.done:  # it stays in the queue
            return
        notes = [f"key {method.routing_key!r}"] if method.routing_key else []
        notes += ["redelivered"] if method.redelivered else []
        say("x", f"Received {show(body)}" + (f" ({', '.join(notes)})" if notes else ""))
        channel.basic_ack(method.delivery_tag)
        self.count += 1
        self.done = self.count == self.options.limit


def warn_of_half_wildcards(keys: list[str]) -> None:
    """Say which keys of a topic exchange look like patterns and are none."""
    for key in keys:
        for word in key.split("."):
            if len(word) > 1 and ("*" in word or "#" in word):
                say("!", f"In {key!r} the {word!r} is no pattern: * and # stand for whole words")


def listen(options: argparse.Namespace, broker: dict) -> int:
    """Subscribe, and again whenever the broker was away; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill stops it as Ctrl-C does
    subscriber, lost = Subscriber(options), None
    if options.type == "topic":
        warn_of_half_wildcards(options.bind)
    elif options.type == "direct" and set("*#") & set("".join(options.bind)):
        takes = "A direct exchange takes '*' and '#' letter by letter"
        say("!", f"{takes}; patterns need --type topic")
    try:
        while not subscriber.done:
            connection = connect(lost=lost, **broker)
            try:
                subscriber.read(connection, lost)
            except pika.exceptions.AMQPError as error:
                if explain(error).code != UNREACHABLE:
                    raise refusal(error) from error
                lost = error
            finally:
                with contextlib.suppress(pika.exceptions.AMQPError):
                    connection.close()
    except KeyboardInterrupt:
        pass
    say("*", f"{subscriber.count} messages received")
    return OK


def print_graph(options: argparse.Namespace, broker: dict) -> int:
    """Print what is bound to one exchange, or to any, as it is now; return the exit code."""
    page = Page(first_broker(broker), options.management_port, options.management_url)
    print(draw.graph(page, options.exchange))
    return OK


def delete(options: argparse.Namespace, broker: dict) -> int:
    """Delete an exchange, and with it its bindings; return the exit code."""
    connection = connect(**broker)
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


def main(options: argparse.Namespace, broker: dict) -> int:
    """Do what is asked for; return the exit code."""
    if options.draw:
        return print_graph(options, broker)
    return delete(options, broker) if options.delete else listen(options, broker)


if __name__ == "__main__":
    chosen, where = parse()
    producer.run(lambda: main(chosen, where), chosen.verbose)
