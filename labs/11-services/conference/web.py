"""A FastAPI application on its port, with threads beside it, until somebody stops it."""

import signal
import socket
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from producer import OK, UNEXPECTED, BrokerError, reason, say

GRACE = 3  # seconds for requests that are still being answered when the service is stopped


class Missing(Exception):
    """Raised when there is no such thing: 404."""


class Conflict(Exception):
    """Raised when what is asked for does not go with what is there: 409."""


def new_application(title: str) -> FastAPI:
    """Return an application that answers with what Missing and Conflict say."""
    app = FastAPI(title=title)
    for kind, status in ((Missing, 404), (Conflict, 409)):

        def answer(request, error: Exception, status=status) -> JSONResponse:
            return JSONResponse({"detail": str(error)}, status)

        app.add_exception_handler(kind, answer)
    return app


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


def listen(bind: str, port: int, option: str) -> socket.socket:
    """Return a socket that listens. Raises BrokerError if the port cannot be had."""
    try:
        return socket.create_server((bind, port))
    except OSError as error:
        what = f"cannot answer on {bind}:{port} ({reason(error)})"
        raise BrokerError(what, f"another {option}, 0 for any", UNEXPECTED) from None


def address_of(listener: socket.socket) -> str:
    """Return HOST:PORT of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


def serve(application: FastAPI, listener: socket.socket, *threads: Background) -> int:
    """Answer until SIGTERM or Ctrl-C; return the exit code. Raises what a thread died of."""
    settings = uvicorn.Config(
        application, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE
    )
    server = uvicorn.Server(settings)

    def stop(*_: object) -> None:
        server.should_exit = True

    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, stop)  # until uvicorn has handlers of its own, and after that
    say("*", f"Answering at http://{address_of(listener)}. To exit press CTRL+C")
    for thread in threads:
        thread.on_error = stop
        thread.start()
    server.run(sockets=[listener])
    for thread in threads:
        if thread.error:
            raise thread.error
        thread.stop()
    return OK
