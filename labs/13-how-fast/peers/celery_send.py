"""Call Celery's delay() for each text: COUNT [confirmed], or texts from standard input."""

import sys

import task
from celery_app import work

texts = [task.BODY] * int(sys.argv[1]) if sys.argv[1:] else sys.stdin.read().splitlines()
for text in texts:
    work.delay(text)
