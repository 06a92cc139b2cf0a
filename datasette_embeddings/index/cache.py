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
from pathlib import Path
from typing import TypeAlias

from datasette_embeddings.config import DEFAULT_INDEX_MEMORY_MB, IndexKind
from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.index import matrix
from datasette_embeddings.index.compact import CompactIndex, read_compact
from datasette_embeddings.index.matrix import VectorIndex
from datasette_embeddings.index.reading import read_index
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.items import is_recent
from datasette_embeddings.store.schema import one_moment
from datasette_embeddings.store.words_check import numbered_vectors

DATA_VERSION = "pragma data_version"
BYTES_PER_MB = 1_000_000


Index: TypeAlias = VectorIndex | CompactIndex


class _DatabaseIndexes:
    """The indexes of one database file, and the connection that reads them."""

    def __init__(self, path: str, *, immutable: bool) -> None:
        self._path = path
        flag = "immutable=1" if immutable else "mode=ro"
        self._uri = f"{Path(path).as_uri()}?{flag}"
        self._opened, self._changes = 1, 0
        self._file = self._file_state()
        self._version: tuple[int, int] | None = None
        # With the snapshot of the collection; None while rows may still change unseen
        self._loaded: dict[int, tuple[Collection, object, Index]] = {}
        self.lock = threading.RLock()
        self.conn = self._open()

    def index(
        self, collection: Collection, memory_limit: int, kind: IndexKind
    ) -> Index:
        """The index of *collection*, with everything that is committed by now."""
        with self.lock:
            version = self.version()
            if version != self._version:
                for each, state, _index in list(self._loaded.values()):
                    if (each.snapshot(), each.words_state()) != state:
                        self.evict(each.id)
                self._version = version
            # Another thread may evict it at any time
            loaded = self._loaded.get(collection.id)
            if loaded is None:
                own = collection.bound_to(self.conn)
                with one_moment(self.conn):
                    length, count = own.usual_vector_length()
                    vectors = own.snapshot()
                    state, items = (vectors, own.words_state()), int(vectors[0] or 0)
                    coarse = length // 4 if count >= matrix.LARGE_ROWS else 0
                    size = count * (length + coarse + matrix.BYTES_PER_ID)
                    is_compact = kind == "auto" and size > memory_limit
                    index: Index
                    if is_compact or kind == "compact":
                        index = read_compact(own, self.lock, length, items)
                    else:
                        index = read_index(numbered_vectors(own), length, items)
                loaded = own, None if is_recent(vectors) else state, index
                self._loaded[own.id] = loaded
            return loaded[2]

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
        return sqlite3.connect(self._uri, uri=True, check_same_thread=False)

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

    def index(self, collection: Collection, *, immutable: bool = False) -> Index:
        """The index of *collection*.

        Changes that its connection has not committed are not in it. *immutable* opens
        the file as one that no program changes, as Datasette does with ``-i``.
        """
        if not collection.path:
            # No other connection can open a database in memory
            length, _count = collection.usual_vector_length()
            rows, count = numbered_vectors(collection), collection.count_items()
            return read_index(rows, length, count)
        limit = self.memory_limit_mb * BYTES_PER_MB
        database = self._database(collection.path, immutable)
        kind = self.kinds.get(collection.name, self.kind)
        index = database.index(collection, limit, kind)
        key = database, collection.id
        with self._lock:
            self._sizes[key] = index.size
            self._sizes.move_to_end(key)
            while len(self._sizes) > 1 and sum(self._sizes.values()) > limit:
                (idle, idle_id), _size = self._sizes.popitem(last=False)
                idle.evict(idle_id)
        return index

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
