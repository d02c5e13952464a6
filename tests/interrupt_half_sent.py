"""Run a lab's program and interrupt it, as Ctrl-C does, when half of its first message is sent.

python tests/interrupt_half_sent.py labs/07-publish-subscribe/publisher.py --exchange news
"""

import runpy
import signal
import sys
from pathlib import Path

import pika
from pika.connection import Connection

if __name__ == "__main__":
    _, program, *options = sys.argv
    sys.argv = [program, *options]
    sys.path[0] = str(Path(program).parent)  # for the lab's modules

    def send_half(connection: Connection, channel: int, method: pika.amqp_object.Method, _) -> None:
        connection._send_method(channel, method)  # without its content
        signal.raise_signal(signal.SIGINT)

    Connection._send_message = send_half
    runpy.run_path(program, run_name="__main__")
