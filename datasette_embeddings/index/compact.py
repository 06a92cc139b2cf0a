"""A collection too large for memory: one bit of each number of its vectors.

Each vector is taken from a center, because those of many models point the same way.
Two of them differ in the signs of ``angle / pi`` of their numbers, on average (Charikar
2002).  To count them takes 5 ms for a million vectors of 384 numbers, which are 48 MB.
The items that are most alike by that are read from SQLite and compared exactly.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import DimensionMismatchError
from datasette_embeddings.index.documents import (
    ROUNDING,
    Compared,
    Documents,
    Rows,
    Values,
)
from datasette_embeddings.index.matrix import (
    BY_MEANING,
    NO_DIRECTION,
    Filter,
    Hit,
    Keep,
    best_first,
)
from datasette_embeddings.index.reading import read_vectors
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.schema import rows_in
from datasette_embeddings.store.words_check import numbered_vectors
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    FLOAT32,
    Vector,
    Vectors,
    normalize,
)

#: Items that a search compares exactly, at least
CANDIDATES = 400
# Ids are looked for one by one if they are fewer than one in so many
FEW = 20
# Vectors that are read at a time while the index is made
BLOCK_ROWS = 4_096
# Items that tell the center, and those that measure the recall: their ten nearest are
# looked for exactly, too
SAMPLED, MEASURED, NEAREST = 1_024, 32, 10
#: Memory for an item beside its bits: rowid, document, its number
BYTES_PER_ITEM = 20


@dataclass(frozen=True)
class CompactIndex:
    """The signs of the vectors of a collection at one moment, by rowid: (n, d / 8)."""

    collection: Collection
    lock: threading.RLock = field(repr=False)
    #: In order, (n,)
    rowids: NDArray[np.int64]
    signs: NDArray[np.uint8]
    #: About the mean of the vectors, from which the signs are taken, (d,)
    center: Vector
    documents: Documents
    #: What :meth:`average_cosine` multiplies, (d,)
    mean: Vector
    count: int
    skipped: int
    #: The part of the nearest items that a search found, as measured
    recall: float = 1.0

    kind = "compact"
    spread = (4, CANDIDATES)
    slack = 0.3

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        return self.signs.nbytes + BYTES_PER_ITEM * len(self.rowids)

    def nearest(
        self, vector: Vector, limit: int, *, keep: Keep | None = None
    ) -> list[Hit]:
        """As :meth:`VectorIndex.nearest`, of the items that are most alike."""
        query = normalize(vector)
        if limit < 1 or not len(self.rowids) or not query.any():
            return []
        counts = self._differing(query)
        if keep is not None:
            counts[~self.passing(keep)] = len(query) + 1
        # Counting is faster than to look for the place of the worst
        sums = np.cumsum(np.bincount(counts)[: len(query) + 1])
        most = int(np.searchsorted(sums, max(4 * limit, CANDIDATES)))
        rows = np.flatnonzero(counts <= min(most, len(query)))
        _rows, ids, cosines = self._read(rows, query)
        hits = (
            Hit(item_id, cosine, cosine=cosine, matched=BY_MEANING)
            for item_id, cosine in zip(ids, cosines.tolist(), strict=True)
            # Another item may have the rowid by now
            if keep is None or keep(item_id)
        )
        return best_first(hits, limit)

    def passing(self, keep: Keep | None) -> NDArray[np.bool_]:
        """Which rows are of items that *keep* accepts, (n,)."""
        if keep is None:
            return np.ones(len(self.rowids), bool)
        sql = """
            select rowid, id
            from embeddings
            where collection_id = ?
            and typeof(id) = 'text'
        """
        only = keep.only if isinstance(keep, Filter) else None
        with self.lock:
            conn, own = self.collection.conn, [self.collection.id]
            if only is not None and len(only) <= len(self.rowids) // FEW:
                found = [*rows_in(conn, f"{sql} and id in", own, list(only))]
            else:
                found = [row for row in conn.execute(sql, own) if keep(row[1])]
        return np.isin(self.rowids, [rowid for rowid, _id in found])

    def cosines(
        self, vector: Vector, *, is_exact: bool = False
    ) -> tuple[Vector, float]:
        """About the cosine of each row to *vector*, (n,), and 0: no error is known."""
        counts, center = self._differing(vector), self.center
        angles = np.linspace(0, math.pi, len(vector) + 1, dtype=np.float32)
        # As if the vectors were equally far from the center
        distance = math.sqrt(max(0.0, 1 - float(center @ center)))
        distance *= float(np.linalg.norm(vector - center))
        cosines: Vector = np.cos(angles) * np.float32(distance)
        return (cosines + np.float32(center @ vector))[counts], 0.0

    def _differing(self, vector: Vector) -> NDArray[np.uint16]:
        """How many signs of each row are not those of *vector*, (n,)."""
        import simsimd

        if len(vector) != len(self.mean):
            raise DimensionMismatchError(len(self.mean), len(vector))
        if not len(self.rowids):
            return np.empty(0, np.uint16)
        signs = signs_of(vector[None], self.center)
        counts = simsimd.cdist(signs, self.signs, "hamming", dtype="bin8")
        differing: NDArray[np.uint16] = np.asarray(counts)[0].astype(np.uint16)
        return differing

    def average_cosine(self, vector: Vector) -> float:
        """As :meth:`VectorIndex.average_cosine`."""
        if len(vector) != len(self.mean):
            raise DimensionMismatchError(len(self.mean), len(vector))
        return float(self.mean @ vector)

    def compared(self, rows: Rows, vector: Vector) -> Compared:
        """As :meth:`VectorIndex.compared`, reading the vectors from SQLite.

        Rows whose items were deleted meanwhile are left out.
        """
        has_chunks = self.documents.has_chunks
        rows = self.documents.relatives(rows) if has_chunks else rows
        rows, ids, cosines = self._read(rows, vector)
        means = self.documents.means(cosines, rows) if has_chunks else cosines
        return Compared(rows, ids, cosines, means)

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


def signs_of(vectors: Vectors, center: Vector) -> NDArray[np.uint8]:
    """A bit for each number of *vectors*: whether it is above *center*: (n, d / 8)."""
    return np.packbits(vectors > center, axis=1)


def read_compact(
    collection: Collection, lock: threading.RLock, length: int, count: int
) -> CompactIndex:
    """The compact index of *collection*, of *count* items with vectors of *length*."""
    dimensions = length // BYTES_PER_NUMBER
    rowids, numbers = np.empty(count, np.int64), np.empty(count, np.int64)
    signs = np.empty((count, -(-dimensions // 8)), np.uint8)
    total, end = np.zeros(dimensions), 0
    sample = _sample(collection, length, count)
    center = sample.sum(axis=0) / max(1, len(sample))
    sample = sample[:: max(1, len(sample) // MEASURED)][:MEASURED].copy()
    best = np.full((len(sample), NEAREST), -np.inf, np.float32)
    rows = numbered_vectors(collection, "rowid")
    while block := list(islice(rows, BLOCK_ROWS)):
        of_block: tuple[list[int], list[int]] = [], []
        vectors, usable = read_vectors(iter(block), of_block, length, len(block))
        some = slice(end, end + len(vectors))
        rowids[some] = np.array(of_block[0], np.int64)[usable]
        numbers[some] = np.array(of_block[1], np.int64)[usable]
        signs[some] = signs_of(vectors, center)
        total += vectors.sum(axis=0)
        end += len(vectors)
        if not len(sample):
            # Those that were chosen cannot be compared
            sample = vectors[:MEASURED].copy()
            best = np.full((len(sample), NEAREST), -np.inf, np.float32)
        best = np.concatenate([best, sample @ vectors.T], axis=1)
        best = np.partition(best, -NEAREST, axis=1)[:, -NEAREST:]
    order = np.argsort(rowids[:end], kind="stable")
    index = CompactIndex(
        collection,
        lock,
        rowids[order],
        signs[order],
        center,
        Documents.of(numbers[order]),
        (total / (end + NO_DIRECTION)).astype(np.float32),
        count,
        count - end,
    )
    found = [
        sum(hit.score >= least - ROUNDING for hit in index.nearest(vector, NEAREST))
        for vector, least in zip(sample, best.min(axis=1, initial=np.inf), strict=True)
    ]
    return replace(index, recall=float(np.mean(found or 1)) / min(NEAREST, end or 1))


def _sample(collection: Collection, length: int, count: int) -> Vectors:
    """Up to ``SAMPLED`` vectors from all over *collection*, which has *count* items.

    The first ones may be the chunks of one document, or copies of each other.
    """
    rows = collection.conn.execute(
        """
        select embedding
        from embeddings
        where typeof(embedding) = 'blob'
        and rowid in (
          select rowid
          from (
            select rowid, row_number() over (order by id) as number
            from embeddings
            where collection_id = ?
          )
          where number % ? = 0
        )
        limit ?
        """,
        [collection.id, max(1, count // SAMPLED), SAMPLED],
    )
    return read_vectors(rows, [], length, SAMPLED)[0]
