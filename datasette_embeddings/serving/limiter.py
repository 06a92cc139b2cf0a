"""How much a server does at once, who waits, and who is told to come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from datasette_embeddings.config import Config
from datasette_embeddings.errors import ServerBusyError


class Limiter:
    """Lets *at_once* through and *waiting* more wait, in the order they came."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once = at_once
        self._most_waiting = waiting
        self._places = asyncio.Semaphore(at_once)
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot while the block runs; a cancelled request gives it back.

        :raises ServerBusyError: if too many wait already.
        """
        if self._places.locked() and self._waiting >= self._most_waiting:
            raise ServerBusyError(self._at_once, self._most_waiting)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


# A semaphore belongs to the event loop that it was first waited for in
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[int, int], Limiter]] = (
    WeakKeyDictionary()
)


def limiter_of(config: Config) -> Limiter:
    """The gate of the running event loop, with the limits of *config*."""
    limits = config.max_searches, config.max_waiting
    gates = _gates.setdefault(asyncio.get_running_loop(), {})
    return gates.setdefault(limits, Limiter(*limits))
