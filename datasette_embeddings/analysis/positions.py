"""The documents of a collection on an axis, or on two that make a map.

The position of a document in chunks is the mean of those of its chunks.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np

from datasette_embeddings.analysis.axes import Axis
from datasette_embeddings.errors import DimensionMismatchError
from datasette_embeddings.index.cache import Index, indexes
from datasette_embeddings.index.compact import CompactIndex
from datasette_embeddings.index.documents import Documents, Numbers, Rows, best_rows
from datasette_embeddings.index.matrix import Hit, Keep, VectorIndex
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.store.chunks import DOCUMENT, items_with_chunks, stored_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector

# Rows that are compared exactly at a time, and of which as many are equally far
BLOCK_ROWS = 4_096
# Documents whose titles are read at a time
BATCH = 500


@dataclass(frozen=True)
class Position:
    """A document, and where it is: on an axis, or on two."""

    id: str
    position: float
    #: On the second axis; None if there is one only
    position2: float | None = None


@dataclass(frozen=True)
class PlacedDocument:
    """A document of a collection, and its *position* on an axis.

    The low end is at -1, the high end at 1.
    """

    match: Match
    position: float
    #: On the second axis; None if there is one only
    position2: float | None = None


class Positions:
    """The positions of all documents on one axis or two, or of those that *keep* takes.

    *index* is that of the collection, where the caller has it already. One product of
    it is made for each axis; the positions that are returned are then exact.
    """

    def __init__(
        self,
        collection: StoredCollection,
        axes: Sequence[Axis],
        *,
        keep: Keep | None = None,
        index: Index | None = None,
    ) -> None:
        self._collection, self._axes = collection, axes
        self._index = with_documents(collection, index or indexes.index(collection))
        # About the cosine of each row with each axis, (n,)
        self._cosines = [self._cosines_with(axis) for axis in axes]
        #: One row of each document
        self._rows = self._one_of_each(keep)

    def __len__(self) -> int:
        return len(self._rows)

    def ends(self, limit: int) -> list[Position]:
        """The *limit* lowest on the first axis and the *limit* highest, in order."""
        cosines = self._cosines[0][self._rows]
        rows = np.union1d(self._best(-cosines, limit), self._best(cosines, limit))
        found = self._exact(rows)
        if len(found) <= 2 * limit:
            return found
        return found[:limit] + found[-limit:]

    def ranges(self) -> list[tuple[float, float]]:
        """The lowest and highest position on each axis, nearly; of none -1 and 1."""
        found = []
        for axis, cosines in zip(self._axes, self._cosines, strict=True):
            own = cosines[self._rows] * axis.scale
            pair = (float(own.min()), float(own.max())) if len(own) else (-1.0, 1.0)
            found.append(pair)
        return found

    def near(self, *at: float, limit: int) -> list[Position]:
        """The *limit* documents nearest to a position, or to a point of the map."""
        places = zip(at, self._axes, self._cosines, strict=True)
        squares = sum(
            ((cosines[self._rows] - place / axis.scale) * axis.scale) ** 2
            for place, axis, cosines in places
        )
        found = self._exact(self._best(-np.asarray(squares), limit))

        def distance(one: Position) -> tuple[float, str]:
            pair = zip(at, (one.position, one.position2 or 0.0), strict=False)
            return sum((place - own) ** 2 for place, own in pair), one.id

        return _in_order(sorted(found, key=distance)[:limit])

    def sample(self, count: int) -> list[Position]:
        """A fair sample of *count* documents, the same at each call; in order."""
        rows = self._rows
        if count < len(rows):
            chosen = np.random.default_rng(0).choice(len(rows), count, replace=False)
            rows = rows[np.sort(chosen)]
        return self._exact(rows)

    def all(self) -> list[Position]:
        """Every document, in order."""
        return self._exact(self._rows)

    def _cosines_with(self, axis: Axis) -> Vector:
        index = self._index
        if not len(index.documents.of_rows):
            return np.empty(0, np.float32)
        if isinstance(index, VectorIndex):
            expected, found = index.vectors.shape[1], len(axis.direction)
            if expected != found:
                raise DimensionMismatchError(expected, found)
        cosines, _error = index.cosines(axis.direction, is_exact=True)
        if index.documents.has_chunks:
            cosines = index.documents.means(cosines)
        return cosines

    def _one_of_each(self, keep: Keep | None) -> Rows:
        rows = np.flatnonzero(self._index.passing(keep))
        if not self._index.documents.has_chunks:
            return rows
        _documents, first = np.unique(
            self._index.documents.of_rows[rows], return_index=True
        )
        return rows[np.sort(first)]

    def _best(self, values: Vector, limit: int) -> Rows:
        """Rows that include the *limit* greatest of *values*, one for each document."""
        times, fewest = self._index.spread
        places = best_rows(values, max(times * limit, fewest))
        if len(places) > BLOCK_ROWS:
            # Thousands are equally far: of these, any will do
            order = np.argsort(-values[places], kind="stable")
            places = places[order[: max(BLOCK_ROWS, limit)]]
        return self._rows[places]

    def _exact(self, rows: Rows) -> list[Position]:
        """The documents of *rows*, compared exactly, in order."""
        found: list[Position] = []
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            columns = [dict(self._exact_on(axis, block)) for axis in self._axes]
            ids = [each for each in columns[0] if all(each in c for c in columns)]
            documents = self._documents_of(ids)
            found += [
                Position(documents[each], *(column[each] for column in columns))
                for each in ids
            ]
        return _in_order(found)

    def _exact_on(self, axis: Axis, rows: Rows) -> Iterator[tuple[str, float]]:
        """The item of each of *rows* that is still there, and its document's place."""
        compared = self._index.compared(rows, axis.direction)
        # With those of a document come all of its rows
        is_asked = np.isin(compared.rows, rows)
        places = (compared.means * axis.scale).tolist()
        for item_id, place, is_own in zip(
            compared.ids, places, is_asked.tolist(), strict=True
        ):
            if is_own:
                yield item_id, place

    def _documents_of(self, ids: Sequence[str]) -> dict[str, str]:
        """The document of each of *ids*."""
        documents = dict(zip(ids, ids, strict=True))
        for item_id, chunk in stored_chunks(self._collection, ids).items():
            documents[item_id] = chunk.document_id
        return documents


