"""A collection's vectors from SQLite: all at once, or in blocks for each search."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from datasette_embeddings.index.coarse import coarse_matrix
from datasette_embeddings.index.matrix import (
    BYTES_PER_ID,
    LARGE_ROWS,
    Keep,
    Score,
    VectorIndex,
    best_first,
    matrix_of,
)
from datasette_embeddings.store.embeddings import usual_vector_length, vector_rows

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector

# Rows that a scan holds in memory at a time: 6 MB of 384 dimensions
BLOCK_ROWS = 4_096


@contextmanager
def one_moment(conn: sqlite3.Connection) -> Iterator[None]:
    """A read transaction: all that is read within is of the same moment."""
    if conn.in_transaction:
        yield
        return
    conn.execute("begin")
    try:
        yield
    finally:
        conn.rollback()


@dataclass(frozen=True)
class Shape:
    """What most vectors of a collection are like: *length* in bytes, and how many."""

    length: int
    count: int

    @property
    def size(self) -> int:
        """About how many bytes the matrix takes, a coarse one included."""
        coarse = self.length // 4 if self.count >= LARGE_ROWS else 0
        return self.count * (self.length + coarse + BYTES_PER_ID)


def shape_of(conn: sqlite3.Connection, collection_id: int) -> Shape:
    """The shape of a collection as it is now."""
    return Shape(*usual_vector_length(conn, collection_id))


def read_index(
    conn: sqlite3.Connection, collection_id: int, shape: Shape
) -> VectorIndex:
    """The matrix of a collection as it is now, with a coarse one if it is large."""
    rows = vector_rows(conn, collection_id)
    index = matrix_of(rows, shape.length, shape.count)
    if len(index.ids) < LARGE_ROWS:
        return index
    return replace(index, coarse=coarse_matrix(index.vectors))


@dataclass(frozen=True)
class ScannedIndex:
    """A collection too large for memory: every search reads it, exactly, in blocks."""

    conn: sqlite3.Connection
    lock: threading.Lock
    collection_id: int

    is_scanned = True
    #: Not known before a scan, and of no use after it
    left_out = 0

    def nearest(
        self,
        vector: Vector,
        limit: int,
        *,
        min_score: float | None = None,
        without: str | None = None,
        keep: Keep | None = None,
    ) -> list[Score]:
        """As :meth:`VectorIndex.nearest`."""
        best: list[Score] = []
        with self.lock, one_moment(self.conn):
            length = shape_of(self.conn, self.collection_id).length
            rows = iter(vector_rows(self.conn, self.collection_id))
            while block := list(islice(rows, BLOCK_ROWS)):
                found = matrix_of(block, length, len(block)).nearest(
                    vector, limit, min_score=min_score, without=without, keep=keep
                )
                best = best_first([*best, *found], limit)
        return best
