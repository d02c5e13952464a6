"""What the open pages wait for: that something has changed, told from any thread."""

import asyncio
import contextlib
from collections.abc import Iterator


class News:
    """Wakes whoever listens; `services` is what was last heard of the services."""

    def __init__(self) -> None:
        self.services: dict = {}
        self.over = False
        self._listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @contextlib.contextmanager
    def listener(self) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever something has changed."""
        listener = asyncio.get_running_loop(), asyncio.Event()
        self._listeners.add(listener)
        try:
            yield listener[1]
        finally:
            self._listeners.discard(listener)

    def spread(self) -> None:
        """Say that something has changed."""
        for loop, event in list(self._listeners):
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(event.set)

    def end(self) -> None:
        """Say that there will be no more."""
        self.over = True
        self.spread()
