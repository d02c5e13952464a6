"""A worker with two threads, like pika's basic_consumer_threaded: heartbeats go on during work."""

import queue
import threading

import pika
import task

deliveries = queue.SimpleQueue()


def work_forever():
    """Process messages one by one; the main thread acknowledges them."""
    while True:
        tag, body = deliveries.get()
        task.work(body.decode())
        connection.add_callback_threadsafe(lambda tag=tag: channel.basic_ack(tag))


def on_message(channel, method, properties, body):
    deliveries.put((method.delivery_tag, body))


connection = pika.BlockingConnection(pika.URLParameters(task.URL))
channel = connection.channel()
channel.queue_declare(task.QUEUE, durable=True)
channel.basic_qos(prefetch_count=task.PREFETCH)
channel.basic_consume(task.QUEUE, on_message)
threading.Thread(target=work_forever, daemon=True).start()
channel.start_consuming()
