"""A quarter-size copy of a large matrix that rules out rows, but never a right one.

The product of a large matrix with a vector takes as long as reading it from memory.  In
int8 that is a quarter.  The error of each coarse score has a bound, so that the rows
which may be among the best are known; only they are multiplied in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings.vectors import BLOCK_ROWS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vector, Vectors

INT8_MAX = 127
# What float32 rounds a score of two vectors of length 1 by, and more
ROUNDING = 1e-5


@dataclass(frozen=True)
class CoarseMatrix:
    """Rows of length 1 as whole *steps*, (n, d) int8, of a row's own size, (n,).

    *error* is the longest distance between a row and its copy.
    """

    steps: NDArray[np.int8]
    sizes: Vector
    error: float

    @property
    def size(self) -> int:
        """How many bytes of memory it takes."""
        return self.steps.nbytes + self.sizes.nbytes

    def candidates(self, query: Vector, wanted: int) -> NDArray[np.intp]:
        """Rows among which are the *wanted* closest to *query*, which has length 1."""
        import numpy as np
        import simsimd

        asked = coarse_matrix(query[None])
        products = simsimd.cdist(asked.steps, self.steps, "dot")
        scores = np.asarray(products)[0] * self.sizes * asked.sizes[0]  # (n,)
        # |row . query - copy . asked| <= |row - copy| |query| + |copy| |query - asked|
        bound = self.error + (1 + self.error) * asked.error + ROUNDING
        worst = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        # *wanted* rows score at least worst - bound; one that does, at least bound less
        return np.flatnonzero(scores >= worst - 2 * bound)


def coarse_matrix(vectors: Vectors) -> CoarseMatrix:
    """The coarse copy of *vectors*, rows of length 1."""
    import numpy as np

    steps = np.empty(vectors.shape, dtype=np.int8)
    sizes = np.abs(vectors).max(axis=1) / INT8_MAX  # (n,)
    error = 0.0
    for start in range(0, len(vectors), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        size = sizes[rows, None]
        steps[rows] = np.rint(vectors[rows] / size)
        distances = np.linalg.norm(vectors[rows] - steps[rows] * size, axis=1)
        error = max(error, float(distances.max()))
    return CoarseMatrix(steps, sizes.astype(np.float32), error)
