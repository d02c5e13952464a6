"""Lab 11: a service with its own copy of the accounts, fed by messages alone.

python labs/11-services/exercise.py --queue mine --file /tmp/copy.json
"""

import argparse
import json
import os
from pathlib import Path

import pika


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def load(file: Path) -> dict:
    """Return the copy that was last saved: an account for each e-mail address."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def save(file: Path, copy: dict) -> None:
    """Save the copy in one step, so that nobody ever reads half of it."""
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(copy, indent=1), encoding="utf-8")
    new.replace(file)


def take(copy: dict, account: dict) -> bool:
    """Put an account into the copy; return False if it was old news.

    An account has an email, a name, a version, which grows with every change, and active, which is
    false once it is closed.
    """
    email = account["email"]
    # TODO(2): a message may come late, after a newer one, and then old data overwrites new data.
    # Take only a version that is higher than the one we have, and return False otherwise.

    copy[email] = account
    # TODO(3): once removed, the account is forgotten, so a late message about it looks like
    # a new account, and opens it again. Keep the closed account, with its version.
    if not account["active"]:
        del copy[email]
    return True


def main() -> None:
    """Listen for changes of accounts, and keep the copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True, help="our queue")
    parser.add_argument("--exchange", default="accounts")
    parser.add_argument("--file", type=Path, default="copy.json", help="where the copy is")
    args = parser.parse_args()
    copy = load(args.file)
    connection = connect()
    channel = connection.channel()
    channel.exchange_declare(args.exchange, "fanout", durable=True)
    # TODO(1): this queue is deleted when we exit, and we never hear of changes until we are back.
    # Declare one that survives us and a restart of the broker, with the name from --queue.
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, args.exchange)

    def on_message(channel, method, properties, body: bytes) -> None:
        account = json.loads(body)
        what = f"{account['email']}, version {account['version']}"
        if take(copy, account):
            save(args.file, copy)
            print(f" [x] {what}: {account['name'] if account['active'] else 'closed'}")
        else:
            print(f" [*] {what}: old news")
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, on_message)
    print(f" [*] Waiting for changes from {args.exchange!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
