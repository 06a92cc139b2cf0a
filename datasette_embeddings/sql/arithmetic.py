"""Functions of vectors alone: the metrics, the arithmetic, the mean.

Docstrings are those of the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings import vectors
from datasette_embeddings.errors import DimensionMismatchError
from datasette_embeddings.sql.calls import sql_function
from datasette_embeddings.vectors import Vector

Float64s: TypeAlias = NDArray[np.float64]  # (d,)

Cosine: TypeAlias = Callable[[Any, Any], "float | None"]


@sql_function("embed_decode(vector)", "llm_embed_decode")
def embed_decode(vector: Vector) -> str:
    """A vector as a JSON array, written as llm writes it."""
    return vectors.to_json(vector)


@sql_function("embed_encode(json)")
def embed_encode(vector: Vector) -> bytes:
    """A JSON array as a vector: a BLOB of little-endian float32."""
    return vectors.encode(vector)


@sql_function("embed_dimensions(vector)")
def embed_dimensions(vector: Vector) -> int:
    """How many numbers a vector has."""
    return len(vector)


@sql_function("embed_cosine(a, b)", "llm_embed_cosine", "embeddings_cosine")
def embed_cosine(a: Vector, b: Vector) -> float | None:
    """Cosine similarity, -1 to 1, higher is closer; NULL for a zero vector."""
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


@sql_function("embed_dot(a, b)")
def embed_dot(a: Vector, b: Vector) -> float:
    """The dot product: higher is closer, for vectors of length 1 the cosine."""
    wide_a, wide_b = _wide(a, b)
    return float(wide_a @ wide_b)


@sql_function("embed_l2(a, b)")
def embed_l2(a: Vector, b: Vector) -> float:
    """The Euclidean distance: lower is closer, 0 for the same vector."""
    wide_a, wide_b = _wide(a, b)
    return float(np.linalg.norm(wide_a - wide_b))


@sql_function("embed_add(a, b)")
def embed_add(a: Vector, b: Vector) -> bytes:
    """The sum of two vectors."""
    wide_a, wide_b = _wide(a, b)
    return _blob(wide_a + wide_b)


@sql_function("embed_subtract(a, b)")
def embed_subtract(a: Vector, b: Vector) -> bytes:
    """The first vector less the second."""
    wide_a, wide_b = _wide(a, b)
    return _blob(wide_a - wide_b)


@sql_function("embed_scale(vector, number)")
def embed_scale(vector: Vector, number: float) -> bytes:
    """The vector with each number multiplied."""
    return _blob(vector.astype("f8") * number)


@sql_function("embed_normalize(vector)")
def embed_normalize(vector: Vector) -> bytes:
    """The vector of length 1 in the same direction; a zero vector stays zero."""
    return vectors.encode(vectors.normalize(vectors.finite(vector)))


@sql_function("embed_average(vector)", "llm_embed_average")
class Average:
    """Aggregate: the mean of the vectors that are not NULL, as a BLOB."""

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
    """*a* and *b* in float64, where squares of float32 neither overflow nor vanish."""
    if len(a) != len(b):
        raise DimensionMismatchError(len(a), len(b))
    return a.astype("f8"), b.astype("f8")


def _blob(numbers: Float64s) -> bytes:
    """*numbers* as a vector, if float32 can hold them."""
    with np.errstate(over="ignore"):
        return vectors.encode(vectors.finite(numbers.astype(vectors.FLOAT32)))
