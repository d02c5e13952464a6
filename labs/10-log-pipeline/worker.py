#!/usr/bin/env python3
"""Take log records off their queues and write them as rows of tables, into files.

    ./worker.py --channel lobby combat --output rows
    ./worker.py --channel combat --output rows --format gzip

A batch of records is acknowledged when its file is on the disk, and not earlier: whenever a worker
dies, its records are in a file, or go to another worker, or both. tables.py reads the files.
"""

import argparse
import contextlib
import errno
import signal
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where kit is

from kit.say import requirements

with requirements():
    import pika

    import producer
    from logpipe.options import add_prefix, make_parser, queue_name
    from logpipe.sink import ENDINGS, Sink
    from logpipe.transforms import OTHER, REJECTS, Row, to_row
    from producer import (
        INTERRUPTED,
        OK,
        UNEXPECTED,
        UNREACHABLE,
        BrokerError,
        connect,
        explain,
        number,
        reason,
        say,
        why_cancelled,
    )

EXAMPLES = """examples:
  ./worker.py --channel lobby --channel combat --output rows --exit-when-empty"""
TICK = 0.1  # seconds: how long to wait for records before we look at the clock


def parse() -> tuple[argparse.Namespace, dict]:
    """Return the options, and those that connect() wants."""
    parser = make_parser(__doc__, EXAMPLES, "worker.py")
    add_prefix(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--channel", type=queue_name, action="extend", nargs="+", metavar="NAME",
        help="read the queue of this logger, as lobby or combat; may be repeated")  # fmt: skip
    source.add_argument("--fanout", type=queue_name, metavar="EXCHANGE",
        help="read a copy of all that goes to this exchange, while we are there")  # fmt: skip
    add = parser.add_argument_group("files").add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="the folder for the files")
    add("--format", choices=list(ENDINGS), default="jsonl", help="(default: %(default)s)")
    add("--batch", type=number(int, 1, 10_000), default=100, metavar="N",
        help="records in a file, at most (default: %(default)s)")  # fmt: skip
    add("--batch-seconds", type=number(float, 0), default=0.5, metavar="SECONDS",
        help="until a file is written though it is not full (default: %(default)s)")  # fmt: skip
    add = parser.add_argument_group("stopping").add_argument
    add("--exit-when-empty", action="store_true", help="stop when no record is waiting")
    options = parser.parse_args()
    return options, producer.broker_options(parser, options)


class Worker:
    """Reads records over as many connections as it takes."""

    def __init__(self, options: argparse.Namespace, sink: Sink) -> None:
        self.options, self.sink = options, sink
        self.records, self.reading, self.stopping = 0, False, False
        self.batch: list[Row] = []  # in hand, in no file yet
        self._begun = 0.0  # when the first of them came
        self._last = 0  # the delivery tag of the last of them
        self._delivered = self._looked = 0  # records that came: so far, and when we last looked
        self._kinds: set[str] = set()  # of records that no transform is for

    def read(self, connection: pika.BlockingConnection) -> None:
        """Read until it is time to stop; raises pika's errors when the connection is lost."""
        channel = connection.channel()
        queues = self._declare(channel)
        channel.basic_qos(prefetch_count=2 * self.options.batch)
        for queue in queues:
            channel.basic_consume(queue, self._on_message)
        names = ", ".join(queues)
        say("*", f"Waiting for records on {names}. To exit press CTRL+C")
        while not self._is_done(channel, queues):
            connection.process_data_events(time_limit=TICK)
            if len(channel.consumer_tags) < len(queues):
                raise self._cancelled(channel, queues)
            if self.batch and time.monotonic() - self._begun >= self.options.batch_seconds:
                self._save(channel)
        if self.batch:
            self._save(channel)

    def _declare(self, channel) -> list[str]:
        if not self.options.fanout:
            queues = [self.options.prefix + name for name in dict.fromkeys(self.options.channel)]
            for queue in queues:
                channel.queue_declare(queue, durable=True)
            return queues
        channel.exchange_declare(self.options.fanout, "fanout", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, self.options.fanout)
        return [queue]

    def _is_done(self, channel, queues: list[str]) -> bool:
        """Tell whether to stop. A queue of our own goes when we go: we empty it first."""
        if self.stopping and not self.options.fanout:
            return True
        if not (self.stopping or self.options.exit_when_empty):
            return False
        came, self._looked = self._delivered - self._looked, self._delivered
        if came:
            return False
        counts = [channel.queue_declare(q, passive=True).method.message_count for q in queues]
        channel.connection.process_data_events(time_limit=0)
        return not any(counts) and self._delivered == self._looked

    def _on_message(self, channel, method, properties, body: bytes) -> None:
        row = to_row(properties.message_id, body)
        self._delivered += 1
        if not self.batch:
            self._begun = time.monotonic()
        self.batch.append(row)
        self._last = method.delivery_tag
        if row["table"] == REJECTS:
            say("!", f"Kept in table {REJECTS!r}: {producer.show(body)} ({row['why']})")
        elif row["table"] == OTHER and row["kind"] not in self._kinds:
            self._kinds.add(row["kind"])
            say("!", f"No transform for {row['kind']!r}: kept in table {OTHER!r}")
        if len(self.batch) >= self.options.batch:
            self._save(channel)

    def _save(self, channel) -> None:
        """Write the batch, then acknowledge it, all up to its last record at once."""
        try:
            path = self.sink.write(self.batch)
        except OSError as error:
            what = f"cannot write into {self.sink.folder} ({reason(error)})"
            what += f"; {len(self.batch)} records go back to the queue"
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            hint = "free some space" if full else "see whose folder it is, or another --output"
            raise BrokerError(what, hint, UNEXPECTED) from None
        channel.basic_ack(self._last, multiple=True)
        self.records += len(self.batch)
        say("x", f"{len(self.batch)} records in {path.name}")
        self.batch.clear()

    def _cancelled(self, channel, queues: list[str]) -> Exception:
        for queue in queues:
            error = why_cancelled(channel, queue)
            if channel.is_closed:
                return error
        return error


def main(options: argparse.Namespace, broker: dict) -> int:
    """Read, and again whenever the broker was away; return the exit code."""
    try:
        sink = Sink(options.output, options.format)
    except OSError as error:
        what = f"cannot use {options.output} ({reason(error)})"
        raise BrokerError(what, "another --output", UNEXPECTED) from None
    worker, lost, code, read = Worker(options, sink), None, OK, False

    def stop(*_: object) -> None:
        if not worker.reading:  # but waiting for the broker, which may take for ever
            raise KeyboardInterrupt
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    try:
        while not read:
            connection = connect(lost=lost, **broker)
            worker.reading = True
            try:
                worker.read(connection)
                read = True
            except pika.exceptions.AMQPError as error:
                if explain(error).code != UNREACHABLE:
                    raise explain(error) from error
                lost = error
                worker.batch.clear()  # it comes again
            finally:
                worker.reading = False
                with contextlib.suppress(pika.exceptions.AMQPError):
                    connection.close()
    except KeyboardInterrupt:
        if worker.batch:
            say("!", f"{len(worker.batch)} records in hand go back to the queue")
            code = INTERRUPTED
    say("*", f"Stopped: {worker.records} records in {sink.files} files")
    return code


if __name__ == "__main__":
    chosen, where = parse()
    producer.run(lambda: main(chosen, where), chosen.verbose)
