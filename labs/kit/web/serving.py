"""A FastAPI application on its port, with threads beside it, until somebody stops it."""

import signal
import socket
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from kit.amqp import reason
from kit.cli import OK, UNEXPECTED, Trouble, say

LAST_REQUESTS = 30  # seconds for those that are being answered when we are told to stop
WAITING_CLIENTS = 1024  # that are not accepted yet


class Background(threading.Thread):
    """A thread beside the application; if it fails, the program ends with its error."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.error: Exception | None = None
        self.on_error: Callable[[], None] = lambda: None

    def work(self) -> None:
        """Do what the thread is for."""
        raise NotImplementedError

    def stop(self) -> None:
        """Come to an end."""
        raise NotImplementedError

    def run(self) -> None:
        """Work; keep the error that ends it."""
        try:
            self.work()
        except Exception as error:
            self.error = error
            self.on_error()


def listen(bind: str, port: int, option: str = "--http-port") -> socket.socket:
    """Return a socket that listens. Raises Trouble if the port cannot be had."""
    try:
        listener = socket.create_server((bind, port), backlog=WAITING_CLIENTS)
    except OSError as error:
        why = reason(error).partition(" (while")[0]
        what = f"cannot answer on {bind}:{port} ({why})"
        hint = f"end the program that has it, in another pane perhaps; or {option} 0, any free one"
        raise Trouble(what, hint, UNEXPECTED) from None
    # asyncio does so only for sockets that it makes itself; without it each answer to a client
    # that keeps its connection takes 40 ms (Nagle's algorithm waits for a delayed ACK).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return HOST:PORT of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


class _Server(uvicorn.Server):
    """A server that calls `at_end` when it is told to stop, so that long answers can end."""

    def __init__(self, config: uvicorn.Config, at_end: Callable[[], None]) -> None:
        super().__init__(config)
        self.at_end = at_end

    def handle_exit(self, sig: int, frame: object) -> None:
        self.at_end()
        super().handle_exit(sig, frame)


def serve(
    app: FastAPI,
    listener: socket.socket,
    *threads: Background,
    at_end: Callable[[], None] = lambda: None,
) -> int:
    """Answer until SIGTERM or Ctrl-C; return the exit code. Raises what a thread died of."""
    settings = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=LAST_REQUESTS,
    )
    server = _Server(settings, at_end)

    def stop(*_: object) -> None:
        at_end()
        server.should_exit = True

    for number_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_, stop)  # until uvicorn has handlers of its own, and after that
    say("*", f"Answering at http://{address_of(listener)}/")
    for thread in threads:
        thread.on_error = stop
        thread.start()
    server.run(sockets=[listener])
    for thread in threads:
        if thread.error:
            raise thread.error
        thread.stop()
    return OK
