"""Compact indexes, made of all vectors of a collection."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.index.compact import CompactIndex, signs_of
from datasette_embeddings.index.documents import ROUNDING, Documents, Numbers, small
from datasette_embeddings.index.matrix import NO_DIRECTION
from datasette_embeddings.index.reading import read_vectors
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.compact_index import Block, IndexFacts
from datasette_embeddings.store.landmarks import OF_VECTORS, OF_WORDS, landmarks
from datasette_embeddings.store.numbered import numbered_vectors, odd_items
from datasette_embeddings.vectors import BYTES_PER_NUMBER, Vector, Vectors

# Vectors that are read at a time
BLOCK_ROWS = 4_096
LOWEST = -(2**63)
# Items that tell the center, and those that measure the recall: their ten nearest are
# looked for exactly, too
SAMPLED, MEASURED, NEAREST = 1_024, 32, 10


@dataclass(frozen=True)
class ItemsBlock:
    """Some items of a collection that can be compared, and the rowids of the others."""

    rowids: NDArray[np.int64]
    numbers: Numbers
    vectors: Vectors
    left_out: NDArray[np.int64]


def blocks(rows: Iterator[tuple[Any, ...]], length: int) -> Iterator[ItemsBlock]:
    """The items of *rows* of numbered_vectors(), with vectors of *length* bytes."""
    while some := list(islice(rows, BLOCK_ROWS)):
        columns: tuple[list[int], list[int]] = [], []
        vectors, usable = read_vectors(iter(some), columns, length, len(some))
        rowids, numbers = np.array(columns, np.int64)
        yield ItemsBlock(rowids[usable], numbers[usable], vectors, rowids[~usable])


def read_compact(collection: StoredCollection, lock: threading.RLock) -> CompactIndex:
    """The compact index of *collection*, of the vectors of the usual length."""
    count = collection.count_items()
    sample, length = _sample(collection, count)
    dimensions = length // BYTES_PER_NUMBER
    rowids, numbers = np.empty(count, np.int64), np.empty(count, np.int64)
    signs = np.empty((count, -(-dimensions // 8)), np.uint8)
    total, end, left_out = np.zeros(dimensions), 0, [np.empty(0, np.int64)]
    center: Vector = sample.sum(axis=0) / np.float32(max(1, len(sample)))
    measure = _Measure(sample[:: max(1, len(sample) // MEASURED)][:MEASURED].copy())
    # In the order of rowids, in which they are in the file
    for block in blocks(numbered_vectors(collection, "rowid", LOWEST), length):
        some = slice(end, end + len(block.rowids))
        rowids[some], numbers[some] = block.rowids, block.numbers
        signs[some] = signs_of(block.vectors, center)
        total += block.vectors.sum(axis=0)
        end = some.stop
        left_out.append(block.left_out)
        measure.compare(block.vectors)
    if end + sum(map(len, left_out)) < count:
        left_out.append(np.array(odd_items(collection, LOWEST), np.int64))
    mean = (total / (end + NO_DIRECTION)).astype(np.float32)
    facts = IndexFacts(center, mean, np.concatenate(left_out), end, 1.0, {}, {})
    rows = rowids[:end], numbers[:end], signs[:end]
    index = replace(index_of(collection, lock, facts, rows), count=count)
    facts = replace(index.facts, recall=measure.recall(index))
    return with_landmarks(replace(index, facts=facts))


def index_of(
    collection: StoredCollection, lock: threading.RLock, facts: IndexFacts, rows: Block
) -> CompactIndex:
    """The compact index of *rows*, which are those of *facts*."""
    rowids, numbers, signs = small(rows[0]), small(rows[1]), rows[2]
    documents, deleted = Documents.of(numbers), np.zeros(len(rowids), bool)
    return CompactIndex(
        collection, lock, facts, rowids, numbers, [signs], documents, deleted
    )


def with_landmarks(index: CompactIndex) -> CompactIndex:
    """*index*, and what tells it later from which rows on there are new ones."""
    documents = index.documents.numbers
    documents = documents[np.searchsorted(documents, 1) :]
    facts = replace(
        index.facts,
        rows=len(index.rowids),
        of_vectors=landmarks(index.collection, OF_VECTORS, index.rowids),
        of_words=landmarks(index.collection, OF_WORDS, documents),
    )
    return replace(index, facts=facts)


class _Measure:
    """Which part of the nearest of a *sample* of vectors a compact index finds."""

    def __init__(self, sample: Vectors) -> None:
        self._take(sample)

    def _take(self, sample: Vectors) -> None:
        self.sample = sample
        self.best = np.full((len(sample), NEAREST), -np.inf, np.float32)

    def compare(self, vectors: Vectors) -> None:
        """Look for nearer ones among *vectors*."""
        if not len(self.sample):
            # Those that were chosen cannot be compared
            self._take(vectors[:MEASURED].copy())
        best = np.concatenate([self.best, self.sample @ vectors.T], axis=1)
        self.best = np.partition(best, -NEAREST, axis=1)[:, -NEAREST:]

    def recall(self, index: CompactIndex) -> float:
        """The part of the nearest that *index* finds."""
        least = self.best.min(axis=1, initial=np.inf)
        found = [
            sum(hit.score >= lowest - ROUNDING for hit in index.nearest(each, NEAREST))
            for each, lowest in zip(self.sample, least, strict=True)
        ]
        return float(np.mean(found or 1)) / min(NEAREST, len(index.rowids) or 1)


def _sample(collection: StoredCollection, count: int) -> tuple[Vectors, int]:
    """Up to ``SAMPLED`` vectors from all over *collection*, of *count* items.

    With them, the length in bytes that most have.  The first items would not do: they
    may be the chunks of one document, or copies of each other.
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
    ).fetchall()
    lengths = Counter(len(blob) for (blob,) in rows)
    usable = [each for each in lengths if each and each % BYTES_PER_NUMBER == 0]
    length = max(usable, key=lengths.__getitem__, default=0)
    return read_vectors(iter(rows), [], length, len(rows))[0], length
