"""Send with Kombu's producer: COUNT [confirmed]."""

import sys

import kombu
import task

options = {"confirm_publish": True} if "confirmed" in sys.argv else {}
with kombu.Connection(task.URL, transport_options=options) as connection:
    producer = connection.Producer()
    for _ in range(int(sys.argv[1])):
        producer.publish(
            task.BODY.encode(), routing_key=task.QUEUE, content_type="text/plain", delivery_mode=2
        )
