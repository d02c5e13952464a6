"""Call dramatiq's send() for each text: COUNT [confirmed], or texts from standard input."""

import sys

import task
from dramatiq_app import broker, work

texts = [task.BODY] * int(sys.argv[1]) if sys.argv[1:] else sys.stdin.read().splitlines()
for text in texts:
    work.send(text)
broker.close()
