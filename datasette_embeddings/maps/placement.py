"""New documents on a map: where their nearest are, without moving these."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.maps.pacmap import Points
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.similarities.knn import NO_SCORE, Positions, best_columns
from datasette_embeddings.vectors import Vectors

#: The nearest documents on the map that decide where a new one is
NEIGHBORS = 5
BLOCK_ROWS = 2_048


def place(
    vectors: Vectors,
    references: Iterable[Vectors],
    points: Points,
    progress: Callback = ignore,
) -> Points:
    """The coordinates of *vectors*, (m, d), among documents on the map: (m, 2).

    *references* are the vectors of these in blocks, *points*, (n, 2), their
    coordinates. Each coordinate is the median of those of the nearest five, so that a
    document between two groups joins one of them instead of the space between.
    *progress* is called with how many more are done.
    """
    count = min(NEIGHBORS, len(points))
    found: NDArray[np.intp] = np.zeros((len(vectors), count), np.intp)
    scores = np.full((len(vectors), count), NO_SCORE, np.float32)
    blocks = _gathered(references)
    for begin, block in blocks:
        for start in range(0, len(vectors), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            _merge(found[rows], scores[rows], begin, vectors[rows] @ block.T)
    progress(len(vectors))
    return np.median(points[found], axis=1)


def _gathered(references: Iterable[Vectors]) -> Iterable[tuple[int, Vectors]]:
    """Each block and the position of its first vector."""
    begin = 0
    for block in references:
        yield begin, block
        begin += len(block)


def _merge(found: Positions, best: Vectors, begin: int, scores: Vectors) -> None:
    """Keep in *found* and *best*, (b, k), the best also of a block from *begin* on."""
    count = found.shape[1]
    columns, values = best_columns(scores, min(count, scores.shape[1]))
    positions = np.concatenate([found, columns + begin], axis=1)
    every = np.concatenate([best, values], axis=1)
    # Stable: of equal ones the first
    order = np.argsort(-every, axis=1, kind="stable")[:, :count]
    found[:] = np.take_along_axis(positions, order, axis=1)
    best[:] = np.take_along_axis(every, order, axis=1)
