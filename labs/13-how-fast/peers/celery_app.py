"""A Celery application with one task, acknowledged when done; its messages are persistent."""

import sys

import task
from celery import Celery

app = Celery("measure", broker=task.URL)
app.conf.update(
    task_default_queue=task.QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    worker_redirect_stdouts=False,  # keep Celery from formatting the task's output
    # Name the exchanges that Celery leaves behind, so that we can delete them.
    control_exchange=task.QUEUE,
    event_exchange=f"{task.QUEUE}.events",
)
if task.PREFETCH:
    app.conf.worker_prefetch_multiplier = task.PREFETCH
if "confirmed" in sys.argv:
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task
def work(text):
    task.work(text)
