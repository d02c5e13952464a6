"""A dramatiq actor; dramatiq acknowledges when it is done, and its messages are persistent."""

import os

import dramatiq
import task
from dramatiq.brokers.rabbitmq import RabbitmqBroker

confirmed = bool(os.environ.get("CONFIRMED"))
broker = RabbitmqBroker(url=task.URL, confirm_delivery=confirmed)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=task.QUEUE)
def work(text):
    """Do one task."""
    task.work(text)
