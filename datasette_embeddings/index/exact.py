"""Exact indexes that follow their collections: only rows that are new are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.index import matrix
from datasette_embeddings.index.catching_up import MOST_NEW, current_numbers
from datasette_embeddings.index.documents import Numbers
from datasette_embeddings.index.matrix import CoarseMatrix, VectorIndex
from datasette_embeddings.index.reading import ReadRows, read_vectors
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.landmarks import (
    OF_VECTORS,
    OF_WORDS,
    first_new,
    landmarks,
)
from datasette_embeddings.store.numbered import (
    count_items_from,
    rowids_of,
    rows_from,
    sums_below,
)
from datasette_embeddings.vectors import Vectors


class _Part(NamedTuple):
    """Some rows of a collection, and those of them that can be compared."""

    rows: ReadRows
    ids: Sequence[str]
    vectors: Vectors
    numbers: Numbers


def read_exact(collection: StoredCollection) -> VectorIndex:
    """The index of *collection*, of all its vectors."""
    length, _count = collection.usual_vector_length()
    return _index(collection, _read(collection, length, None))


def followed(index: VectorIndex, collection: StoredCollection) -> VectorIndex | None:
    """*index* with what was committed to *collection* since; None to read all again.

    Rows below the first that may be new are those that the index has, unless they were
    deleted, or updated in place: their sums tell.
    """
    known, numbers = index.rows, index.numbers
    if known is None or numbers is None:
        return None
    first = first_new(collection, OF_VECTORS, known.of_vectors)
    end = int(np.searchsorted(known.rowids, first))
    kept, usable = _kept(collection, known, first, end), known.usable[:end]
    if kept is None or kept.sum() <= MOST_NEW * len(known.rowids):
        return None
    places, below = np.flatnonzero(kept[usable]), int(usable.sum())
    current = current_numbers(
        collection,
        known.rowids[:end][usable & kept],
        numbers[places],
        known.of_words,
        first=first,
        most=MOST_NEW * below,
    )
    new = _read(collection, known.length, first)
    if current is None or len(new.ids) > MOST_NEW * len(places):
        return None
    rows = ReadRows(
        np.append(known.rowids[:end][kept], new.rows.rowids),
        np.append(known.updated[:end][kept], new.rows.updated),
        np.append(usable[kept], new.rows.usable),
        known.length,
    )
    current = np.append(current, new.numbers)
    if (
        np.array_equal(known.rowids, rows.rowids)
        and np.array_equal(known.updated, rows.updated)
        and np.array_equal(numbers, current)
        and index.ids[below:] == new.ids
        and np.array_equal(index.vectors[below:], new.vectors)
    ):
        return index
    ids = [*map(index.ids.__getitem__, places.tolist()), *new.ids]
    vectors = np.concatenate([index.vectors[places], new.vectors])
    coarse = index.coarse and index.coarse.only(places).with_rows(new.vectors)
    return _index(collection, _Part(rows, ids, vectors, current), coarse)


def _read(collection: StoredCollection, length: int, first: int | None) -> _Part:
    """The rows of *collection* from the rowid *first* on, or all of them."""
    rowids, updated, ids = list[int](), list[object](), list[str]()
    numbers = list[int]()
    vectors, usable = read_vectors(
        rows_from(collection, first),
        [rowids, updated, ids, numbers],
        length,
        count_items_from(collection, first),
    )
    when = [each if isinstance(each, int | float) else 0 for each in updated]
    rows = ReadRows(
        np.array(rowids, np.int64), np.array(when, np.float64), usable, length
    )
    of_usable: Numbers = np.array(numbers, np.int64)[usable]
    return _Part(rows, list(compress(ids, usable)), vectors, of_usable)


def _index(
    collection: StoredCollection, part: _Part, coarse: CoarseMatrix | None = None
) -> VectorIndex:
    """The index of *part*, with what tells later which rows are new."""
    if coarse is None and len(part.ids) >= matrix.LARGE_ROWS:
        coarse = CoarseMatrix.of(part.vectors)
    count, words = collection.count_items(), np.unique(part.numbers)
    size = part.vectors.nbytes + len(part.ids) * matrix.BYTES_PER_ID
    return VectorIndex(
        part.ids,
        part.vectors,
        coarse,
        part.numbers,
        count,
        skipped=count - len(part.ids),
        size=size + (coarse.steps.nbytes if coarse else 0),
        rows=replace(
            part.rows,
            of_vectors=landmarks(collection, OF_VECTORS, part.rows.rowids),
            of_words=landmarks(
                collection, OF_WORDS, words[np.searchsorted(words, 1) :]
            ),
        ),
    )


def _kept(
    collection: StoredCollection, known: ReadRows, first: int, end: int
) -> NDArray[np.bool_] | None:
    """Which of the first *end* rows there still are; None if any is another one."""
    sums = sums_below(collection, first)
    kept = np.ones(end, bool)
    if sums[0] != end:
        kept = np.isin(known.rowids[:end], rowids_of(collection))
    rowids, updated = known.rowids[:end][kept], known.updated[:end][kept]
    own = len(rowids), rowids.sum(dtype=np.float64), updated.sum()
    return kept if own == sums else None
