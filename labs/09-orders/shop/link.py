"""A connection to the broker that is made again whenever it is lost."""

import contextlib
import sqlite3
from collections.abc import Callable

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kit.amqp import Broker
from kit.cli import say
from shop import topology

NOT_FOUND = 404  # an exchange or a queue of ours was deleted
DATABASE_PAUSE = 1  # second


def keep_connected(
    exchange: str,
    broker: Broker,
    use: Callable[[pika.BlockingConnection, BlockingChannel], None],
) -> None:
    """Call `use` with a connection and a channel with confirms, until it returns.

    Another connection is made when one is lost; `use` then begins anew. So it does when a database
    fails: what was not acknowledged comes back. Raises BrokerError.
    """

    def connect_and_use() -> None:
        connection = broker.connect()
        if broker.connections > 1:
            say("*", "Connected again")
        try:
            while not use_once(exchange, connection, use):
                connection.sleep(DATABASE_PAUSE)
        except pika.exceptions.AMQPError as error:
            close(connection)
            if getattr(error, "reply_code", None) != NOT_FOUND:
                raise
            # The next connection declares it again.
            raise pika.exceptions.ConsumerCancelled(error.reply_text.partition(" - ")[2]) from error
        # Not after a Ctrl-C in the middle of pika's work: it would wait for an answer for ever.
        close(connection)

    broker.keep_trying(connect_and_use)


def use_once(exchange: str, connection: pika.BlockingConnection, use: Callable) -> bool:
    """Call `use` with a new channel; return False if the database failed."""
    channel = connection.channel()
    topology.declare(channel, exchange)
    channel.confirm_delivery()
    try:
        use(connection, channel)
    except sqlite3.Error as error:
        say("!", f"The database fails: {error}; trying again in {DATABASE_PAUSE} s")
        channel.close()  # what we hold goes back to its queue
        return False
    return True


def close(connection: pika.BlockingConnection) -> None:
    """Close a connection that may be lost."""
    with contextlib.suppress(pika.exceptions.AMQPError):
        connection.close()
