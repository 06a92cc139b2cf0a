"""A collection too large for memory: one bit of each number of its vectors.

Each vector is taken from a center, because those of many models point the same way.
Two of them differ in the signs of ``angle / pi`` of their numbers, on average (Charikar
2002).  To count them takes 5 ms for a million vectors of 384 numbers, which are 48 MB.
The items that are most alike by that are read from SQLite and compared exactly.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import DimensionMismatchError
from datasette_embeddings.index.documents import (
    Compared,
    Documents,
    Numbers,
    Rows,
    Values,
    places_of,
)
from datasette_embeddings.index.matrix import BY_MEANING, Filter, Hit, Keep, best_first
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.compact_index import Block, IndexFacts
from datasette_embeddings.store.schema import rows_in
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    FLOAT32,
    Vector,
    Vectors,
    normalize,
)

#: Items that a search compares exactly, at least
CANDIDATES = 400
# Vectors that are read at a time where thousands are equally alike
BLOCK_ROWS = 4_096
# Rows whose signs are counted at a time
SLICE = 65_536
#: Memory for an item beside its bits: rowid, number, document, whether it is deleted
BYTES_PER_ITEM = 13
# Of what a search reads, the part that may have been deleted
DELETED = 0.1


@dataclass(frozen=True)
class CompactIndex:
    """The signs of the vectors of a collection, and of what they are."""

    collection: StoredCollection
    lock: threading.RLock = field(repr=False)
    #: Center, mean, recall, and what tells how much of it is current
    facts: IndexFacts
    #: In order, (n,)
    rowids: Numbers
    #: The number of each row's document in the words index, (n,)
    numbers: Numbers
    #: In parts, of which each has (m, d / 8)
    signs: Sequence[NDArray[np.uint8]]
    documents: Documents
    #: Rows that are known to be deleted, (n,); they are marked as searches notice them
    deleted: NDArray[np.bool_]
    #: The items of the collection, skipped ones included
    count: int = 0

    kind = "compact"
    spread = (4, CANDIDATES)
    slack = 0.3

    @property
    def recall(self) -> float:
        """The part of the nearest items that a search finds, as measured."""
        return self.facts.recall

    @property
    def skipped(self) -> int:
        """How many items cannot be compared."""
        return len(self.facts.left_out)

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        return sum(e.nbytes for e in self.signs) + BYTES_PER_ITEM * len(self.rowids)

    def nearest(
        self, vector: Vector, limit: int, *, keep: Keep | None = None
    ) -> list[Hit]:
        """As :meth:`VectorIndex.nearest`, of the items that are most alike."""
        query = normalize(vector)
        if limit < 1 or not len(self.rowids) or not query.any():
            return []
        while True:
            rows = self._most_alike(query, limit, keep)
            found, ids, cosines = self._read(rows, query)
            if not self._marks_deleted(rows, found):
                break
        hits = (
            Hit(item_id, cosine, cosine=cosine, matched=BY_MEANING)
            for item_id, cosine in zip(ids, cosines.tolist(), strict=True)
            # Another item may have the rowid by now
            if keep is None or keep(item_id)
        )
        return best_first(hits, limit)

    def _most_alike(self, query: Vector, limit: int, keep: Keep | None) -> Rows:
        """The rows to compare exactly: those with the fewest other signs."""
        counts = self._differing(query)
        counts[~self.passing(keep)] = len(query) + 1
        # Counting is faster than to look for the place of the worst
        tally = np.zeros(len(query) + 2, np.intp)
        for each in _slices(len(counts)):
            tally += np.bincount(counts[each], minlength=len(tally))
        sums = np.cumsum(tally[:-1])
        most = int(np.searchsorted(sums, max(4 * limit, CANDIDATES)))
        return np.flatnonzero(counts <= min(most, len(query)))

    def passing(self, keep: Keep | None) -> NDArray[np.bool_]:
        """Which rows are of items that *keep* accepts, (n,)."""
        if keep is None:
            return ~self.deleted
        with self.lock:
            rowids = np.fromiter(self._passing(keep), np.int64)
        return self._are_among(rowids) & ~self.deleted

    def _passing(self, keep: Keep) -> Iterator[int]:
        """The rowids of items that *keep* accepts."""
        conn, own = self.collection.conn, [self.collection.id]
        sql = """
            select rowid, id
            from embeddings
            where collection_id = ?
            and typeof(id) = 'text'
        """
        only = keep.only if isinstance(keep, Filter) else None
        if only is not None:
            # In the order of the index, eight times as fast
            found = rows_in(conn, f"{sql} and id in", own, sorted(only))
        else:
            prefix = keep.prefix if isinstance(keep, Filter) else ""
            rows = conn.execute(f"{sql} and id >= ? order by id", [*own, prefix])
            found = takewhile(lambda row: row[1].startswith(prefix), rows)
        return (rowid for rowid, item_id in found if keep(item_id))

    def _are_among(self, rowids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the rowid of each row is one of *rowids*, (n,)."""
        among = np.zeros(len(self.rowids), bool)
        places, is_here = places_of(rowids, self.rowids)
        among[places[is_here]] = True
        return among

    def cosines(
        self, vector: Vector, *, is_exact: bool = False
    ) -> tuple[Vector, float]:
        """About the cosine of each row to *vector*, (n,), and 0: no error is known."""
        counts, center = self._differing(vector), self.facts.center
        angles = np.linspace(0, math.pi, len(vector) + 1, dtype=np.float32)
        # As if the vectors were equally far from the center
        distance = math.sqrt(max(0.0, 1 - float(center @ center)))
        distance *= float(np.linalg.norm(vector - center))
        cosines: Vector = np.cos(angles) * np.float32(distance)
        return (cosines + np.float32(center @ vector))[counts], 0.0

    def _differing(self, vector: Vector) -> NDArray[np.uint16]:
        """How many signs of each row are not those of *vector*, (n,)."""
        import simsimd

        if len(vector) != len(self.facts.mean):
            raise DimensionMismatchError(len(self.facts.mean), len(vector))
        own = signs_of(vector[None], self.facts.center)
        counts = np.empty(len(self.rowids), np.uint16)
        end = 0
        for part in self.signs:
            for each in _slices(len(part)):
                some = part[each]
                found = simsimd.cdist(own, some, "hamming", dtype="bin8")
                counts[end : end + len(some)] = np.asarray(found)[0]
                end += len(some)
        return counts

    def average_cosine(self, vector: Vector) -> float:
        """As :meth:`VectorIndex.average_cosine`."""
        if len(vector) != len(self.facts.mean):
            raise DimensionMismatchError(len(self.facts.mean), len(vector))
        return float(self.facts.mean @ vector)

    def compared(self, rows: Rows, vector: Vector) -> Compared:
        """As :meth:`VectorIndex.compared`, reading the vectors from SQLite.

        Rows whose items were deleted meanwhile are left out.
        """
        has_chunks = self.documents.has_chunks
        every = self.documents.relatives(rows) if has_chunks else rows
        found, ids, cosines = self._read(every, vector)
        means = self.documents.means(cosines, found) if has_chunks else cosines
        return Compared(
            found, ids, cosines, means, not self._marks_deleted(rows, found)
        )

    def _marks_deleted(self, rows: Rows, found: Rows) -> bool:
        """Whether so many of *rows* were deleted that a search has to start again.

        It can, because from then on all that are deleted are marked.  Another thread
        may have marked *rows* since they were chosen: they are missing all the same.
        """
        missing = np.setdiff1d(rows, found)
        if len(missing) <= DELETED * len(rows):
            return False
        self._look_for_deleted()
        self.deleted[missing] = True
        return True

    @property
    def block(self) -> Block:
        """Rowids, numbers and signs as they are saved."""
        return self.rowids, self.numbers, np.concatenate(self.signs)

    @property
    def surplus(self) -> int:
        """How many rows there are that were deleted."""
        return len(self.rowids) + self.skipped - self.count

    def without_deleted(self) -> CompactIndex:
        """The index without the rows that were deleted."""
        self._look_for_deleted()
        left = ~self.deleted
        rowids, numbers = self.rowids[left], self.numbers[left]
        return replace(
            self,
            facts=replace(self.facts, rows=len(rowids)),
            rowids=rowids,
            numbers=numbers,
            signs=[np.concatenate(self.signs)[left]],
            documents=Documents.of(numbers),
            deleted=np.zeros(len(rowids), bool),
        )

    def _look_for_deleted(self) -> None:
        """Mark all rows that were deleted."""
        sql = "select rowid from embeddings where collection_id = ?"
        with self.lock:
            left = self.collection.conn.execute(sql, [self.collection.id])
            rowids = np.fromiter((rowid for (rowid,) in left), np.int64)
        self.deleted[:] |= ~self._are_among(rowids)

    def _read(self, rows: Rows, vector: Vector) -> tuple[Rows, list[str], Values]:
        """Those of *rows* that are still there, their ids and cosines to *vector*."""
        # The plus: all items of the collection would be read
        sql = """
            select rowid, id, embedding
            from embeddings
            where +collection_id = ?
            and typeof(id) = 'text'
            and typeof(embedding) = 'blob'
            and rowid in
        """
        length = BYTES_PER_NUMBER * len(vector)
        kept, ids = np.zeros(len(rows), bool), list[str]()
        cosines = np.zeros(len(rows))
        # Where thousands are equally alike, not all vectors are held at once
        for start in range(0, len(rows), BLOCK_ROWS):
            rowids = self.rowids[rows[start : start + BLOCK_ROWS]].tolist()
            with self.lock:
                found = rows_in(self.collection.conn, sql, [self.collection.id], rowids)
                read = {row[0]: row for row in found if len(row[2]) == length}
            places = [n for n, each in enumerate(rowids, start) if each in read]
            items = [read[each] for each in rowids if each in read]
            ids += [item_id for _rowid, item_id, _blob in items]
            numbers = np.frombuffer(b"".join(row[2] for row in items), FLOAT32)
            vectors = normalize(numbers.reshape(len(items), len(vector)))
            kept[places] = True
            cosines[places] = np.einsum("ij,j->i", vectors, vector).clip(-1, 1)
        return rows[kept], ids, cosines[kept]


def _slices(count: int) -> Iterator[slice]:
    """All of *count* rows, so few at a time that what is made of them is small."""
    for start in range(0, count, SLICE):
        yield slice(start, start + SLICE)


def signs_of(vectors: Vectors, center: Vector) -> NDArray[np.uint8]:
    """A bit for each number of *vectors*: whether it is above *center*: (n, d / 8)."""
    return np.packbits(vectors > center, axis=1)
