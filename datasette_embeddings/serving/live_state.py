"""Whether a live collection is followed, and why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datasette_embeddings import errors
from datasette_embeddings.errors import EmbeddingsError

#: What comes after the path of the database in that of its lock
LOCK_SUFFIX = "-embeddings-live.lock"
# Seconds until what failed is tried again, twice as long after each time
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# All that a visitor learns; the log has the reasons, which reveal paths and addresses
MODEL_IS_DOWN = "The model is not available at the moment"
DATABASE_IS_BUSY = "The database cannot be written at the moment"
SOURCE_FAILS = "The source cannot be read at the moment"
MODEL_ERRORS = (errors.UnknownModelError, errors.ModelError, errors.MissingLibraryError)


@dataclass(frozen=True)
class LiveState:
    """What a server does for a live collection.

    ``starting``: it has not been compared with its source yet.  ``following``: its
    changes are embedded as they come.  ``behind``: changes are being embedded.
    ``waiting``: the model or the database is not available, and is tried again.
    ``failing``: the source cannot be read, and is tried again.  ``off``: it cannot be
    followed.
    """

    name: str = "starting"
    #: A sentence for visitors; None where the name says all
    reason: str | None = None


FOLLOWING = LiveState("following")
NOT_THERE = LiveState("off", "There is no such collection, and no source is declared")
NOT_WRITABLE = LiveState("off", "The database file is read-only")


@dataclass
class Pause:
    """How long to wait after an error: twice as long each time, at most a minute."""

    _next: float = FIRST_PAUSE_S
    #: On the monotonic clock; 0.0 while nothing has failed
    until: float = field(default=0.0)

    def begin(self, now: float) -> None:
        """Wait from *now* on."""
        self.until = now + self._next
        self._next = min(2 * self._next, LONGEST_PAUSE_S)

    def end(self) -> None:
        """Wait for nothing: what had failed works again."""
        self._next, self.until = FIRST_PAUSE_S, 0.0


def state_of_error(error: EmbeddingsError) -> LiveState:
    """The state of a collection that *error* has stopped."""
    if isinstance(error, MODEL_ERRORS):
        return LiveState("waiting", MODEL_IS_DOWN)
    if isinstance(error, errors.DatabaseError):
        return LiveState("waiting", DATABASE_IS_BUSY)
    return LiveState("failing", SOURCE_FAILS)


def state_of_database(error: Exception) -> LiveState:
    """The state of all collections of a database that *error* keeps from being written.

    SQLite says that a file is read-only; its folder is, too, where no lock can be made.
    """
    if isinstance(error, PermissionError) or "is read-only" in str(error):
        return NOT_WRITABLE
    return LiveState("waiting", DATABASE_IS_BUSY)


@contextmanager
def turn_to_embed(path: Path) -> Iterator[bool]:
    """Whether this process is the one that embeds for the database at *path*.

    It is until the end of the block.
    """
    from filelock import FileLock, Timeout

    # The operating system frees it when the process ends, however it ends.  A row that
    # says who embeds would stay after a kill, until some time has passed that a slow
    # machine exceeds as well; a lock of SQLite's own would stop all writers
    lock = FileLock(f"{os.path.realpath(path)}{LOCK_SUFFIX}", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
