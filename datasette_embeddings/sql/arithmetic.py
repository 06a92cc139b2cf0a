"""Functions of vectors alone: the metrics, the arithmetic, the mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from datasette_embeddings import vectors
from datasette_embeddings.errors import DimensionMismatchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vector

    Float64s: TypeAlias = NDArray[np.float64]  # (d,)

Cosine: TypeAlias = Callable[[Any, Any], "float | None"]


def embed_cosine(a: Vector, b: Vector) -> float | None:
    """Cosine similarity, -1 to 1; None where a zero or non-finite vector has none."""
    wide_a, wide_b = _wide(a, b)
    norms = math.sqrt(wide_a @ wide_a) * math.sqrt(wide_b @ wide_b)
    if not norms or not math.isfinite(norms):
        return None
    return max(-1.0, min(1.0, float(wide_a @ wide_b) / norms))


def fast_cosine(exact: Cosine, *, longest: int) -> Cosine:
    """The cosine of two BLOBs at the speed of C, one function call deep.

    *exact* computes it for other values, for BLOBs of different lengths or of more than
    *longest* bytes, and where C gives 0, 1, -1 or no number, as for zero vectors and
    for squares outside float32's range.
    """
    # SimSIMD over memoryviews takes about 1 µs more than a Python function that does
    # nothing, numpy 4; its wheel is 0.6 MB (its successor NumKong's is 10.6 MB)
    import simsimd

    cosine: Any = simsimd.cosine

    def score(a: Any, b: Any) -> float | None:  # noqa: ANN401 - what SQL gives
        try:
            if len(a) > longest:
                return exact(a, b)
            found: float = 1.0 - cosine(
                memoryview(a).cast("f"), memoryview(b).cast("f")
            )
        except (TypeError, ValueError):
            return exact(a, b)
        if found and -1.0 < found < 1.0:
            return found
        return exact(a, b)

    return score


def embed_dot(a: Vector, b: Vector) -> float:
    wide_a, wide_b = _wide(a, b)
    return float(wide_a @ wide_b)


def embed_l2(a: Vector, b: Vector) -> float:
    import numpy as np

    wide_a, wide_b = _wide(a, b)
    return float(np.linalg.norm(wide_a - wide_b))


def embed_add(a: Vector, b: Vector) -> bytes:
    wide_a, wide_b = _wide(a, b)
    return _blob(wide_a + wide_b)


def embed_subtract(a: Vector, b: Vector) -> bytes:
    wide_a, wide_b = _wide(a, b)
    return _blob(wide_a - wide_b)


def embed_scale(vector: Vector, number: float) -> bytes:
    return _blob(vector.astype("f8") * number)


def embed_normalize(vector: Vector) -> bytes:
    return vectors.encode(vectors.normalize(vectors.finite(vector)))


class Average:
    """The aggregate embed_average(): the mean of the vectors that are not NULL."""

    def __init__(self) -> None:
        self._total: Float64s | None = None
        self._count = 0

    def step(self, vector: Vector) -> None:
        if self._total is None:
            self._total = vector.astype("f8")
        elif len(vector) != len(self._total):
            raise DimensionMismatchError(len(self._total), len(vector))
        else:
            self._total += vector
        self._count += 1

    def finalize(self) -> bytes | None:
        return None if self._total is None else _blob(self._total / self._count)


def _wide(a: Vector, b: Vector) -> tuple[Float64s, Float64s]:
    """*a* and *b* in float64, where squares of float32 neither overflow nor vanish.

    :raises DimensionMismatchError: if they differ in length.
    """
    if len(a) != len(b):
        raise DimensionMismatchError(len(a), len(b))
    return a.astype("f8"), b.astype("f8")


def _blob(numbers: Float64s) -> bytes:
    """*numbers* as a vector, if float32 can hold them."""
    import numpy as np

    with np.errstate(over="ignore"):
        return vectors.encode(vectors.finite(numbers.astype(vectors.FLOAT32)))
