"""Lab 9: a warehouse that packs each order once, tries again later, and gives up in good time.

python labs/09-orders/solution.py --queue mine --folder /tmp
"""

import argparse
import json
import os
from pathlib import Path

import pika

ATTEMPTS = 3  # including the first


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def pack(order: dict, folder: Path) -> bool:
    """Pack an order by adding a line to packed.txt; return False if it was packed before.

    Raises RuntimeError while something is out of stock.
    """
    missing = [product for product in order["product_ids"] if (folder / f"no-{product}").exists()]
    if missing:
        raise RuntimeError(f"product {missing[0]} is out of stock")
    packed = folder / "packed.txt"
    if packed.exists() and f"order {order['number']}" in packed.read_text().splitlines():
        return False
    with packed.open("a", encoding="utf-8") as file:
        file.write(f"order {order['number']}\n")
    return True


def main() -> None:
    """Take orders from the queue, and pack them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True)
    parser.add_argument("--folder", type=Path, default=".", help="where packed.txt is")
    parser.add_argument("--delay", type=float, default=2, help="seconds before another try")
    args = parser.parse_args()
    connection = connect()
    channel = connection.channel()
    retry, parked = f"{args.queue}-retry", f"{args.queue}-parked"
    channel.queue_declare(args.queue, durable=True)
    channel.queue_declare(parked, durable=True)
    way_back = {
        "x-message-ttl": int(args.delay * 1000),
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": args.queue,
    }
    channel.queue_declare(retry, durable=True, arguments=way_back)
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=1)

    def send(queue: str, body: bytes, attempts: int) -> None:
        persistent = pika.BasicProperties(delivery_mode=2, headers={"attempts": attempts})
        channel.basic_publish("", queue, body, persistent, mandatory=True)

    def on_message(channel, method, properties, body: bytes) -> None:
        attempts = (properties.headers or {}).get("attempts", 0) + 1
        try:
            order = json.loads(body)
            if pack(order, args.folder):
                print(f" [x] Packed order {order['number']}")
        except RuntimeError as error:
            print(f" [!] Attempt {attempts}: {error}")
            send(parked if attempts >= ATTEMPTS else retry, body, attempts)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(args.queue, on_message)
    print(f" [*] Waiting for orders on {args.queue!r}. To exit press CTRL+C")
    channel.start_consuming()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
