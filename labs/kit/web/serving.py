"""A FastAPI application on its port, with companions in threads beside it, until it is stopped."""

import signal
import socket
import threading
from collections.abc import Callable
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from kit.amqp import reason
from kit.cli import OK, UNEXPECTED, Trouble, say

LAST_REQUESTS = 30  # seconds to finish open requests after a signal to stop
LAST_WORK = 2  # seconds for a companion to finish after that
WAITING_CLIENTS = 1024  # connections not accepted yet


class Companion(Protocol):
    """Runs in a thread beside the application, for example a Consumer or a Relay.

    If run() raises, the program ends with that error.
    """

    connected: bool  # if so, stop() has work to finish

    def run(self) -> None: ...

    def stop(self) -> None: ...


class _Thread(threading.Thread):
    """The thread of a companion; it keeps the error that ends it."""

    def __init__(self, companion: Companion, at_error: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.companion, self.at_error = companion, at_error
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.companion.run()
        except Exception as error:
            self.error = error
            self.at_error()


def listen(bind: str, port: int, option: str = "--http-port") -> socket.socket:
    """Return a socket that listens. Raises Trouble if the port is taken."""
    try:
        listener = socket.create_server((bind, port), backlog=WAITING_CLIENTS)
    except OSError as error:
        why = reason(error).partition(" (while")[0]
        what = f"cannot answer on {bind}:{port} ({why})"
        hint = f"end the program that has it, in another pane perhaps; or {option} 0, any free one"
        raise Trouble(what, hint, UNEXPECTED) from None
    # asyncio sets this only on sockets it makes itself. Without it each answer on a connection that
    # is kept open takes 40 ms: Nagle's algorithm waits for a delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return HOST:PORT of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


class _Server(uvicorn.Server):
    """A server that calls `at_end` on a signal to stop, so that event streams can end."""

    def __init__(self, config: uvicorn.Config, at_end: Callable[[], None]) -> None:
        super().__init__(config)
        self.at_end = at_end

    def handle_exit(self, sig: int, frame: object) -> None:
        self.at_end()
        super().handle_exit(sig, frame)


def serve(
    app: FastAPI,
    listener: socket.socket,
    *companions: Companion,
    at_end: Callable[[], None] = lambda: None,
) -> int:
    """Answer until SIGTERM or Ctrl-C; return the exit code. Raises what a companion raises."""
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

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)  # until uvicorn has handlers of its own, and after that
    say("*", f"Answering at http://{address_of(listener)}/")
    threads = [_Thread(companion, stop) for companion in companions]
    for thread in threads:
        thread.start()
    server.run(sockets=[listener])
    for thread in threads:
        if thread.error:
            raise thread.error
        thread.companion.stop()
        if thread.companion.connected:
            thread.join(LAST_WORK)
    return OK
