"""A Celery application with one task: acknowledged when it is done, messages persistent."""

import sys

import task
from celery import Celery

app = Celery("measure", broker=task.URL)
app.conf.update(
    task_default_queue=task.QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    worker_redirect_stdouts=False,  # what the task prints is not Celery's to format
    # Names of our own for the exchanges that Celery leaves behind: so they can be deleted.
    control_exchange=task.QUEUE,
    event_exchange=f"{task.QUEUE}.events",
)
if task.PREFETCH:
    app.conf.worker_prefetch_multiplier = task.PREFETCH
if "confirmed" in sys.argv:
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task
def work(text):
    """Do one task."""
    task.work(text)
