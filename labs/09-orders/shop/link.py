"""A connection to the broker that is made again whenever it is lost."""

import contextlib
import sqlite3
import time
from collections.abc import Callable

import pika
from pika.adapters.blocking_connection import BlockingChannel

from producer import UNREACHABLE, connect, explain, say
from shop import topology

NOT_FOUND = 404  # an exchange or a queue of ours was deleted
PAUSE = 0.5  # seconds: a broker that answers and refuses at once is not asked without a pause
DATABASE_PAUSE = 1  # second


def keep_connected(
    exchange: str, broker: dict, use: Callable[[pika.BlockingConnection, BlockingChannel], None]
) -> None:
    """Call `use` with a connection and a channel with confirms, until it returns.

    Another connection is made when one is lost; `use` then begins anew. So it does when a database
    fails: what was not acknowledged comes back. `broker` is as in connect. Raises BrokerError.
    """
    lost, ended = None, False
    while not ended:
        connection = connect(lost=lost, **broker)
        try:
            channel = connection.channel()
            topology.declare(channel, exchange)
            channel.confirm_delivery()
            if lost:
                say("*", "Connected again")
            use(connection, channel)
            ended = True
        except pika.exceptions.AMQPError as error:
            problem = explain(error)
            deleted = getattr(error, "reply_code", None) == NOT_FOUND  # and declared again
            if problem.code != UNREACHABLE and not deleted:
                close(connection)
                raise problem from error
            lost = error
            time.sleep(PAUSE)
        except sqlite3.Error as error:
            say("!", f"The database fails: {error}; trying again in {DATABASE_PAUSE} s")
            lost = None
            time.sleep(DATABASE_PAUSE)
        # Not after a Ctrl-C in the middle of pika's work: it would wait for an answer for ever.
        close(connection)


def close(connection: pika.BlockingConnection) -> None:
    """Close a connection that may be lost."""
    with contextlib.suppress(pika.exceptions.AMQPError):
        connection.close()
