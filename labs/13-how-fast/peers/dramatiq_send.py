"""dramatiq's send(), once for each text: COUNT, or texts."""

import sys

import task
from dramatiq_app import broker, work

texts = sys.argv[1:]
if texts[0].isdigit():
    texts = [task.BODY] * int(texts[0])
for text in texts:
    work.send(text)
broker.close()
