"""A collection's vectors as one matrix in memory, exact and never older than a search.

One process-wide owner, :data:`indexes`, keeps a matrix a collection and a connection of
its own a database file: only a connection that writes nothing itself learns from
``pragma data_version`` of every commit by others.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasette_embeddings import store
from datasette_embeddings.errors import DimensionMismatch
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    FLOAT32,
    normalize,
    normalize_in_place,
)

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors


@dataclass(frozen=True)
class Score:
    """An item and its cosine similarity to what was asked, -1 to 1."""

    id: str
    score: float


@dataclass(frozen=True)
class VectorIndex:
    """The vectors of one collection at one moment; rows of length 1, (n, d).

    *left_out* counts the rows that have no direction to compare: of another length than
    most, zero, or not finite.
    """

    ids: Sequence[str]
    vectors: Vectors
    left_out: int = 0

    def nearest(
        self,
        vector: Vector,
        limit: int,
        *,
        min_score: float | None = None,
        without: str | None = None,
    ) -> list[Score]:
        """The *limit* items closest to *vector*, best first, ties by id.

        The item *without* is left out, and so is all below *min_score*.

        :raises DimensionMismatch: if *vector* is not as long as the rows.
        """
        import numpy as np

        if limit < 1 or not len(self.ids):
            return []
        if len(vector) != self.vectors.shape[1]:
            raise DimensionMismatch(self.vectors.shape[1], len(vector))
        query = normalize(vector.astype(np.float32, copy=False))
        if not query.any():
            return []
        scores = self.vectors @ query  # (n,)
        # One more, for the item that may be left out
        wanted = min(limit + (without is not None), len(scores))
        # partition first: sorting all n scores costs more than the product
        worst = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        best = [
            Score(self.ids[row], max(-1.0, min(1.0, float(scores[row]))))
            for row in np.flatnonzero(scores >= worst).tolist()
            if self.ids[row] != without
        ]
        best.sort(key=lambda found: (-found.score, found.id))
        return [
            found
            for found in best[:limit]
            if min_score is None or found.score >= min_score
        ]


class _Owner:
    """The matrices of one database, and the connection that reads them."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._lock = threading.Lock()
        self._version: object = None
        self._loaded: dict[int, tuple[tuple[object, ...], VectorIndex]] = {}

    def index(self, collection_id: int) -> VectorIndex:
        """The matrix of a collection, with all that is committed by now."""
        with self._lock:
            version = self._data_version()
            if version != self._version:
                self._refresh()
                self._version = version
            if collection_id not in self._loaded:
                self._loaded[collection_id] = self._load(collection_id)
            return self._loaded[collection_id][1]

    def _data_version(self) -> object:
        """A number that changes with every commit of another connection."""
        return self._conn.execute("pragma data_version").fetchone()[0]

    def _refresh(self) -> None:
        """Forget the matrices whose rows are not what they were."""
        for collection_id, (snapshot, _index) in list(self._loaded.items()):
            if store.snapshot(self._conn, collection_id) != snapshot:
                del self._loaded[collection_id]

    def _load(self, collection_id: int) -> tuple[tuple[object, ...], VectorIndex]:
        # One read transaction: the numbers and the rows are of the same moment
        self._conn.execute("begin")
        try:
            snapshot = store.snapshot(self._conn, collection_id)
            return snapshot, _read_index(self._conn, collection_id)
        finally:
            self._conn.rollback()

    def close(self) -> None:
        self._conn.close()


class Indexes:
    """Every matrix of this process, by file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, tuple[tuple[int, int], _Owner]] = {}

    def index(
        self, conn: sqlite3.Connection, collection_id: int, *, immutable: bool = False
    ) -> VectorIndex:
        """The matrix of a collection in the main database of *conn*.

        Changes that *conn* has not committed are not in it.  *immutable* opens the file
        as one that nobody changes, as Datasette does with ``-i``.
        """
        path = conn.execute("pragma database_list").fetchone()[2]
        if not path:
            # In memory: nobody else can open it, so it is read afresh on its own
            # connection.  Those are small, and sqlite3 connections carry no cache.
            return _read_index(conn, collection_id)
        return self._owner(path, immutable).index(collection_id)

    def _owner(self, path: str, immutable: bool) -> _Owner:
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
                owner.close()
            self._owners.clear()


def _open(path: str, immutable: bool) -> sqlite3.Connection:
    flag = "immutable=1" if immutable else "mode=ro"
    # One thread at a time uses it, under its owner's lock, but not always the same
    return sqlite3.connect(
        f"{Path(path).as_uri()}?{flag}", uri=True, check_same_thread=False
    )


def _read_index(conn: sqlite3.Connection, collection_id: int) -> VectorIndex:
    import numpy as np

    length, count = store.usual_vector_length(conn, collection_id)
    ids: list[str] = []
    vectors = np.empty((count, length // BYTES_PER_NUMBER), dtype=FLOAT32)
    left_out = 0
    for item_id, blob in store.vector_rows(conn, collection_id):
        if blob is None or len(blob) != length or length % BYTES_PER_NUMBER:
            left_out += 1
            continue
        vectors[len(ids)] = np.frombuffer(blob, dtype=FLOAT32)
        ids.append(item_id)
    vectors = vectors[: len(ids)]
    usable = normalize_in_place(vectors)
    if not usable.all():
        left_out += int((~usable).sum())
        ids = [item_id for item_id, keep in zip(ids, usable, strict=True) if keep]
        vectors = vectors[usable]
    return VectorIndex(ids, vectors, left_out)


indexes = Indexes()
