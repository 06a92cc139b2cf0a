"""Vectors in memory as one matrix, and the exact best of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from datasette_embeddings.errors import DimensionMismatchError
from datasette_embeddings.index.coarse import CoarseMatrix
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    FLOAT32,
    normalize,
    normalize_in_place,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vector, Vectors

#: Whether the item of that id may be found
Keep: TypeAlias = Callable[[str], bool]
# From here on a product takes longer than the cache of a processor helps
LARGE_ROWS = 20_000
# Gathering more than one row in so many costs more than the whole product
FEW = 20
# What an id costs beside its vector: the text, the object, the place in a list
BYTES_PER_ID = 100


@dataclass(frozen=True)
class Score:
    """An item and its cosine similarity to what was asked, -1 to 1."""

    id: str
    score: float


def best_first(scores: Iterable[Score], limit: int) -> list[Score]:
    """The *limit* best of *scores*, ties by id."""
    return sorted(scores, key=lambda found: (-found.score, found.id))[:limit]


@dataclass(frozen=True)
class VectorIndex:
    """The vectors of one collection at one moment; rows of length 1, (n, d).

    *left_out* counts the rows that have no direction to compare: of another length than
    most, zero, or not finite.
    """

    ids: Sequence[str]
    vectors: Vectors
    left_out: int = 0
    #: For a large matrix: what rules out most of its rows
    coarse: CoarseMatrix | None = None

    #: Whether every search reads the vectors from SQLite again
    is_scanned = False

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        coarse = self.coarse.size if self.coarse else 0
        return self.vectors.nbytes + coarse + len(self.ids) * BYTES_PER_ID

    def nearest(
        self,
        vector: Vector,
        limit: int,
        *,
        min_score: float | None = None,
        without: str | None = None,
        keep: Keep | None = None,
    ) -> list[Score]:
        """The *limit* items closest to *vector*, best first, ties by id.

        The item *without* is left out, and so is all below *min_score*, and every item
        whose id *keep* does not.

        :raises DimensionMismatchError: if *vector* is not as long as the rows.
        """
        import numpy as np

        if limit < 1 or not len(self.ids):
            return []
        if len(vector) != self.vectors.shape[1]:
            raise DimensionMismatchError(self.vectors.shape[1], len(vector))
        query = normalize(vector)
        if not query.any():
            return []
        kept = None if keep is None else self._rows_of(keep)
        # One more, for the item that may be left out
        wanted = min(
            limit + (without is not None),
            len(self.ids) if kept is None else len(kept),
        )
        if not wanted:
            return []
        rows, scores = self._scores(query, wanted, kept)
        # partition first: sorting all n scores costs more than the product
        worst = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        best = scores >= worst
        candidates = (
            Score(self.ids[row], max(-1.0, min(1.0, score)))
            for row, score in zip(
                rows[best].tolist(), scores[best].tolist(), strict=True
            )
            if self.ids[row] != without
        )
        return [
            found
            for found in best_first(candidates, limit)
            if min_score is None or found.score >= min_score
        ]

    def _rows_of(self, keep: Keep) -> NDArray[np.intp]:
        """The rows whose ids *keep* keeps."""
        import numpy as np

        return np.flatnonzero(np.fromiter(map(keep, self.ids), bool, len(self.ids)))

    def _scores(
        self, query: Vector, wanted: int, kept: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.intp], Vector]:
        """Rows among which are the *wanted* best, (m,), and the score of each, (m,).

        They are all among *kept*, if that is given.
        """
        import numpy as np

        if kept is not None:
            if len(kept) < len(self.ids) // FEW:
                return kept, self.vectors[kept] @ query
            return kept, (self.vectors @ query)[kept]
        if self.coarse is not None:
            rows = self.coarse.candidates(query, wanted)
            if len(rows) < len(self.ids) // FEW:
                return rows, self.vectors[rows] @ query
        return np.arange(len(self.ids)), self.vectors @ query


def matrix_of(
    rows: Iterable[tuple[str, bytes]], length: int, count: int
) -> VectorIndex:
    """The matrix of *rows*, of which at most *count* have vectors of *length* bytes."""
    import numpy as np

    ids: list[str] = []
    vectors = np.empty((count, length // BYTES_PER_NUMBER), dtype=FLOAT32)
    left_out = 0
    for item_id, blob in rows:
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
