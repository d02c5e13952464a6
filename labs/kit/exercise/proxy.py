"""A go-between for a program and its broker: it listens in, cuts connections, and plays dead.

It needs no rights on the broker, so it does the same at home and on a classroom's server.
"""

import asyncio
import contextlib
import ssl
import threading
import time
from dataclasses import dataclass

import pika
from pika import frame as frames

from kit.cli import LOCALHOST


@dataclass(frozen=True)
class Heard:
    """An AMQP method (such as pika.spec.Basic.Ack) or a message's properties on the wire."""

    time: float
    link: int  # which connection, counted from 1
    sender: str  # "program" or "broker"
    what: object


class Proxy:
    """Listens on a port of its own for a broker; all methods may be called from any thread."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.broker = {"host": host, "port": port, "ssl": tls}
        self.heard: list[Heard] = []
        self.links = 0  # how many connections have come, those that were hung up on too
        self._open: set[asyncio.StreamWriter] = set()
        self._dead = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection, without a word of AMQP to either side."""
        self._do(self._cut())

    def play_dead(self, dead: bool = True) -> None:
        """Hang up on whoever comes, as Docker does while the broker in the container boots."""
        self._dead = dead

    def close(self) -> None:
        """Stop listening and break what is open."""
        self._server.close()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, LOCALHOST, 0)

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += 1
        link = self.links
        if self._dead:
            return writer.close()
        try:
            far_reader, far_writer = await asyncio.open_connection(**self.broker)
        except OSError:
            return writer.close()
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(
                self._pass_on(reader, far_writer, link, "program"),
                self._pass_on(far_reader, writer, link, "broker"),
            )
        finally:
            self._open -= {writer, far_writer}

    async def _pass_on(self, reader, writer, link: int, sender: str) -> None:
        """Pass bytes on until one side hangs up, and write down what they say."""
        buffer, understood = b"", True
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if understood:
                    buffer += data
                    try:
                        buffer = self._note(buffer, link, sender)
                    except Exception:  # whatever it is, it is not AMQP
                        understood = False
                writer.write(data)
                await writer.drain()
        writer.close()

    def _note(self, data: bytes, link: int, sender: str) -> bytes:
        """Note each whole frame; return the bytes that are left."""
        while data:
            size, frame = frames.decode_frame(data)
            if not size:
                break
            data = data[size:]
            if isinstance(frame, frames.Method):
                self.heard.append(Heard(time.monotonic(), link, sender, frame.method))
            elif isinstance(frame, frames.Header):
                self.heard.append(Heard(time.monotonic(), link, sender, frame.properties))
        return data


def proxy_before(url: str) -> tuple[Proxy, str]:
    """Put a proxy before the broker of a URL; return it and the URL that leads there.

    The way to the proxy is never encrypted: it stays on this machine.
    """
    where = pika.URLParameters(url)
    tls = where.ssl_options
    proxy = Proxy(where.host, where.port, tls.context if tls else None)
    _, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    login, at, _ = authority.rpartition("@")
    return proxy, f"amqp://{login}{at}{LOCALHOST}:{proxy.port}{slash}{path}"
