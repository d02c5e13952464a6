"""A dramatiq actor; dramatiq acknowledges when a task is done; its messages are persistent."""

import sys

import dramatiq
import task
from dramatiq.brokers.rabbitmq import RabbitmqBroker

broker = RabbitmqBroker(url=task.URL, confirm_delivery="confirmed" in sys.argv)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=task.QUEUE)
def work(text):
    task.work(text)
