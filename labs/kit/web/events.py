"""Server-sent events: what the open pages show, sent whenever it has changed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi.sse import ServerSentEvent

AT_MOST_EVERY = 0.1  # seconds between two events
COME_BACK = 1000  # milliseconds after which a browser that lost us tries again


class EventStream:
    """Sends a state to all open pages, now and after each change, until it ends.

    Always the whole state: a page that comes back has missed nothing.
    """

    def __init__(self) -> None:
        self._ended = False
        self._pages: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    async def events(self, state: Callable[[], dict]) -> AsyncIterator[ServerSentEvent]:
        """Yield the events for one page."""
        changed = asyncio.Event()
        page = asyncio.get_running_loop(), changed
        self._pages.add(page)
        try:
            while not self._ended:
                changed.clear()
                yield ServerSentEvent(data=await asyncio.to_thread(state), retry=COME_BACK)
                await asyncio.sleep(AT_MOST_EVERY)
                await changed.wait()
        finally:
            self._pages.discard(page)

    def changed(self) -> None:
        """Say that something has changed; may be called from any thread."""
        for loop, event in list(self._pages):
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(event.set)

    def end(self) -> None:
        """Say that there will be no more."""
        self._ended = True
        self.changed()
