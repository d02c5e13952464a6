"""The API's consumer: notes which steps are done, and watches which services run."""

import sqlite3
import time

from pydantic import ValidationError

from kit.amqp import Broker, BrokerError, show
from kit.cli import say
from kit.web.consumer import Consumer, Message
from kit.web.events import EventStream
from shop import topology
from shop.order import Event
from shop.store import Store, pause_after

LOOK_EVERY = 1  # second
AWAY = {"broker": False, "services": {}, "stuck": 0}
IN_USE = "exclusive use"  # the broker's words for a queue that has an exclusive consumer
RETRY = 1  # second between tries while another API has the queue


class Status(Consumer):
    """Runs in a thread of its own; orders are taken with and without it.

    `services` is what the pages show of the broker and the services.
    """

    prefetch = 100
    exclusive = True  # a second API has another database, and would take our events
    tick = LOOK_EVERY
    ready = "Connected to the broker; waiting for events on {}"

    def __init__(self, exchange: str, broker: Broker, store: Store, stream: EventStream) -> None:
        super().__init__(broker)
        self.exchange, self.store, self.stream = exchange, store, stream
        self.services: dict = AWAY
        self.oldest: list = []  # the first message of the outbox when we last looked
        self.looked = 0.0

    def run(self) -> None:
        """Consume until the program ends, or the broker refuses us."""
        said = False
        while True:
            try:
                return super().run()
            except BrokerError as error:
                if IN_USE not in str(error):
                    say("!", f"Orders are taken, but their steps are not ticked off: {error}")
                    say("!", f"try: {error.hint}")
                    return
                if not said:
                    say("!", f"Another API has the events of {self.exchange!r}; waiting")
                said = True
                self.broker.short_lived = 0  # the broker is fine, it has only refused us
                time.sleep(RETRY)

    def declare(self, channel) -> list[str]:
        topology.declare(channel, self.exchange)
        return [topology.queue_of(self.exchange, "status")]

    def use(self, channel) -> None:
        self.looked = 0
        try:
            super().use(channel)
        except sqlite3.Error as error:
            raise pause_after(error) from error
        finally:
            self.show(AWAY)

    def handle(self, message: Message) -> None:
        """Note the outcome of a step, then acknowledge."""
        try:
            event = Event.model_validate_json(message.body)
        except ValidationError:
            say("!", f"No event: {show(message.body)}")
        else:
            self.note(event)
        message.acknowledge()
        self.stream.changed()

    def note(self, event: Event) -> None:
        """Note the outcome of a step, and print it."""
        step = f"Order {event.number}: {event.step}"
        before = self.store.mark(event)
        if before is None:
            say("!", f"Order {event.number} ({event.step}) is not of this database")
        elif before == "done":
            say("x", f"{step} was done before")
        else:
            all_done = self.store.get(event.number)["status"] == "done"
            say("x", f"{step} {event.state}" + (", and with that all of it" if all_done else ""))

    def look(self, channel) -> None:
        """Ask the broker how many of each service run, and how many orders wait for them."""
        if time.monotonic() - self.looked < LOOK_EVERY:
            return
        services = {}
        for service in topology.STEPS:
            queue = topology.queue_of(self.exchange, service)
            answer = channel.queue_declare(queue, passive=True).method
            services[service] = {"here": answer.consumer_count, "wait": answer.message_count}
        oldest = self.store.unsent(1)
        stuck = self.store.in_outbox() if oldest and oldest == self.oldest else 0
        self.oldest = oldest
        self.show({"broker": True, "services": services, "stuck": stuck})
        self.looked = time.monotonic()

    def show(self, services: dict) -> None:
        """Update the pages if the state of the services has changed."""
        if services != self.services:
            self.services = services
            self.stream.changed()
