"""The indexes that this process keeps in memory, and how they stay fresh.

Each database file has a connection of its own: only one that writes nothing itself sees
every commit of the others in ``pragma data_version``. A collection whose vectors are
too large for memory has a compact index.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from datasette_embeddings import memory
from datasette_embeddings.config import DEFAULT_INDEX_MEMORY_MB, IndexKind, Settings
from datasette_embeddings.databases import BUSY_TIMEOUT_S, WRITERS
from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.index import matrix
from datasette_embeddings.index.building import read_compact
from datasette_embeddings.index.catching_up import caught_up, restored, save_compact
from datasette_embeddings.index.compact import CompactIndex
from datasette_embeddings.index.exact import followed, read_exact
from datasette_embeddings.index.matrix import VectorIndex
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.compact_index import SavedIndex
from datasette_embeddings.store.schema import one_moment
from datasette_embeddings.vectors import BYTES_PER_NUMBER

#: Of fewer items an index is as soon read from their vectors
LEAST_SAVED = 20_000
DATA_VERSION = "pragma data_version"
BYTES_PER_MB = 1_000_000


Index: TypeAlias = VectorIndex | CompactIndex


def exact_size(count: int, length: int) -> int:
    """The bytes of an exact index of *count* vectors of *length* bytes, nearly."""
    coarse = length // 4 if count >= matrix.LARGE_ROWS else 0
    return count * (length + coarse + matrix.BYTES_PER_ID)


@dataclass(frozen=True)
class _Loaded:
    """An index, and the version of the file that it is of."""

    version: tuple[int, int]
    index: Index

    def current(self, collection: StoredCollection) -> Index | None:
        """The index with what was committed since; None if it has to be read again."""
        if isinstance(self.index, CompactIndex):
            return caught_up(replace(self.index, collection=collection))
        return followed(self.index, collection)


class _DatabaseIndexes:
    """The indexes of one database file, and the connection that reads them."""

    def __init__(self, path: str, *, immutable: bool) -> None:
        self._path = path
        flag = "immutable=1" if immutable else "mode=ro"
        self._uri = f"{Path(path).as_uri()}?{flag}"
        self._opened, self._changes = 1, 0
        self._file = self._file_state()
        self._loaded: dict[int, _Loaded] = {}
        self.lock = threading.RLock()
        self.conn = self._open()

    def index(
        self, collection: StoredCollection, memory_limit: int, kind: IndexKind
    ) -> Index:
        """The index of *collection*, with everything that is committed by now."""
        with self.lock:
            version = self.version()
            # Another thread may evict it at any time
            loaded = self._loaded.get(collection.id)
            if loaded is not None and loaded.version == version:
                return loaded.index
            own = collection.bound_to(self.conn)
            with one_moment(self.conn):
                index = None if loaded is None else loaded.current(own)
                if index is None:
                    index = self._read(own, memory_limit, kind)
                    memory.release()
            self._loaded[own.id] = _Loaded(version, index)
            return index

    def _read(
        self, collection: StoredCollection, memory_limit: int, kind: IndexKind
    ) -> Index:
        """The index of *collection*."""
        length = BYTES_PER_NUMBER * (collection.dimensions or 0)
        size = exact_size(collection.count_items(), length)
        if kind == "compact" or (kind == "auto" and size > memory_limit):
            saved = restored(collection, self.lock) if collection.has_compact else None
            return saved or read_compact(collection, self.lock)
        return read_exact(collection)

    def version(self) -> tuple[int, int]:
        """What changes with every commit of another connection; needs the lock."""
        (changes,) = self.conn.execute(DATA_VERSION).fetchone()
        file = self._file_state()
        if file != self._file and changes == self._changes:
            # SQLite noticed nothing: another file was put in place of this one, or
            # copied over it. A new connection has no pages of the old one
            self.conn = self._open()
            self._loaded.clear()
            self._opened += 1
            (changes,) = self.conn.execute(DATA_VERSION).fetchone()
        self._file, self._changes = file, changes
        return self._opened, changes

    def evict(self, collection_id: int) -> None:
        """Forget an index; a search that is using it can go on."""
        self._loaded.pop(collection_id, None)

    def _open(self) -> sqlite3.Connection:
        # One thread at a time uses it, under the lock, but not always the same
        return sqlite3.connect(
            self._uri, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False
        )

    def _file_state(self) -> tuple[int, ...]:
        """Numbers that change when the file is written, or another takes its place."""
        try:
            status = os.stat(self._path)
        except OSError as error:
            raise DatabaseError(
                f"The database {self._path} cannot be read: {error}"
            ) from error
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class Indexes:
    """Every index of this process; the least recently used go when memory is short."""

    def __init__(self, memory_limit_mb: int = DEFAULT_INDEX_MEMORY_MB) -> None:
        self.memory_limit_mb = memory_limit_mb
        #: The kind of index, and that of collections that have their own, by name
        self.kind: IndexKind = "auto"
        self.kinds: Mapping[str, IndexKind] = {}
        self._lock = threading.Lock()
        self._databases: dict[tuple[str, bool], _DatabaseIndexes] = {}
        # Bytes, the least recently used first
        self._sizes: OrderedDict[tuple[_DatabaseIndexes, int], int] = OrderedDict()

    def configure(self, settings: Settings) -> None:
        """Use the memory and the kinds of index of *settings*."""
        self.memory_limit_mb, self.kind = settings.index_memory_mb, settings.index
        declared = settings.collections.items()
        self.kinds = {name: each.index for name, each in declared if each.index}

    def index(self, collection: StoredCollection, *, immutable: bool = False) -> Index:
        """The index of *collection*.

        Changes that its connection has not committed are not in it. *immutable* opens
        the file as one that no program changes, as Datasette does with ``-i``.
        """
        if not collection.path:
            # No other connection can open a database in memory
            return read_exact(collection)
        limit = self.memory_limit_mb * BYTES_PER_MB
        database = self._database(collection.path, immutable)
        kind = self.kinds.get(collection.name, self.kind)
        try:
            index = database.index(collection, limit, kind)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            # Once more, while no thread of this process writes
            with WRITERS[collection.path]:
                index = database.index(collection, limit, kind)
        key = database, collection.id
        with self._lock:
            self._sizes[key] = index.size
            self._sizes.move_to_end(key)
            while len(self._sizes) > 1 and sum(self._sizes.values()) > limit:
                (idle, idle_id), _size = self._sizes.popitem(last=False)
                idle.evict(idle_id)
        return index

    def save(self, collection: StoredCollection) -> None:
        """Save the compact index of *collection*, if it needs one or has one.

        One that lacks few rows stays as it is.  Only the setting ``exact`` deletes it,
        because a server may have less memory than the run that saves.
        """
        kind = self.kinds.get(collection.name, self.kind)
        length = BYTES_PER_NUMBER * (collection.dimensions or 0)
        size = exact_size(collection.count_items(), length)
        limit = self.memory_limit_mb * BYTES_PER_MB
        if kind == "exact":
            SavedIndex(collection).delete()
        elif kind == "compact" or size > limit or collection.has_compact:
            save_compact(collection)

    def state(
        self, conn: sqlite3.Connection, path: str, *, immutable: bool = False
    ) -> tuple[object, ...]:
        """A value that changes whenever the database of *conn*, at *path*, does.

        It also changes when *conn*, which sees no changes while it runs a statement,
        sees them afterwards.
        """
        (seen,) = conn.execute(DATA_VERSION).fetchone()
        if not path:
            return seen, conn.total_changes
        database = self._database(path, immutable)
        with database.lock:
            return seen, database.version(), conn.total_changes

    def _database(self, path: str, immutable: bool) -> _DatabaseIndexes:
        key = os.path.realpath(path), immutable
        with self._lock:
            if key not in self._databases:
                self._databases[key] = _DatabaseIndexes(key[0], immutable=immutable)
            return self._databases[key]

    def close(self) -> None:
        """Close every file and forget every index."""
        with self._lock:
            for database in self._databases.values():
                with database.lock:
                    database.conn.close()
            self._databases.clear()
            self._sizes.clear()


indexes = Indexes()
