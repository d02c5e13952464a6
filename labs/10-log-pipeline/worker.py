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
import time
from pathlib import Path

try:
    import pika

    from kit.amqp import Broker, number, reason, show
    from kit.cli import INTERRUPTED, OK, UNEXPECTED, Trouble, run_lab, say
    from logpipe.options import add_prefix, make_parser, queue_name
    from logpipe.sink import ENDINGS, Sink
    from logpipe.transforms import OTHER, REJECTS, Row, to_row
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"worker.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./worker.py --channel lobby --channel combat --output rows --exit-when-empty"""
TICK = 0.1  # seconds: how long to wait for records before we look at the clock
CALM = 5  # seconds after which a connection is no longer expected to die of the next record


def parse() -> argparse.Namespace:
    """Return the options."""
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
    return options


class Worker:
    """Reads records over as many connections as it takes."""

    def __init__(self, options: argparse.Namespace, broker: Broker, sink: Sink) -> None:
        self.options, self.broker, self.sink = options, broker, sink
        self.records, self.reading, self.stopping = 0, False, False
        self.batch: list[Row] = []  # in hand, in no file yet
        self._begun = 0.0  # when the first of them came
        self._last = 0  # the delivery tag of the last of them
        self._delivered = self._looked = 0  # records that came: so far, and when we last looked
        self._kinds: set[str] = set()  # of records that no transform is for

    def read(self) -> None:
        """Read over a new connection until it is time to stop; raises pika's errors."""
        connection = self.broker.connect()
        self.reading = True
        try:
            channel = connection.channel()
            queues = self._declare(channel)
            # If the last connection died young, perhaps of the next record, take no other with it.
            self._consume(channel, queues, batch=1 if self.broker.short_lived else None)
            names = ", ".join(queues)
            say("*", f"Waiting for records on {names}. To exit press CTRL+C")
            self._read(channel, queues)
        except pika.exceptions.AMQPError:
            self.batch.clear()  # it comes again
            raise
        finally:
            self.reading = False
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def _consume(self, channel, queues: list[str], batch: int | None = None) -> None:
        """Subscribe, for batches of this size."""
        self._calm = time.monotonic() + CALM
        self._batch = batch or self.options.batch
        channel.basic_qos(prefetch_count=1 if batch == 1 else 2 * self._batch)
        for queue in queues:
            channel.basic_consume(queue, self._on_message)

    def _read(self, channel, queues: list[str]) -> None:
        while not self._is_done(channel, queues):
            channel.connection.process_data_events(time_limit=TICK)
            if len(channel.consumer_tags) < len(queues):
                why = f"queue {' or '.join(queues)} was deleted, or the delivery timeout passed"
                raise pika.exceptions.ConsumerCancelled(why)
            if self.batch and time.monotonic() - self._begun >= self.options.batch_seconds:
                self._save(channel)
            if self._batch < self.options.batch and time.monotonic() > self._calm:
                channel.stop_consuming()
                self._consume(channel, queues)
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
        """Return True if it is time to stop. A queue of our own goes when we go: empty it first."""
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
            say("!", f"Kept in table {REJECTS!r}: {show(body)} ({row['why']})")
        elif row["table"] == OTHER and row["kind"] not in self._kinds:
            self._kinds.add(row["kind"])
            say("!", f"No transform for {row['kind']!r}: kept in table {OTHER!r}")
        if len(self.batch) >= self._batch:
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
            raise Trouble(what, hint, UNEXPECTED) from None
        channel.basic_ack(self._last, multiple=True)
        self.records += len(self.batch)
        say("x", f"{len(self.batch)} records in {path.name}")
        self.batch.clear()


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Read, and again whenever the broker was away; return the exit code."""
    try:
        sink = Sink(options.output, options.format)
    except OSError as error:
        what = f"cannot use {options.output} ({reason(error)})"
        raise Trouble(what, "another --output", UNEXPECTED) from None
    worker, code = Worker(options, broker, sink), OK

    def stop(*_: object) -> None:
        if not worker.reading:  # but waiting for the broker, which may take for ever
            raise KeyboardInterrupt
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    try:
        broker.keep_trying(worker.read)
    except KeyboardInterrupt:
        if worker.batch:
            say("!", f"{len(worker.batch)} records in hand go back to the queue")
            code = INTERRUPTED
    say("*", f"Stopped: {worker.records} records in {sink.files} files")
    return code


if __name__ == "__main__":
    run_lab(main, parse())
