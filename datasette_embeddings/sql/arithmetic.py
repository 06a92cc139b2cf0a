"""Functions of vectors alone: the metrics, the arithmetic, BLOB ↔ JSON, the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasette_embeddings import vectors
from datasette_embeddings.errors import DimensionMismatchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vector


def embed_normalize(vector: Vector) -> bytes:
    return vectors.encode(vectors.normalize(vectors.finite(vector)))


def embed_dot(a: Vector, b: Vector) -> float:
    _check_lengths(a, b)
    return vectors.dot(a, b)


def embed_l2(a: Vector, b: Vector) -> float:
    _check_lengths(a, b)
    return vectors.l2_distance(a, b)


def embed_add(a: Vector, b: Vector) -> bytes:
    _check_lengths(a, b)
    return _made(a.astype("f8") + b)


def embed_subtract(a: Vector, b: Vector) -> bytes:
    _check_lengths(a, b)
    return _made(a.astype("f8") - b)


def embed_scale(vector: Vector, number: float) -> bytes:
    return _made(vector.astype("f8") * number)


def _check_lengths(a: Vector, b: Vector) -> None:
    if len(a) != len(b):
        raise DimensionMismatchError(len(a), len(b))


def _made(numbers: NDArray[np.float64]) -> bytes:
    """*numbers* as a BLOB, if float32 can hold them."""
    import numpy as np

    with np.errstate(over="ignore"):
        return vectors.encode(vectors.finite(numbers.astype(vectors.FLOAT32)))


class Average:
    """The aggregate embed_average(): the mean of the vectors that are not NULL."""

    def __init__(self) -> None:
        # float64: the sum of many float32 numbers would lose digits
        self._total: NDArray[np.float64] | None = None  # (d,)
        self._count = 0

    def step(self, vector: Vector) -> None:
        import numpy as np

        if self._total is None:
            self._total = np.zeros(len(vector), dtype=np.float64)
        _check_lengths(self._total, vector)  # type: ignore[arg-type]  # float64 here
        self._total += vector
        self._count += 1

    def finalize(self) -> bytes | None:
        return None if self._total is None else _made(self._total / self._count)
