"""The shop's names on the broker: one topic exchange, and a durable queue for each service.

    orders           order.placed, order.printed, order.booked, order.counted, order.retried, ...
    orders.printer   bound by order.placed; orders.booking and orders.marketing likewise
    orders.status    bound by all the others: the API reads the outcome of each step from it
    orders.printer.retry-4   waits 4 s, then the broker puts the message back into orders.printer
    orders.printer.parked    messages that were tried too often, or are not orders

All names begin with that of the exchange, so another --exchange is another shop.
"""

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pydantic import BaseModel

PLACED = "order.placed"
STEPS = {"printer": "printed", "booking": "booked", "marketing": "counted"}  # service -> its step
KEYS = {"done": "order.{step}", "retrying": "order.retried", "parked": "order.parked"}


def queue_of(exchange: str, service: str) -> str:
    """Return the name of a service's queue; the API's service is "status"."""
    return f"{exchange}.{service}"


def parked_queue(exchange: str, service: str) -> str:
    return f"{queue_of(exchange, service)}.parked"


def declare(channel: BlockingChannel, exchange: str) -> None:
    """Declare the exchange and all queues, so that any program may start first."""
    channel.exchange_declare(exchange, "topic", durable=True)
    bindings = {service: [PLACED] for service in STEPS}
    bindings["status"] = [f"order.{step}" for step in STEPS.values()]
    bindings["status"] += [KEYS["retrying"], KEYS["parked"]]
    for service, keys in bindings.items():
        channel.queue_declare(queue_of(exchange, service), durable=True)
        for key in keys:
            channel.queue_bind(queue_of(exchange, service), exchange, key)


def consumers(channel: BlockingChannel, exchange: str) -> dict[str, int]:
    """Return how many consumers each service has, and the API ("status")."""
    counts = {}
    for service in (*STEPS, "status"):
        answer = channel.queue_declare(queue_of(exchange, service), passive=True).method
        counts[service] = answer.consumer_count
    return counts


def declare_retry(channel: BlockingChannel, exchange: str, service: str, delay: float) -> str:
    """Declare the queue that gives a message back after `delay` seconds; return its name.

    Each delay has a queue of its own: the broker checks only the age of a queue's first message.
    """
    back = queue_of(exchange, service)
    name = f"{back}.retry-{delay:g}"
    arguments = {
        "x-message-ttl": round(1000 * delay),
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": back,
    }
    channel.queue_declare(name, durable=True, arguments=arguments)
    return name


def declare_parked(channel: BlockingChannel, exchange: str, service: str) -> str:
    """Declare the queue for the messages that a service parks; return its name."""
    name = parked_queue(exchange, service)
    channel.queue_declare(name, durable=True)
    return name


def publish(
    channel: BlockingChannel,
    exchange: str,
    key: str,
    body: bytes | BaseModel,
    headers: dict | None = None,
) -> None:
    """Publish on a channel with confirms; return when the broker has the message in a queue.

    Raises UnroutableError or NackError otherwise.
    """
    if isinstance(body, BaseModel):
        body = body.model_dump_json().encode()
    properties = pika.BasicProperties(
        content_type="application/json", delivery_mode=2, headers=headers
    )
    channel.basic_publish(exchange, key, body, properties, mandatory=True)


def delete(channel: BlockingChannel, exchange: str, delays: list[float]) -> None:
    names = [queue_of(exchange, "status")]
    for service in STEPS:
        queue = queue_of(exchange, service)
        names += [queue, parked_queue(exchange, service)]
        names += [f"{queue}.retry-{delay:g}" for delay in delays]
    for name in names:
        channel.queue_delete(name)
    channel.exchange_delete(exchange)
