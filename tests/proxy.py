"""A TCP proxy between a client and its broker that can cut, silence or hold what goes through."""

import contextlib
import socket
import threading
from collections.abc import Callable

CANCEL = b"\x00\x3c\x00\x1e"  # AMQP's basic.cancel: class 60, method 30
FRAME_HEAD = 7  # bytes before a method: type, channel, size


class Proxy:
    """Forwards connections to a port of this machine, until told otherwise."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self.before_cancel: Callable[[], None] | None = None  # called while basic.cancel is held
        self._open: list[tuple[socket.socket, socket.socket, threading.Event]] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut every connection; new ones are served."""
        for client, broker, _ in self._open:
            for end in (client, broker):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def silence(self) -> None:
        """Forward nothing more on the open connections, nor close them; new ones are served."""
        for *_, silent in self._open:
            silent.set()

    def fall_silent_at_cancel(self) -> threading.Event:
        """Go silent at the next basic.cancel; the event tells that it came."""
        asked = threading.Event()

        def fall_silent() -> None:
            self.silence()
            asked.set()

        self.before_cancel = fall_silent
        return asked

    def close(self) -> None:
        """Cut every connection and take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._target))
                silent = threading.Event()
                self._open.append((client, broker, silent))
                for source, sink in ((client, broker), (broker, client)):
                    ends = source, sink, silent, source is client
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, silent: threading.Event, is_client: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) or silent.is_set():
                if not data:
                    return
                if is_client and self.before_cancel and CANCEL in data:
                    begin = data.index(CANCEL) - FRAME_HEAD
                    sink.sendall(data[:begin])
                    data, before_cancel, self.before_cancel = data[begin:], self.before_cancel, None
                    before_cancel()
                if not silent.is_set():
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
