"""The indexes that this process keeps in memory, and how they stay fresh.

Each database file has a connection of its own: only one that writes nothing itself sees
every commit of the others in ``pragma data_version``. A collection that is too large
for memory is scanned: each search reads it in blocks.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from datasette_embeddings.config import DEFAULT_INDEX_MEMORY_MB
from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.index import matrix
from datasette_embeddings.index.matrix import Hit, Keep, VectorIndex, read_index
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.items import is_recent
from datasette_embeddings.store.schema import one_moment
from datasette_embeddings.store.words_check import numbered_vectors
from datasette_embeddings.vectors import Vector

DATA_VERSION = "pragma data_version"
BYTES_PER_MB = 1_000_000
# Rows that a scan holds in memory at a time: 6 MB of 384 dimensions
BLOCK_ROWS = 4_096


@dataclass(frozen=True)
class ScannedIndex:
    """A collection too large for memory: every search reads it, exactly, in blocks."""

    collection: Collection
    lock: threading.Lock
    #: The items of the collection
    count: int

    is_scanned = True
    #: Not known without a scan
    skipped = 0

    def nearest(
        self, vector: Vector, limit: int, *, keep: Keep | None = None
    ) -> list[Hit]:
        """As :meth:`VectorIndex.nearest`."""
        best: list[Hit] = []
        for block in self.blocks():
            hits = block.nearest(vector, limit, keep=keep)
            best = matrix.best_first([*best, *hits], limit)
        return best

    def blocks(self) -> Iterator[VectorIndex]:
        """All of it, a few thousand rows at a time; no document is in two of them."""
        with self.lock, one_moment(self.collection.conn):
            length, _count = self.collection.usual_vector_length()
            rows = numbered_vectors(self.collection)
            left = list[tuple[str, int, bytes]]()
            while some := list(islice(rows, BLOCK_ROWS)):
                block, (_id, last, _vector) = [*left, *some], some[-1]
                # Chunks of a document follow each other; of the last, some may be left
                end = len(block)
                while last and end and block[end - 1][1] == last:
                    end -= 1
                block, left = block[:end], block[end:]
                yield from read_index(iter(block), length, len(block)).blocks()
            yield from read_index(iter(left), length, len(left)).blocks()

    def average_cosine(self, vector: Vector) -> float:
        """About as :meth:`VectorIndex.average_cosine`: that of the first block."""
        with self.lock, one_moment(self.collection.conn):
            length, _count = self.collection.usual_vector_length()
            rows = islice(numbered_vectors(self.collection), BLOCK_ROWS)
            return read_index(rows, length, BLOCK_ROWS).average_cosine(vector)


Index: TypeAlias = VectorIndex | ScannedIndex


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
        self._loaded: dict[int, tuple[Collection, object, VectorIndex]] = {}
        self.lock = threading.Lock()
        self.conn = self._open()

    def index(self, collection: Collection, memory_limit: int) -> Index:
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
                    coarse = length // 4 if count >= matrix.LARGE_ROWS else 0
                    if count * (length + coarse + matrix.BYTES_PER_ID) > memory_limit:
                        return ScannedIndex(own, self.lock, own.count_items())
                    vectors = own.snapshot()
                    state = vectors, own.words_state()
                    rows, rows_count = numbered_vectors(own), int(vectors[0] or 0)
                    index = read_index(rows, length, rows_count)
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
        index = database.index(collection, limit)
        if isinstance(index, VectorIndex):
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
