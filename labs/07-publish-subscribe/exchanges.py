"""Exchanges: options that name them, declaring them, publishing to them.

publisher.py, emit.py and subscribe.py share this.
"""

import argparse
import codecs
import contextlib
import re
import sys
import time
import uuid
from collections.abc import Iterator

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.amqp import Broker, BrokerError, Parser, explain, number
from kit.cli import REFUSED, Trouble, first_broker, lab_parser, say

TYPES = ("fanout", "direct", "topic")
LONGEST = 255  # bytes of a name or a key in AMQP
TRIES = 3  # for a message that the broker refuses


def make_parser(doc: str, examples: str, name: str) -> Parser:
    """Return a parser with the options for the broker."""
    parser = lab_parser(doc, examples, name)
    add = parser.add_argument
    add("--name", default=name, help="the connection's name on the management page")
    add(
        "--retry-for",
        type=number(float, 0),
        default=60,
        metavar="SECONDS",
        help="keep trying to reach the broker for this long (default: %(default)s)",
    )
    return parser


def valid_key(text: str) -> str:
    """Check a routing or binding key: an argparse type."""
    try:
        if len(text.encode()) <= LONGEST:
            return text
        what = f"has {len(text.encode())} bytes"
    except UnicodeEncodeError:
        what = "is not UTF-8"
    raise argparse.ArgumentTypeError(f"it {what}; AMQP takes at most {LONGEST} bytes of UTF-8")


def valid_name(text: str) -> str:
    """Check the name of an exchange or a queue: an argparse type."""
    if not text or re.search(r"[\0-\x1f\x7f]", text):  # RabbitMQ removes line ends from names
        raise argparse.ArgumentTypeError("a name has 1 to 255 bytes and no control characters")
    return valid_key(text)


def valid_exchange(text: str) -> str:
    """Check the name of an exchange that may be the default one, whose name is empty."""
    return text and valid_name(text)


def broker_of(options: argparse.Namespace) -> Broker:
    broker = options.parser.broker(options)
    try:
        valid_key(first_broker(broker).virtual_host)
    except argparse.ArgumentTypeError as error:
        options.parser.error(f"--vhost: {error}")
    return broker


def read_lines() -> Iterator[bytes]:
    """Yield the lines of standard input as they come, without line ends."""
    for count, line in enumerate(sys.stdin.buffer):
        line = line if count else line.removeprefix(codecs.BOM_UTF8)  # from Notepad
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def refusal(error: Exception) -> BrokerError:
    """Explain why the broker refused an exchange or a binding."""
    problem = explain(error)
    kind = re.search(r"arg 'type' for exchange .* current is '(\w+)'", str(problem))
    if kind:
        hint = f"--type {kind[1]}, or another --exchange name"
        problem.hint = hint if kind[1] in TYPES else "another --exchange name"
    elif "for exchange" in str(problem):
        problem.hint = "another --exchange name, or subscribe.py --delete first"
    elif re.search("reserved prefix|system exchange", str(problem)):
        problem.hint = "another name: those that begin with amq. are the broker's own"
    elif "no exchange" in str(problem):
        problem.hint = "the same again: the exchange was deleted meanwhile, and will be made anew"
    return problem


def declare(
    connection: pika.BlockingConnection, exchange: str, kind: str, *, again: bool = False
) -> BlockingChannel:
    """Declare a durable exchange of this type; return the channel.

    Print a line if it is new, so that a typo in its name shows, but not when it is declared `again`
    after a lost connection. The default exchange, "", always exists. Raises BrokerError.
    """
    is_new = exchange and not again and not exists(connection, exchange)
    channel = connection.channel()
    if exchange:
        try:
            channel.exchange_declare(exchange, kind, durable=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            raise refusal(error) from error
    if is_new:
        say("*", f"There is no exchange {exchange!r} yet: creating it")
    return channel


def exists(connection: pika.BlockingConnection, exchange: str) -> bool:
    """Return True if there is an exchange of this name. Raises BrokerError."""
    channel = connection.channel()  # the broker closes it if there is none
    try:
        channel.exchange_declare(exchange, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != 404:
            raise refusal(error) from error
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
            connection.process_data_events()  # pika 1.5 raises it once more
        return False
    channel.close()
    return True


class Announcer:
    """Publish to one exchange; reconnect as often as needed.

    Each message is confirmed, and mandatory: the broker returns it if no queue takes it. After a
    lost connection or a refusal, the current message is sent again with the same message_id: a
    queue may get it twice.
    """

    def __init__(
        self, broker: Broker, exchange: str, kind: str, *, persistent: bool = False
    ) -> None:
        self.broker, self.exchange, self.kind = broker, exchange, kind
        self._delivery_mode = 2 if persistent else 1
        broker.keep_trying(self._open)

    def publish(self, body: bytes, key: str = "") -> bool:
        """Publish one message; return True if any queue took it. Raises BrokerError."""
        properties = pika.BasicProperties(
            delivery_mode=self._delivery_mode, message_id=str(uuid.uuid4())
        )
        return self.broker.keep_trying(lambda: self._publish(body, key, properties))

    def close(self) -> None:
        """Close the connection, if it is still open."""
        if self._connection.is_open:
            self._connection.close()

    def _open(self) -> None:
        again = self.broker.connections > 0
        self._connection = self.broker.connect()
        self._connection.add_on_connection_blocked_callback(
            lambda *_: say("!", "The broker is short of memory or disk and makes us wait")
        )
        self._channel = declare(self._connection, self.exchange, self.kind, again=again)
        self._channel.confirm_delivery()
        if again:
            say("*", "Connected again")

    def _publish(self, body: bytes, key: str, properties: pika.BasicProperties) -> bool:
        if not self._connection.is_open:
            self._open()
        for _ in range(TRIES):
            try:
                self._channel.basic_publish(self.exchange, key, body, properties, mandatory=True)
                return True
            except pika.exceptions.UnroutableError:
                return False
            except pika.exceptions.NackError:
                # RabbitMQ 4.3 also refuses while a queue is being deleted with its consumer.
                time.sleep(0.2)
            except pika.exceptions.ChannelClosedByBroker as error:
                raise refusal(error) from error
        hint = "see on the management page which of the queues is full"
        raise Trouble("the broker refused the message", hint, REFUSED)
