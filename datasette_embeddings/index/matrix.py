"""The vectors of a collection as one matrix in memory, and the exact nearest of them.

The product of a large matrix with a vector takes as long as reading it from memory. A
copy in int8 has a quarter of the size, and the error of each of its scores has a bound,
so that it rules out most rows; the others are multiplied in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import DimensionMismatchError
from datasette_embeddings.index.documents import (
    ROUNDING,
    Compared,
    Documents,
    Numbers,
    Rows,
    best_rows,
)
from datasette_embeddings.index.reading import ReadRows
from datasette_embeddings.store.chunks import StoredChunk
from datasette_embeddings.vectors import BLOCK_ROWS, Vector, Vectors, normalize

#: Whether the item of that id may be found
Keep: TypeAlias = Callable[[str], bool]
# From this many rows on, the matrix no longer fits the cache of a processor
LARGE_ROWS = 20_000
# Gathering more than one row in so many costs more than the whole product
FEW = 20
# Memory for an item beside its vector: id, reference in a list, number, document
BYTES_PER_ID = 120
BY_MEANING = ("meaning",)
# Items without a direction that the average includes
NO_DIRECTION = 10
INT8_MAX = 127


@dataclass(frozen=True)
class Filter:
    """Accepts items by their ids."""

    accepts: Keep
    #: Those that it accepts, where they are known
    only: frozenset[str] | None = None
    #: How all of them begin
    prefix: str = ""

    def __call__(self, item_id: str) -> bool:
        return self.accepts(item_id)


@dataclass(frozen=True)
class Hit:
    """An item, its score, and its chunk where it is one of a document.

    By meaning, the score is the cosine (-1 to 1); in a ranking it is 0 to 1.
    """

    id: str
    score: float
    chunk: StoredChunk | None = None
    #: None where no vectors were compared
    cosine: float | None = field(default=None, compare=False)
    #: By what it was found, of "exact", "words" and "meaning"
    matched: tuple[str, ...] = field(default=(), compare=False)

    @property
    def document_id(self) -> str:
        """The id of the document that it is a chunk of, or its own."""
        return self.id if self.chunk is None else self.chunk.document_id


class Scored(Protocol):
    """What can be ranked."""

    @property
    def id(self) -> str: ...
    @property
    def score(self) -> float: ...


T = TypeVar("T", bound=Scored)


def best_first(hits: Iterable[T], limit: int) -> list[T]:
    """The *limit* best of *hits*, ties by id."""
    by_id = sorted(hits, key=attrgetter("id"))
    return sorted(by_id, key=attrgetter("score"), reverse=True)[:limit]


@dataclass(frozen=True)
class CoarseMatrix:
    """Rows of length 1 as int8 *steps*, (n, d), of a *size* per row, (n,).

    *error* is the longest distance between a row and its copy.
    """

    steps: NDArray[np.int8]
    sizes: Vector
    error: float

    @classmethod
    def of(cls, vectors: Vectors) -> CoarseMatrix:
        """The coarse copy of *vectors*, rows of length 1."""
        steps = np.empty(vectors.shape, dtype=np.int8)
        sizes = np.abs(vectors).max(axis=1) / INT8_MAX  # (n,)
        error = 0.0
        for start in range(0, len(vectors), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            size = sizes[rows, None]
            steps[rows] = np.rint(vectors[rows] / size)
            distances = np.linalg.norm(vectors[rows] - steps[rows] * size, axis=1)
            error = max(error, float(distances.max()))
        return cls(steps, sizes.astype(np.float32), error)

    def only(self, rows: NDArray[np.intp]) -> CoarseMatrix:
        """The copy of some *rows*."""
        return CoarseMatrix(self.steps[rows], self.sizes[rows], self.error)

    def with_rows(self, vectors: Vectors) -> CoarseMatrix:
        """The copy with that of *vectors* below it."""
        if not len(vectors):
            return self
        new = CoarseMatrix.of(vectors)
        return CoarseMatrix(
            np.concatenate([self.steps, new.steps]),
            np.append(self.sizes, new.sizes),
            max(self.error, new.error),
        )

    def products(self, query: Vector) -> tuple[Vector, float]:
        """The product of each row with *query*, (n,), and how far off it may be."""
        import simsimd

        coarse = CoarseMatrix.of(query[None])
        products = simsimd.cdist(coarse.steps, self.steps, "dot")
        scores = np.asarray(products)[0] * self.sizes * coarse.sizes[0]  # (n,)
        # |row.query - copy.coarse| <= |row - copy| |query| + |copy| |query - coarse|
        return scores, self.error + (1 + self.error) * coarse.error + ROUNDING

    def candidates(self, query: Vector, limit: int) -> NDArray[np.intp]:
        """Rows that include the *limit* closest to *query*, which has length 1."""
        scores, error = self.products(query)
        # *limit* rows score at least worst - error; one that does, at least error less
        return best_rows(scores, limit, margin=2 * error)


@dataclass(frozen=True)
class VectorIndex:
    """The vectors of a collection at one moment: rows of length 1, (n, d).

    *skipped* counts the items that cannot be compared: their vectors are missing, of
    another length than most, zero, or not finite. A large matrix has a *coarse* copy.
    """

    ids: Sequence[str]
    vectors: Vectors
    coarse: CoarseMatrix | None = None
    #: The number of each row's document in the words index, (n,), or one up to 0
    numbers: Numbers | None = None
    #: The items of the collection, skipped ones included
    count: int = 0
    skipped: int = 0
    #: Bytes of memory, nearly
    size: int = 0
    #: What it was read from, if it is to follow
    rows: ReadRows | None = field(default=None, compare=False)

    kind = "exact"
    recall = 1.0
    #: How many candidates a search needs: for each of the best, and at least
    spread = (1, 1)
    #: How far off cosines may be that are compared with a lowest one
    slack = ROUNDING

    def nearest(
        self, vector: Vector, limit: int, *, keep: Keep | None = None
    ) -> list[Hit]:
        """The *limit* closest items that *keep* accepts, best first, ties by id."""
        if limit < 1 or not len(self.ids):
            return []
        if len(vector) != self.vectors.shape[1]:
            raise DimensionMismatchError(self.vectors.shape[1], len(vector))
        query = normalize(vector)
        if not query.any():
            return []
        rows, scores = self._scores(query, limit, keep)
        if limit < len(rows):
            # partition first: sorting all n scores costs more than the product
            worst = np.partition(scores, len(scores) - limit)[len(scores) - limit]
            best = scores >= worst
            rows, scores = rows[best], scores[best]
        # Rounding may leave -1 to 1 a little
        cosines = scores.clip(-1, 1).tolist()
        hits = (
            Hit(self.ids[row], cosine, cosine=cosine, matched=BY_MEANING)
            for row, cosine in zip(rows.tolist(), cosines, strict=True)
        )
        return best_first(hits, limit)

    def passing(self, keep: Keep | None) -> NDArray[np.bool_]:
        """Which rows are of items that *keep* accepts, (n,)."""
        if keep is None:
            return np.ones(len(self.ids), bool)
        accepts = keep.accepts if isinstance(keep, Filter) else keep
        return np.fromiter(map(accepts, self.ids), bool, len(self.ids))

    def cosines(
        self, vector: Vector, *, is_exact: bool = False
    ) -> tuple[Vector, float]:
        """The cosine of each row to *vector*, of length 1, and how far off it may be.

        It is exact, too, where a document has several rows, because their mean counts.
        """
        is_exact = is_exact or self.documents.has_chunks
        if self.coarse is not None and not is_exact:
            return self.coarse.products(vector)
        return self.vectors @ vector, ROUNDING

    def compared(self, rows: Rows, vector: Vector) -> Compared:
        """*rows*, with all others of their documents, and *vector*, of length 1."""
        has_chunks = self.documents.has_chunks
        rows = self.documents.relatives(rows) if has_chunks else rows
        # Unlike "@", the same for equal rows, wherever they are in the matrix
        cosines = np.einsum("ij,j->i", self.vectors[rows], vector).clip(-1, 1)
        cosines = cosines.astype(np.float64)
        means = self.documents.means(cosines, rows) if has_chunks else cosines
        return Compared(rows, [self.ids[row] for row in rows], cosines, means)

    @cached_property
    def documents(self) -> Documents:
        """Which document each row belongs to."""
        none = np.zeros(len(self.ids), np.int64)
        return Documents.of(none if self.numbers is None else self.numbers)

    def average_cosine(self, vector: Vector) -> float:
        """The average of :meth:`cosines`, as if some of no direction were among them.

        So that of a few items is not the cosine of one of them.
        """
        if not len(self.ids):
            return 0.0
        if len(vector) != self.vectors.shape[1]:
            raise DimensionMismatchError(self.vectors.shape[1], len(vector))
        return float(self._mean @ vector)

    @cached_property
    def _mean(self) -> Vector:
        mean: Vector = self.vectors.sum(axis=0) / (len(self.vectors) + NO_DIRECTION)
        return mean

    def _scores(
        self, query: Vector, limit: int, keep: Keep | None
    ) -> tuple[NDArray[np.intp], Vector]:
        """Rows that include the *limit* best, (m,), and the score of each, (m,)."""
        count = len(self.ids)
        if keep is not None:
            rows = np.flatnonzero(self.passing(keep))
        elif self.coarse is not None:
            rows = self.coarse.candidates(query, min(limit, count))
        else:
            return np.arange(count), self.vectors @ query
        if len(rows) < count // FEW:
            return rows, self.vectors[rows] @ query
        return rows, (self.vectors @ query)[rows]
