"""Lab 8: a chat in which one can whisper.

python labs/08-chat/solution.py --queue mine --name bob                    # listens
python labs/08-chat/solution.py --queue mine --name ada "hello, all"       # for everybody
python labs/08-chat/solution.py --queue mine --name ada "/msg bob psst"    # for bob alone
"""

import argparse
import os

import pika


def connect() -> pika.BlockingConnection:
    """Connect to the broker at AMQP_URL, or to the one on this machine."""
    return pika.BlockingConnection(
        pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    )


def address(text: str, everybody: str, private: str) -> tuple[str, str, str]:
    """Return the exchange, the routing key and the text to send for a typed line."""
    if text.startswith("/msg "):
        name, _, text = text.removeprefix("/msg ").partition(" ")
        return private, name, text
    return everybody, "", text


def speak(channel, name: str, text: str, exchange: str, key: str) -> None:
    """Publish a text, and print whether anybody got it."""
    body = f"{name}: {text}".encode()
    channel.confirm_delivery()
    try:
        channel.basic_publish(exchange, key, body, mandatory=True)
    except pika.exceptions.UnroutableError:
        print(f" [!] Nobody got {text!r}")
        return
    print(f" [x] Said {text!r}")


def listen(channel, name: str, everybody: str, private: str) -> None:
    """Print what is said to everybody, and what is said to us alone."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, everybody)
    channel.queue_bind(queue, private, routing_key=name)

    def on_message(channel, method, properties, body: bytes) -> None:
        alone = " (to you alone)" if method.exchange == private else ""
        print(f" [x] {body.decode()}{alone}")

    channel.basic_consume(queue, on_message, auto_ack=True)
    print(f" [*] {name}: Waiting for messages. To exit press CTRL+C")
    channel.start_consuming()


def main() -> None:
    """Say something, or listen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", required=True, help="the name of the room")
    parser.add_argument("--name", required=True)
    parser.add_argument("text", nargs="?", help="what to say; without it, listen")
    args = parser.parse_args()
    everybody, private = args.queue, f"{args.queue}.private"
    connection = connect()
    channel = connection.channel()
    channel.exchange_declare(everybody, "fanout", durable=True)
    channel.exchange_declare(private, "direct", durable=True)
    if args.text:
        exchange, key, text = address(args.text, everybody, private)
        speak(channel, args.name, text, exchange, key)
    else:
        listen(channel, args.name, everybody, private)
    connection.close()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
