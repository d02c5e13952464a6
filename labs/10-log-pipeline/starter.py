"""Lab 10: a log sink that can be killed at any moment, with each record in its files exactly once.

python labs/10-log-pipeline/exercise.py --queue mine --output /tmp/mine
"""

import argparse
import json
import os
import time
from pathlib import Path

import pika

BATCH = 5  # records in a file, at most


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def known_ids(folder: Path) -> set[str]:
    """Return the ids of all records that are in the files of a folder."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return {json.loads(line)["id"] for line in lines}


def write(path: Path, rows: list[dict], seconds_per_row: float) -> None:
    """Write a file of rows, one JSON object a line."""
    # TODO(3): until all rows are written, a reader sees half a file, and if we are killed, it stays
    # that way. Write under another name.
    with path.open("w") as file:
        for row in rows:
            time.sleep(seconds_per_row)
            file.write(json.dumps(row) + "\n")
    # TODO(3): now it is complete. Make sure that it is on the disk, and give it its name.


class Sink:
    """Collects records, and writes each batch of them into a file."""

    def __init__(self, folder: Path, seconds_per_row: float) -> None:
        self.folder, self.seconds_per_row = folder, seconds_per_row
        self.ids = known_ids(folder)
        self.batch: list[dict] = []
        self.last_tag = 0  # the delivery tag of the newest record
        self.begun = 0.0  # when the first record of the batch came

    def on_message(self, channel, method, properties, body: bytes) -> None:
        """Add a record to the batch."""
        record = json.loads(body)
        print(f" [x] Received {record['id']!r}")
        self.begun = self.begun if self.batch else time.monotonic()
        self.batch.append(record)
        self.last_tag = method.delivery_tag
        # TODO(1): acknowledged, but in our memory only. Do it where the record is in a file.
        channel.basic_ack(method.delivery_tag)
        if len(self.batch) == BATCH:
            self.save(channel)

    def save(self, channel) -> None:
        """Write the batch."""
        print(f" [*] Writing what {len(self.batch)} messages have brought")
        # TODO(2): a message may come twice. Take only records whose id is not among self.ids, and
        # remember theirs.
        rows = list(self.batch)
        if rows:
            write(self.folder / f"{time.time_ns()}.jsonl", rows, self.seconds_per_row)
        # TODO(1): now they are in a file. Acknowledge the whole batch, up to self.last_tag.
        print(f" [x] Wrote {len(rows)} records")
        self.batch.clear()


def main() -> None:
    """Take records from the queue and write them into files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True, help="where the records come from")
    parser.add_argument("--output", type=Path, required=True, help="a folder, for this sink only")
    parser.add_argument("--batch-seconds", type=float, default=2,
        help="until a batch that is not full is written (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seconds-per-row", type=float, default=0,
        help="write slowly, so that there is time to look (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    sink = Sink(args.output, args.seconds_per_row)
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(args.queue, durable=True)
    channel.basic_qos(prefetch_count=2 * BATCH)
    channel.basic_consume(args.queue, sink.on_message)
    print(f" [*] Waiting for records on {args.queue!r}. To exit press CTRL+C")
    while True:
        connection.process_data_events(time_limit=0.1)
        if sink.batch and time.monotonic() - sink.begun > args.batch_seconds:
            sink.save(channel)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
