"""A reader with bare pika, like the official tutorial's receive.py, but acknowledging."""

import pika
import task


def on_message(channel, method, properties, body):
    task.begin(body.decode())
    channel.basic_ack(method.delivery_tag)


connection = pika.BlockingConnection(pika.URLParameters(task.URL))
channel = connection.channel()
channel.queue_declare(task.QUEUE, durable=True)
channel.basic_qos(prefetch_count=task.PREFETCH)
channel.basic_consume(task.QUEUE, on_message)
channel.start_consuming()