def place_documents(
    collection: StoredCollection,
    axis: Axis,
    *,
    limit: int | None,
    keep: Keep | None = None,
) -> list[PlacedDocument]:
    """The *limit* lowest documents of *collection* and the *limit* highest, in order.

    All of them, if *limit* is None; only those that *keep* takes.
    """
    positions = Positions(collection, [axis], keep=keep)
    found = positions.all() if limit is None else positions.ends(limit)
    return placed_documents(collection, found)


def placed_documents(
    collection: StoredCollection, found: Sequence[Position]
) -> list[PlacedDocument]:
    """The documents *found* with their titles; without those of deleted rows."""
    documents = []
    for start in range(0, len(found), BATCH):
        some = found[start : start + BATCH]
        hits = [Hit(each.id, each.position) for each in some]
        documents += [
            PlacedDocument(match, each.position, each.position2)
            for each, match in zip(some, matches(collection, hits), strict=True)
            if not match.row_is_missing
        ]
    return documents


def _in_order(found: Iterable[Position]) -> list[Position]:
    """*found* from the low end to the high one, ties by id."""
    return sorted(found, key=attrgetter("position", "id"))


# Documents of chunks


#: Of collections without a words index, which says what is a chunk of what: the index,
#: and the number of each row's document
_numbers: dict[tuple[str, int], tuple[weakref.ref[Any], Numbers]] = {}
_lock = threading.Lock()


def with_documents(collection: StoredCollection, index: Index) -> Index:
    """*index* with the documents of its rows, also where no words are indexed.

    The chunks of a collection are read once for each state of it.
    """
    if collection.has_words or not collection.has_chunks:
        return index
    key = collection.path, collection.id
    with _lock:
        known, numbers = _numbers.get(key, (None, None))
    if known is None or numbers is None or known() is not index:
        numbers = _read_numbers(collection, index)
        with _lock:
            _numbers[key] = weakref.ref(index), numbers
    if isinstance(index, CompactIndex):
        return replace(index, numbers=numbers, documents=Documents.of(numbers))
    return replace(index, numbers=numbers)


def _read_numbers(collection: StoredCollection, index: Index) -> Numbers:
    """A number for the document of each row, 0 for a row that is no chunk."""
    column, keys = "id", getattr(index, "ids", ())
    if isinstance(index, CompactIndex):
        column, keys = "rowid", index.rowids.tolist()
    rows = collection.conn.execute(
        f"""
        select embeddings.{column}, {DOCUMENT}
        {items_with_chunks(collection)}
        and chunks.document_id is not null
        """
    )
    documents = dict(rows.fetchall())
    number_of = {each: n for n, each in enumerate(dict.fromkeys(documents.values()), 1)}
    numbers = (number_of.get(documents.get(key), 0) for key in keys)
    return np.fromiter(numbers, np.int64)
