#!/usr/bin/env python3
"""Read log records from their queues and write them into files, as rows of tables.

    ./worker.py --channel lobby combat --output rows
    ./worker.py --channel combat --output rows --format gzip

A batch of records is acknowledged when its file is on the disk, and not earlier: when a worker
dies, its records are in a file, or go to another worker, or both. tables.py reads the files.
"""

import argparse
import errno
import signal
import time
from pathlib import Path

try:
    from kit.amqp import Broker, number, reason, show
    from kit.cli import INTERRUPTED, OK, UNEXPECTED, Trouble, run_lab, say
    from kit.web.consumer import Consumer, Message
    from logpipe.options import SECONDS, add_prefix, make_parser, queue_name
    from logpipe.sink import ENDINGS, Sink
    from logpipe.transforms import OTHER, REJECTS, Row, to_row
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder)"
    raise SystemExit(f"worker.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./worker.py --channel lobby --channel combat --output rows --exit-when-empty"""


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLES, "worker.py")
    add_prefix(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add = source.add_argument
    channel_help = "a logger whose queue to read; may be repeated"
    add("--channel", type=queue_name, action="extend", nargs="+", metavar="NAME", help=channel_help)
    fanout_help = "read a copy of what goes to this exchange while we run"
    add("--fanout", type=queue_name, metavar="EXCHANGE", help=fanout_help)
    add = parser.add_argument_group("files").add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="the folder for the files")
    add("--format", choices=list(ENDINGS), default="jsonl", help="(default: %(default)s)")
    batch_help = "records in a file, at most (default: %(default)s)"
    add("--batch", type=number(int, 1, 10_000), default=100, metavar="N", help=batch_help)
    seconds_help = "write a file that is not full after this time (default: %(default)s)"
    add("--batch-seconds", type=SECONDS, default=0.5, metavar="SECONDS", help=seconds_help)
    add = parser.add_argument_group("stopping").add_argument
    add("--exit-when-empty", action="store_true", help="stop when no record is waiting")
    return parser.parse_args()


class Worker(Consumer):
    """Writes records into files, a batch at a time."""

    tick = 0.1  # seconds
    ready = "Waiting for records on {}. To exit press CTRL+C"

    def __init__(self, options: argparse.Namespace, broker: Broker, sink: Sink) -> None:
        super().__init__(broker)
        self.options, self.sink = options, sink
        self.prefetch = 2 * options.batch  # the next batch comes while we write one
        self.records = 0  # in files
        self.batch: list[Row] = []  # received, but in no file yet
        self._began = 0.0  # when the first of them came
        self._last: Message | None = None  # the last of them
        self._queues: list[str] = []
        self._is_empty = False  # no record waits in them
        self._handled = self._looked = 0  # records: until now, and until we last looked
        self._kinds: set[str] = set()  # of records without a transform

    def declare(self, channel) -> list[str]:
        """Declare the queues to read; with --fanout one of our own."""
        self.batch.clear()  # those of a lost connection come again
        if self.options.fanout:
            channel.exchange_declare(self.options.fanout, "fanout", durable=True)
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, self.options.fanout)
            self._queues = [queue]
            return self._queues
        self._queues = [self.options.prefix + name for name in dict.fromkeys(self.options.channel)]
        for queue in self._queues:
            channel.queue_declare(queue, durable=True)
        return self._queues

    def use(self, channel) -> None:
        """Consume over a channel until it is time to stop, and write the rest."""
        super().use(channel)
        if self.batch:
            self._save()

    def is_done(self) -> bool:
        """Return True if it is time to stop. Our own queue is deleted with us: empty it first."""
        return self._is_empty or (self.stopping and not self.options.fanout)

    def look(self, channel) -> None:
        """Write a batch that has waited long enough; see if there are more records."""
        if self.batch and time.monotonic() - self._began >= self.options.batch_seconds:
            self._save()
        if self.stopping or self.options.exit_when_empty:
            came, self._looked = self._handled - self._looked, self._handled
            self._is_empty = not came and self._nothing_waits(channel)

    def _nothing_waits(self, channel) -> bool:
        counts = [channel.queue_declare(q, passive=True).method.message_count for q in self._queues]
        channel.connection.process_data_events(time_limit=0)  # what came before the counts
        return not any(counts) and not self.inbox

    def handle(self, message: Message) -> None:
        """Make a row of a record, and write the batch if it is full."""
        row = to_row(message.properties.message_id, message.body)
        self._handled += 1
        if not self.batch:
            self._began = time.monotonic()
        self.batch.append(row)
        self._last = message
        if row["table"] == REJECTS:
            say("!", f"Kept in table {REJECTS!r}: {show(message.body)} ({row['why']})")
        elif row["table"] == OTHER and row["kind"] not in self._kinds:
            self._kinds.add(row["kind"])
            say("!", f"No transform for {row['kind']!r}: kept in table {OTHER!r}")
        if self.one_at_a_time or len(self.batch) >= self.options.batch:
            self._save()

    def _save(self) -> None:
        """Write the batch, then acknowledge all of it at once."""
        try:
            path = self.sink.write(self.batch)
        except OSError as error:
            what = f"cannot write into {self.sink.folder} ({reason(error)})"
            what += f"; {len(self.batch)} records go back to the queue"
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            hint = "free some space" if full else "see whose folder it is, or another --output"
            raise Trouble(what, hint, UNEXPECTED) from None
        self._last.channel.basic_ack(self._last.tag, multiple=True)
        self.records += len(self.batch)
        say("x", f"{len(self.batch)} records in {path.name}")
        self.batch.clear()


def main(options: argparse.Namespace, broker: Broker) -> int:
    try:
        sink = Sink(options.output, options.format)
    except OSError as error:
        what = f"cannot use {options.output} ({reason(error)})"
        raise Trouble(what, "another --output", UNEXPECTED) from None
    worker, code = Worker(options, broker, sink), OK
    worker.stop_at(signal.SIGTERM)
    try:
        worker.run()
    except KeyboardInterrupt:
        if worker.batch and worker.connected:
            say("!", f"{len(worker.batch)} records in hand go back to the queue")
            code = INTERRUPTED
    say("*", f"Stopped: {worker.records} records in {sink.files} files")
    return code


if __name__ == "__main__":
    run_lab(main, parse())
