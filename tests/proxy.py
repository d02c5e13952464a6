"""A TCP proxy between a client and its broker that can cut, or silence, what goes through it."""

import contextlib
import socket
import threading


class Proxy:
    """Forwards connections to a port of this machine, until told otherwise."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
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
                for ends in ((client, broker), (broker, client)):
                    threading.Thread(target=_forward, args=(*ends, silent), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket, silent: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while (data := source.recv(65536)) or silent.is_set():
            if not data:
                return
            if not silent.is_set():
                sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
