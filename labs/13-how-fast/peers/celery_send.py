"""Celery's delay(), once for each text: COUNT, or texts."""

import sys

import task
from celery_app import work

texts = sys.argv[1:]
if texts[0].isdigit():
    texts = [task.BODY] * int(texts[0])
for text in texts:
    work.delay(text)
