"""A service: takes orders from its queue, one at a time, and does its step of each.

The order of things is what keeps the promises. The step is done; the API is told, with a confirm;
the message is acknowledged. Whoever dies in between gets the message again and does it again: so
the work of a service has to be one that may be done twice.
"""

import signal
from argparse import Namespace
from collections.abc import Callable

import pika
from pydantic import ValidationError

from kit.amqp import Broker, show
from kit.cli import INTERRUPTED, OK, say
from shop import topology
from shop.link import keep_connected
from shop.order import Event, Hopeless, Order, what_is_wrong
from shop.topology import KEYS, STEPS

TICK = 0.5  # seconds after which we look whether to stop


class Service:
    """One of the services; `work` does its step of an order and returns a line about it.

    What `work` raises is tried again after each of the options' pauses, Hopeless never.
    """

    def __init__(
        self, name: str, work: Callable[[Order], str], options: Namespace, broker: Broker
    ) -> None:
        self.name, self.step, self.work = name, STEPS[name], work
        self.exchange, self.delays, self.broker = options.exchange, options.retries, broker
        self.busy = self.consuming = self.stopping = False

    def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        signal.signal(signal.SIGTERM, self.terminate)
        try:
            keep_connected(self.exchange, self.broker, self.consume)
        except KeyboardInterrupt:
            return INTERRUPTED if self.busy else OK
        return OK

    def terminate(self, *_: object) -> None:
        """Stop, after the order in hand if there is one: the handler of SIGTERM."""
        if not self.consuming:  # there is no broker yet: nothing to be finished
            raise KeyboardInterrupt
        self.stopping = True

    def consume(self, connection: pika.BlockingConnection, channel) -> None:
        """Take orders from one connection; raises pika's errors when it is lost."""
        self.busy = False
        queue = topology.queue_of(self.exchange, self.name)
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, self.on_message)
        say("*", f"Waiting for orders on {queue!r}. To exit press CTRL+C")
        self.consuming = True
        try:
            while not self.stopping:
                connection.process_data_events(time_limit=TICK)
                if not channel.consumer_tags:
                    raise topology.cancelled(queue)
        finally:
            self.consuming = False

    def on_message(self, channel, method, properties: pika.BasicProperties, body: bytes) -> None:
        """Do the step of one order, and settle its message."""
        if self.stopping:  # it goes back when the connection closes
            return
        self.busy = True
        attempt = attempts_before(properties) + 1
        try:
            order = Order.model_validate_json(body)
        except ValidationError as error:
            wrong = what_is_wrong(error)[0]
            why = f"no order: {wrong['field']} {wrong['problem']}".replace(":  ", ": ")
            self.park(channel, body, why, attempt)
            say("!", f"Parked {show(body)} ({why})")
        else:
            self.try_order(channel, order, body, attempt)
        self.acknowledge(channel, method.delivery_tag)
        self.busy = False

    def try_order(self, channel, order: Order, body: bytes, attempt: int) -> None:
        """Do the step of an order; if that fails, see to another try, or park it."""
        say("*", f"Order {order.number}" + (f", attempt {attempt}" if attempt > 1 else ""))
        try:
            note = self.work(order)
        except Exception as error:  # whatever it is, the message must get on
            why = str(error) or type(error).__name__
            if isinstance(error, Hopeless) or attempt > len(self.delays):
                self.tell(channel, order, "parked", why)
                self.park(channel, body, why, attempt)
                say("!", f"Order {order.number}: {why}; parked after attempt {attempt}")
            else:
                delay = self.delays[attempt - 1]
                # Told first: another of our kind may have the message before this line is over.
                self.tell(channel, order, "retrying", why)
                self.retry(channel, body, attempt, delay)
                say("!", f"Order {order.number}: {why}; again in {delay:g} s")
        else:
            self.tell(channel, order, "done", "")
            say("x", f"Order {order.number}: {note}")

    def tell(self, channel, order: Order, state: str, note: str) -> None:
        """Tell the API what became of the step, and whoever else is interested."""
        event = Event(number=order.number, step=self.step, state=state, note=note)
        topology.publish(channel, self.exchange, KEYS[state].format(step=self.step), event)

    def retry(self, channel, body: bytes, attempt: int, delay: float) -> None:
        """Let the broker give the message back after a while."""
        queue = topology.declare_retry(channel, self.exchange, self.name, delay)
        topology.publish(channel, "", queue, body, {"attempts": attempt})

    def park(self, channel, body: bytes, why: str, attempt: int) -> None:
        """Put the message where a person looks."""
        queue = topology.declare_parked(channel, self.exchange, self.name)
        topology.publish(channel, "", queue, body, {"attempts": attempt, "reason": why[:500]})

    def acknowledge(self, channel, delivery_tag: int) -> None:
        """Let the broker forget the message: all that had to be done is done."""
        channel.basic_ack(delivery_tag)


def attempts_before(properties: pika.BasicProperties) -> int:
    """Return how often a message was tried before, as its headers say."""
    attempts = (properties.headers or {}).get("attempts")
    return attempts if isinstance(attempts, int) and attempts > 0 else 0
