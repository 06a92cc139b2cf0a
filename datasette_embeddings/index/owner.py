"""The one owner of all matrices of this process, and how they stay fresh.

It keeps a connection of its own to each database file: only one that writes nothing
itself learns from ``pragma data_version`` of every commit by others.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from datasette_embeddings.config.settings import DEFAULT_INDEX_MEMORY_MB
from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.index.matrix import VectorIndex
from datasette_embeddings.index.reading import (
    ScannedIndex,
    Shape,
    one_moment,
    read_index,
    shape_of,
)
from datasette_embeddings.store.embeddings import snapshot

Index: TypeAlias = VectorIndex | ScannedIndex
BYTES_PER_MB = 1_000_000
# `updated` counts whole seconds, and clocks of two machines differ a little
RECENT_S = 2


class _Owner:
    """The matrices of one database file, and the connection that reads them."""

    def __init__(self, path: str, *, immutable: bool) -> None:
        self._path = path
        self._immutable = immutable
        self._file = _file_state(path)
        self._opened = 1
        self._version: tuple[int, int] | None = None
        self._loaded: dict[int, _Loaded] = {}
        self.lock = threading.Lock()
        self.conn = _open(path, immutable)

    def index(self, collection_id: int, memory_limit: int) -> Index:
        """The matrix of a collection, with all that is committed by now."""
        with self.lock:
            version = self.state()
            if version != self._version:
                self._forget_changed()
                self._version = version
            if collection_id not in self._loaded:
                with one_moment(self.conn):
                    shape = shape_of(self.conn, collection_id)
                    if shape.size > memory_limit:
                        return ScannedIndex(self.conn, self.lock, collection_id)
                    self._loaded[collection_id] = self._load(collection_id, shape)
            return self._loaded[collection_id].index

    def state(self) -> tuple[int, int]:
        """What changes with every commit of another connection; needs the lock."""
        version = self._opened, self._data_version()
        file = _file_state(self._path)
        if file != self._file and version == self._version:
            # SQLite noticed nothing: another file was put in place of this one, or
            # copied over it.  A new connection has no pages of the old one
            self.conn = _open(self._path, self._immutable)
            self._opened += 1
            self._loaded.clear()
            version = self._opened, self._data_version()
        self._file = file
        return version

    def _data_version(self) -> int:
        return int(self.conn.execute("pragma data_version").fetchone()[0])

    def _load(self, collection_id: int, shape: Shape) -> _Loaded:
        state = snapshot(self.conn, collection_id)
        # Within the same second a row may go and come back, and leave no trace
        is_recent = (state[-1] or 0) >= time.time() - RECENT_S
        index = read_index(self.conn, collection_id, shape)
        return _Loaded(state, index, is_recent)

    def _forget_changed(self) -> None:
        for collection_id, loaded in list(self._loaded.items()):
            current = snapshot(self.conn, collection_id)
            if loaded.is_recent or current != loaded.state:
                self.forget(collection_id)

    def forget(self, collection_id: int) -> None:
        """Give up a matrix; whoever searches in it still may."""
        self._loaded.pop(collection_id, None)


@dataclass(frozen=True)
class _Loaded:
    """A matrix, and the numbers of its collection when it was read."""

    state: tuple[float | None, ...]
    index: VectorIndex
    is_recent: bool


class Indexes:
    """Every matrix of this process; the least used goes when memory is short."""

    def __init__(self, memory_limit_mb: int = DEFAULT_INDEX_MEMORY_MB) -> None:
        self.memory_limit_mb = memory_limit_mb
        self._lock = threading.Lock()
        self._owners: dict[tuple[str, bool], _Owner] = {}
        # The least used first, and how many bytes each takes
        self._sizes: OrderedDict[tuple[_Owner, int], int] = OrderedDict()

    def index(
        self, conn: sqlite3.Connection, collection_id: int, *, immutable: bool = False
    ) -> Index:
        """The matrix of a collection in the main database of *conn*.

        Changes that *conn* has not committed are not in it.  *immutable* opens the file
        as one that nobody changes, as Datasette does with ``-i``.
        """
        owner = self._owner_of(conn, immutable)
        if owner is None:
            # In memory: nobody else can open it, so it is read on its own connection
            return read_index(conn, collection_id, shape_of(conn, collection_id))
        index = owner.index(collection_id, self.memory_limit_mb * BYTES_PER_MB)
        if isinstance(index, VectorIndex):
            self._make_room(owner, collection_id, index.size)
        return index

    def state(
        self, conn: sqlite3.Connection, *, immutable: bool = False
    ) -> tuple[object, ...]:
        """What changes whenever the database of *conn* does."""
        owner = self._owner_of(conn, immutable)
        if owner is None:
            version = conn.execute("pragma data_version").fetchone()[0]
            return version, conn.total_changes
        with owner.lock:
            return owner.state(), conn.total_changes

    def _make_room(self, owner: _Owner, collection_id: int, size: int) -> None:
        """Note that a matrix was used; give up the least used beyond the limit."""
        with self._lock:
            self._sizes[owner, collection_id] = size
            self._sizes.move_to_end((owner, collection_id))
            while (
                len(self._sizes) > 1
                and sum(self._sizes.values()) > self.memory_limit_mb * BYTES_PER_MB
            ):
                (idle, idle_id), _size = self._sizes.popitem(last=False)
                idle.forget(idle_id)

    def _owner_of(self, conn: sqlite3.Connection, immutable: bool) -> _Owner | None:
        path = conn.execute("pragma database_list").fetchone()[2]
        if not path:
            return None
        key = os.path.realpath(path), immutable
        with self._lock:
            if key not in self._owners:
                self._owners[key] = _Owner(key[0], immutable=immutable)
            return self._owners[key]

    def close(self) -> None:
        """Let go of every file and matrix."""
        with self._lock:
            for owner in self._owners.values():
                with owner.lock:
                    owner.conn.close()
            self._owners.clear()
            self._sizes.clear()


def _file_state(path: str) -> tuple[int, ...]:
    """What changes when a file is written, or another takes its place.

    :raises DatabaseError: if it is gone.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DatabaseError(f"The database {path} cannot be read: {error}") from error
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _open(path: str, immutable: bool) -> sqlite3.Connection:
    flag = "immutable=1" if immutable else "mode=ro"
    # One thread at a time uses it, under its owner's lock, but not always the same
    return sqlite3.connect(
        f"{Path(path).as_uri()}?{flag}", uri=True, check_same_thread=False
    )


indexes = Indexes()
