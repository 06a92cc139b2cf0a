"""The nearest others of documents, gathered from scores that come a block at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.similarities.knn import (
    DIGITS,
    NO_SCORE,
    Nearest,
    Positions,
    best_columns,
)
from datasette_embeddings.vectors import Vector, Vectors

# A score that is higher by less may be the same one, differently rounded
ROUNDING = 1e-6
# How many times as many columns are looked at where documents of several vectors
# leave a list short
MORE = 4


class Lists:
    """The best others so far of the documents at *positions*, of *count* in all.

    *others* and *scores*, (n, limit), are best first, ties by position; what is not
    known yet is -1 and ``NO_SCORE``. Scores have six digits. Several threads may offer.
    """

    def __init__(
        self, positions: Positions, count: int, settings: SimilaritySettings
    ) -> None:
        # There may be fewer others than the limit
        self.limit = max(1, min(settings.limit, count - 1))
        least = settings.min_score
        self.least = NO_SCORE if least is None else least
        self.positions = positions
        shape = len(positions), self.limit
        self.others: NDArray[np.int32] = np.full(shape, -1, np.int32)
        self.scores: Vectors = np.full(shape, NO_SCORE, np.float32)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Nearest]:
        for row, position in enumerate(self.positions.tolist()):
            count = np.count_nonzero(self.others[row] >= 0)
            others = self.others[row, :count].astype(np.intp)
            yield Nearest(position, others, self.scores[row, :count])

    def offer(self, rows: Positions, others: Positions, scores: Vectors) -> None:
        """Take the best *scores*, (b, m), of lists *rows*, (b,), with *others*, (m,).

        A document may have several of the rows and several of the columns.
        """
        lowest = self.scores[rows, -1]
        cutoffs = lowest + ROUNDING
        short, count = np.flatnonzero(lowest == NO_SCORE), self.limit + 1
        cutoffs[short] = np.inf
        while len(short):
            count = min(count, len(others))
            columns, values = best_columns(scores[short], count)
            self.add(np.repeat(rows[short], count), others[columns.ravel()], values)
            if count == len(others):
                break
            is_short = self.scores[rows[short], -1] == NO_SCORE
            short = short[is_short & (values[:, -1] >= self.least)]
            count *= MORE
        found, columns = np.nonzero(scores >= cutoffs[:, None])
        self.add(rows[found], others[columns], scores[found, columns])

    def add(self, rows: Positions, others: Positions, scores: Vector) -> None:
        """Take *scores* of lists *rows*, (k,), with *others*, (k,); -1 for none."""
        scores = scores.reshape(-1)
        kept = (others >= 0) & (others != self.positions[rows]) & (scores >= self.least)
        rows, others = rows[kept], others[kept]
        scores = scores[kept].clip(-1, 1).round(DIGITS)
        if not len(rows):
            return
        with self._lock:
            changed, places = np.unique(rows, return_inverse=True)
            old = np.repeat(np.arange(len(changed)), self.limit)
            places = np.concatenate([old, places])
            others = np.concatenate([self.others[changed].reshape(-1), others])
            scores = np.concatenate([self.scores[changed].reshape(-1), scores])
            order = np.lexsort((-scores, others, places))
            places, others, scores = places[order], others[order], scores[order]
            # The first of a pair has its best score
            is_new = np.diff(places, prepend=-1) | np.diff(others, prepend=-1)
            kept = (is_new != 0) & (others >= 0)
            places, others, scores = places[kept], others[kept], scores[kept]
            order = np.lexsort((others, -scores, places))
            places, others, scores = places[order], others[order], scores[order]
            ranks = np.arange(len(places)) - np.searchsorted(places, places)
            kept = ranks < self.limit
            places, ranks = changed[places[kept]], ranks[kept]
            self.others[places, ranks] = others[kept]
            self.scores[places, ranks] = scores[kept]
