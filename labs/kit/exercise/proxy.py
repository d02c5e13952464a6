"""A proxy between a program and its broker: it listens in, cuts connections, plays dead.

It needs no rights on the broker, so it works the same at home and on a classroom's server.
"""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pika
from pika import frame as frames
from pika.spec import Basic

from kit.cli import LOCALHOST

# The first byte of a frame: its type (method, header, body, heartbeat), or the "A" of "AMQP".
FRAME_BEGINS = b"\x01\x02\x03\x08A"


@dataclass(frozen=True)
class Heard:
    """An AMQP method (such as pika.spec.Basic.Ack) or a message's properties on the wire."""

    time: float
    link: int  # number of the connection, from 1
    sender: str  # "program" or "broker"
    what: object


class Proxy:
    """Listens on a port of its own for a broker; all methods may be called from any thread."""

    def __init__(
        self,
        broker_port: int,
        port: int = 0,
        *,
        host: str = LOCALHOST,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._broker = {"host": host, "port": broker_port, "ssl": tls}
        self._heard: list[Heard] = []
        self.links = 0  # connections so far, including those closed at once
        # Called once, while the program's next basic.cancel is held back.
        self.before_cancel: Callable[[], None] | None = None
        self._open: dict[asyncio.StreamWriter, int] = {}  # both ends of each connection: its link
        self._silent: set[int] = set()  # links
        self._tasks: set[asyncio.Task] = set()
        self._dead = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(self._listen(port))
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def heard(self) -> list[Heard]:
        """Return what was heard so far, all that has arrived by now included.

        A program sends, then prints: whoever saw the line finds here what was sent before it.
        """
        if not self._loop.is_closed():
            self._do(self._catch_up())
        return list(self._heard)

    def cut(self) -> None:
        """Break every open connection without closing it in AMQP; serve new ones."""
        self._do(self._cut())

    def play_dead(self, dead: bool = True) -> None:
        """Close every new connection at once, as Docker does while its broker boots."""
        self._dead = dead

    def silence(self) -> None:
        """Forward nothing more on the open connections, but keep them open; serve new ones."""
        self._do(self._silence())

    def fall_silent_at_cancel(self) -> threading.Event:
        """Call `silence` at the next basic.cancel; return an event that is set then."""
        asked = threading.Event()

        def fall_silent() -> None:
            self.silence()
            asked.set()

        self.before_cancel = fall_silent
        return asked

    def close(self) -> None:
        """Stop listening and break the open connections."""
        if self._loop.is_closed():
            return
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._serve, LOCALHOST, port)

    async def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _catch_up(self) -> None:
        for _ in range(4):  # rounds of the loop: to read, to wake _pass_on, to run it, and us
            await asyncio.sleep(0)

    async def _silence(self) -> None:
        self._silent.update(self._open.values())

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += 1
        if self._dead:
            return writer.close()
        link, writers = self.links, [writer]
        self._open[writer] = link
        self._tasks.add(asyncio.current_task())
        try:
            far_reader, far_writer = await asyncio.open_connection(**self._broker)
            writers.append(far_writer)
            self._open[far_writer] = link
            await asyncio.gather(
                self._pass_on(link, "program", reader, far_writer),
                self._pass_on(link, "broker", far_reader, writer),
            )
        except (OSError, asyncio.CancelledError):  # the broker is away; the proxy is closed
            writer.close()
        finally:
            for one in writers:
                del self._open[one]
            self._tasks.remove(asyncio.current_task())

    async def _pass_on(
        self, link: int, sender: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forward one side's bytes until it hangs up; record its methods and properties."""
        splitter = FrameSplitter()
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                for piece, what in splitter.split(data):
                    if what:
                        self._heard.append(Heard(time.monotonic(), link, sender, what))
                    if sender == "program" and isinstance(what, Basic.Cancel):
                        await self._hold()
                    if link not in self._silent:
                        writer.write(piece)
                await writer.drain()
        if link not in self._silent:
            writer.close()

    async def _hold(self) -> None:
        """Call `before_cancel` and wait until it returns."""
        if before_cancel := self.before_cancel:
            self.before_cancel = None
            await asyncio.to_thread(before_cancel)


class FrameSplitter:
    """Splits one side's bytes into AMQP frames; bytes that are not AMQP pass unchanged."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_amqp = True

    def split(self, data: bytes) -> Iterator[tuple[bytes, object]]:
        """Yield the bytes of each frame that is complete, and its method or properties if any."""
        self._rest += data
        while self._rest:
            size, frame = self._decode()
            if not size:
                return
            piece, self._rest = self._rest[:size], self._rest[size:]
            yield piece, getattr(frame, "method", None) or getattr(frame, "properties", None)

    def _decode(self) -> tuple[int, object]:
        """Return the size of the next frame, or 0 while it is incomplete, and the frame."""
        self._is_amqp = self._is_amqp and self._rest[0] in FRAME_BEGINS
        if self._is_amqp:
            try:
                return frames.decode_frame(self._rest)
            except Exception:  # pika raises many kinds on bytes that it cannot decode
                self._is_amqp = False
        return len(self._rest), None


def proxy_before(url: str) -> tuple[Proxy, str]:
    """Put a proxy before the broker of a URL; return the proxy and its URL.

    The connection to the proxy is never encrypted, because it stays on this machine.
    """
    where = pika.URLParameters(url)
    tls = where.ssl_options
    proxy = Proxy(where.port, host=where.host, tls=tls.context if tls else None)
    _, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    login, at, _ = authority.rpartition("@")
    return proxy, f"amqp://{login}{at}{LOCALHOST}:{proxy.port}{slash}{path}"
