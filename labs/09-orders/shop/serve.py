"""Serving an app over HTTP in the style of the house: one line, and an end without noise."""

import contextlib
import signal
import socket
from argparse import Namespace
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from producer import OK, UNEXPECTED, BrokerError, reason, say

LAST_REQUESTS = 30  # seconds for those that are being answered when we are told to stop


class Server(uvicorn.Server):
    """A server that tells the app's long answers to end when it is told to stop."""

    def __init__(self, config: uvicorn.Config, at_end: Callable[[], None]) -> None:
        super().__init__(config)
        self.at_end = at_end

    def handle_exit(self, sig: int, frame: object) -> None:
        """Stop: the handler of SIGINT and SIGTERM."""
        self.at_end()
        super().handle_exit(sig, frame)


def serve(app: FastAPI, options: Namespace, at_end: Callable[[], None] = lambda: None) -> int:
    """Answer until Ctrl-C or SIGTERM; return the exit code. Raises BrokerError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again at its end
    try:
        listener = socket.create_server((options.http_bind, options.http_port), backlog=1024)
    except OSError as error:
        what = f"cannot answer on {options.http_bind}:{options.http_port} ({reason(error)})"
        raise BrokerError(what, "another --http-port, 0 for any", UNEXPECTED) from None
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=LAST_REQUESTS,
    )
    say("*", f"Answering at http://{host}:{port}/")
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, at_end).run(sockets=[listener])
    return OK
