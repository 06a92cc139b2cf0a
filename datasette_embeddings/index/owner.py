"""The one owner of all matrices of this process, and how they stay fresh.

It keeps a connection of its own to each database file: only one that writes nothing
itself learns from ``pragma data_version`` of every commit by others.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TypeAlias

from datasette_embeddings import store
from datasette_embeddings.config import DEFAULT_INDEX_MEMORY_MB
from datasette_embeddings.index.matrix import VectorIndex
from datasette_embeddings.index.reading import (
    ScannedIndex,
    estimated_size,
    one_moment,
    read_index,
)

Index: TypeAlias = VectorIndex | ScannedIndex
BYTES_PER_MB = 1_000_000


class _Owner:
    """The matrices of one database, and the connection that reads them."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.lock = threading.Lock()
        self._version: object = None
        self._loaded: dict[int, tuple[tuple[object, ...], VectorIndex]] = {}

    def index(self, collection_id: int, memory_limit: int) -> Index:
        """The matrix of a collection, with all that is committed by now."""
        with self.lock:
            version = self.data_version()
            if version != self._version:
                self._forget_changed()
                self._version = version
            if collection_id not in self._loaded:
                with one_moment(self.conn):
                    if estimated_size(self.conn, collection_id) > memory_limit:
                        return ScannedIndex(self.conn, self.lock, collection_id)
                    state = store.snapshot(self.conn, collection_id)
                    index = read_index(self.conn, collection_id)
                    self._loaded[collection_id] = state, index
            return self._loaded[collection_id][1]

    def data_version(self) -> object:
        """A number that changes with every commit of another connection."""
        return self.conn.execute("pragma data_version").fetchone()[0]

    def _forget_changed(self) -> None:
        for collection_id, (state, _index) in list(self._loaded.items()):
            if store.snapshot(self.conn, collection_id) != state:
                self.forget(collection_id)

    def forget(self, collection_id: int) -> None:
        """Give up a matrix; whoever searches in it still may."""
        self._loaded.pop(collection_id, None)


class Indexes:
    """Every matrix of this process; the least used goes when memory is short."""

    def __init__(self, memory_limit_mb: int = DEFAULT_INDEX_MEMORY_MB) -> None:
        self.memory_limit_mb = memory_limit_mb
        self._lock = threading.Lock()
        self._owners: dict[str, tuple[tuple[int, int], _Owner]] = {}
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
            return read_index(conn, collection_id)
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
            return id(owner), owner.data_version(), conn.total_changes

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
        real_path = os.path.realpath(path)
        status = os.stat(real_path)
        # A file that was replaced by another of the same name is another database
        identity = (status.st_dev, status.st_ino)
        with self._lock:
            known = self._owners.get(real_path)
            if known is not None and known[0] == identity:
                return known[1]
            # The old connection is not closed here: a search may still be using it
            owner = _Owner(_open(real_path, immutable))
            self._owners[real_path] = identity, owner
            return owner

    def close(self) -> None:
        """Let go of every file and matrix."""
        with self._lock:
            for _identity, owner in self._owners.values():
                with owner.lock:
                    owner.conn.close()
            self._owners.clear()
            self._sizes.clear()


def _open(path: str, immutable: bool) -> sqlite3.Connection:
    flag = "immutable=1" if immutable else "mode=ro"
    # One thread at a time uses it, under its owner's lock, but not always the same
    return sqlite3.connect(
        f"{Path(path).as_uri()}?{flag}", uri=True, check_same_thread=False
    )


indexes = Indexes()
