"""The API's ear at the broker: ticks the steps off, and sees which services are there."""

import threading
import time

import pika
from pydantic import ValidationError

from kit.amqp import Broker, BrokerError, show
from kit.cli import say
from shop import topology
from shop.link import keep_connected
from shop.news import News
from shop.order import Event
from shop.store import Store

LOOK_EVERY = 1  # second
AWAY = {"broker": False, "services": {}, "stuck": 0}
PREFETCH = 100  # events on their way to us at a time
ANOTHER = "exclusive use"  # the broker's words for it
TURN = 1  # second after which we ask whether another API has ended


class Status(threading.Thread):
    """The thread that has the API's connection; orders are taken with and without it."""

    def __init__(self, exchange: str, broker: Broker, store: Store, news: News) -> None:
        super().__init__(daemon=True)
        self.exchange, self.broker, self.store, self.news = exchange, broker, store, news
        self.oldest: list = []  # what waited longest in the outbox when we last looked
        news.services = AWAY

    def run(self) -> None:
        """Listen until the program ends, or the broker refuses us."""
        told = False
        while True:
            try:
                keep_connected(self.exchange, self.broker, self.listen)
            except BrokerError as error:
                if ANOTHER not in str(error):
                    say("!", f"Orders are taken, but their steps are not ticked off: {error}")
                    say("!", f"try: {error.hint}")
                    return
                if not told:
                    say("!", f"Another API has the events of {self.exchange!r}; waiting")
                told = True
                self.broker.short_lived = 0  # it is well, and has refused us
                time.sleep(TURN)

    def listen(self, connection: pika.BlockingConnection, channel) -> None:
        """Take events from one connection; raises pika's errors when it is lost."""
        queue = topology.queue_of(self.exchange, "status")
        # If the last connection died young, perhaps of the next event, nothing else goes with it.
        channel.basic_qos(prefetch_count=1 if self.broker.short_lived else PREFETCH)
        # Alone: of two APIs with a database each, both would take what is the other's.
        channel.basic_consume(queue, self.on_event, exclusive=True)
        say("*", f"Connected to the broker; waiting for events on {queue!r}")
        looked = 0.0
        try:
            while True:
                if time.monotonic() - looked >= LOOK_EVERY:
                    self.look_around(channel)
                    looked = time.monotonic()
                connection.process_data_events(time_limit=LOOK_EVERY)
                if not channel.consumer_tags:
                    raise topology.cancelled(queue)
        finally:
            self.tell(AWAY)

    def on_event(self, channel, method, properties, body: bytes) -> None:
        """Tick a step off, then acknowledge."""
        try:
            event = Event.model_validate_json(body)
        except ValidationError:
            say("!", f"No event: {show(body)}")
        else:
            step = f"Order {event.number}: {event.step}"
            before = self.store.mark(event)
            if before is None:
                say("!", f"Order {event.number} ({event.step}) is not of this database")
            elif before == "done":
                say("x", f"{step} was done before")
            else:
                all_done = self.store.get(event.number)["status"] == "done"
                say(
                    "x", f"{step} {event.state}" + (", and with that all of it" if all_done else "")
                )
        channel.basic_ack(method.delivery_tag)
        self.news.spread()

    def look_around(self, channel) -> None:
        """Ask the broker how many of each service are there, and how many orders wait for them."""
        services = {}
        for service in topology.STEPS:
            queue = topology.queue_of(self.exchange, service)
            answer = channel.queue_declare(queue, passive=True).method
            services[service] = {"here": answer.consumer_count, "wait": answer.message_count}
        oldest = self.store.unsent(1)
        stuck = self.store.in_outbox() if oldest and oldest == self.oldest else 0
        self.oldest = oldest
        self.tell({"broker": True, "services": services, "stuck": stuck})

    def tell(self, services: dict) -> None:
        """Let the pages know what has changed about the services."""
        if services != self.news.services:
            self.news.services = services
            self.news.spread()
