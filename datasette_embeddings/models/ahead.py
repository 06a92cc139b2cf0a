"""Work that is done ahead of need, in threads, and no further than the next portion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar, overload

Given = TypeVar("Given")
Made = TypeVar("Made")


class Ahead(Sequence[Made], AbstractContextManager[Any], Generic[Given, Made]):
    """What *make* makes of each of *given*, in their order.

    Whoever takes a portion, a slice, waits for that; meanwhile another of the same size
    is begun, and what came before is forgotten.  The same portion may be taken again.
    """

    def __init__(
        self, given: Sequence[Given], make: Callable[[Given], Made], *, threads: int
    ) -> None:
        self._given = given
        self._make = make
        self._pool = ThreadPoolExecutor(threads)
        self._begun: dict[int, Future[Made]] = {}

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return len(self._given)

    @overload
    def __getitem__(self, places: int) -> Made: ...

    @overload
    def __getitem__(self, places: slice) -> list[Made]: ...

    def __getitem__(self, places: int | slice) -> Made | list[Made]:
        if isinstance(places, int):
            return self[places : places + 1][0]
        start, stop, _step = places.indices(len(self))
        for place in [place for place in self._begun if place < start]:
            del self._begun[place]
        for place in range(start, min(len(self), 2 * stop - start)):
            if place not in self._begun:
                self._begun[place] = self._pool.submit(self._make, self._given[place])
        try:
            return [self._begun[place].result() for place in range(start, stop)]
        except BaseException:
            # Whoever takes it again has it made again
            self._begun.clear()
            raise
