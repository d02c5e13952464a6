"""Send with bare pika, like the official tutorial's new_task.py: COUNT [confirmed] [transient]."""

import sys

import pika
import task

connection = pika.BlockingConnection(pika.URLParameters(task.URL))
channel = connection.channel()
if "confirmed" in sys.argv:
    channel.confirm_delivery()  # from now on each basic_publish waits for its confirm
properties = pika.BasicProperties(delivery_mode=1 if "transient" in sys.argv else 2)
for _ in range(int(sys.argv[1])):
    channel.basic_publish("", task.QUEUE, task.BODY, properties)
connection.close()
