"""A service: takes orders from its queue, one at a time, and does its step for each.

The order of actions keeps the promises: do the step, report the API and wait for the confirm, then
acknowledge the message. A service that dies in between gets the message again and does the step
again, so its work must be safe to repeat.
"""

import signal
from argparse import Namespace
from collections.abc import Callable

import pika
from pydantic import ValidationError

from kit.amqp import Broker, show
from kit.cli import INTERRUPTED, OK, say
from kit.web.consumer import Consumer, Message
from shop import topology
from shop.order import Event, Hopeless, Order, what_is_wrong
from shop.topology import KEYS, STEPS


class Service(Consumer):
    """One of the services; `work` does its step of an order and returns a line about it.

    If `work` raises, the order is tried again after each of the options' pauses; Hopeless parks it.
    """

    ready = "Waiting for orders on {}. To exit press CTRL+C"

    def __init__(
        self, name: str, work: Callable[[Order], str], options: Namespace, broker: Broker
    ) -> None:
        super().__init__(broker)
        self.name, self.step, self.work = name, STEPS[name], work
        self.exchange, self.delays = options.exchange, options.retries

    def serve(self) -> int:
        """Serve until told to stop; return the exit code."""
        self.stop_at(signal.SIGTERM)
        try:
            self.run()
        except KeyboardInterrupt:
            return INTERRUPTED if self.busy else OK
        return OK

    def declare(self, channel) -> list[str]:
        topology.declare(channel, self.exchange)
        return [topology.queue_of(self.exchange, self.name)]

    def handle(self, message: Message) -> None:
        """Do the step of one order, report it, then acknowledge its message."""
        attempt = attempts_before(message.properties) + 1
        try:
            order = Order.model_validate_json(message.body)
        except ValidationError as error:
            wrong = what_is_wrong(error)[0]
            why = f"no order: {wrong['field']} {wrong['problem']}".replace(":  ", ": ")
            self.park(message, why, attempt)
            say("!", f"Parked {show(message.body)} ({why})")
        else:
            self.try_order(message, order, attempt)
        message.acknowledge()

    def try_order(self, message: Message, order: Order, attempt: int) -> None:
        """Do the step of an order; if that fails, try again later, or park it."""
        say("*", f"Order {order.number}" + (f", attempt {attempt}" if attempt > 1 else ""))
        try:
            note = self.work(order)
        except Exception as error:  # of any kind: it must not block the orders behind it
            why = str(error) or type(error).__name__
            if isinstance(error, Hopeless) or attempt > len(self.delays):
                self.report(message, order, "parked", why)
                self.park(message, why, attempt)
                say("!", f"Order {order.number}: {why}; parked after attempt {attempt}")
            else:
                delay = self.delays[attempt - 1]
                # Report first: the message may come back before the next line is done.
                self.report(message, order, "retrying", why)
                self.retry(message, attempt, delay)
                say("!", f"Order {order.number}: {why}; again in {delay:g} s")
        else:
            self.report(message, order, "done", "")
            say("x", f"Order {order.number}: {note}")

    def report(self, message: Message, order: Order, state: str, note: str) -> None:
        event = Event(number=order.number, step=self.step, state=state, note=note)
        key = KEYS[state].format(step=self.step)
        topology.publish(message.channel, self.exchange, key, event)

    def retry(self, message: Message, attempt: int, delay: float) -> None:
        """Make the broker give the message back after `delay` seconds."""
        queue = topology.declare_retry(message.channel, self.exchange, self.name, delay)
        topology.publish(message.channel, "", queue, message.body, {"attempts": attempt})

    def park(self, message: Message, why: str, attempt: int) -> None:
        """Put the message into the queue that a person looks at."""
        queue = topology.declare_parked(message.channel, self.exchange, self.name)
        headers = {"attempts": attempt, "reason": why[:500]}
        topology.publish(message.channel, "", queue, message.body, headers)


def attempts_before(properties: pika.BasicProperties) -> int:
    """Return how often a message was tried before, according to its headers."""
    attempts = (properties.headers or {}).get("attempts")
    return attempts if isinstance(attempts, int) and attempts > 0 else 0
