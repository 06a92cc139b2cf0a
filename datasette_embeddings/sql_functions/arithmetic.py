"""Functions of vectors alone: the metrics, the arithmetic, BLOB ↔ JSON, the mean."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from datasette_embeddings import vectors
from datasette_embeddings.errors import DimensionMismatch, InvalidInput, InvalidVector
from datasette_embeddings.sql_functions.context import SqlValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# 65,536 dimensions as a BLOB, 10,000 and more as JSON: models have a few thousand
LONGEST = 262_144
# A JSON vector of a query is the same for every row: 64 of them are parsed once
from_json = lru_cache(maxsize=64)(vectors.from_json)


def vector_of(value: SqlValue) -> vectors.Vector:
    """The vector that *value* is, a BLOB or a JSON array.

    :raises InvalidVector: for anything else, and for one too long for any model.
    """
    if isinstance(value, str | bytes) and len(value) > LONGEST:
        raise InvalidVector(
            f"Expected a vector in at most {LONGEST:,} bytes or characters, "
            f"found {len(value):,}"
        )
    if isinstance(value, bytes):
        return vectors.decode(value)
    if isinstance(value, str):
        return from_json(value)
    raise InvalidVector(f"Expected a vector as BLOB or JSON array, found {value!r:.40}")


def embed_decode(vector: SqlValue) -> str | None:
    return None if vector is None else vectors.to_json(vector_of(vector))


def embed_encode(text: SqlValue) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidVector(f"Expected a JSON array as TEXT, found {text!r:.40}")
    return vectors.encode(vector_of(text))


def embed_cosine(a: SqlValue, b: SqlValue) -> float | None:
    if a is None or b is None:
        return None
    return vectors.cosine_score(vector_of(a), vector_of(b))


def embed_dot(a: SqlValue, b: SqlValue) -> float | None:
    if a is None or b is None:
        return None
    return vectors.dot(*_pair(a, b))


def embed_l2(a: SqlValue, b: SqlValue) -> float | None:
    if a is None or b is None:
        return None
    return vectors.l2_distance(*_pair(a, b))


def embed_dimensions(vector: SqlValue) -> int | None:
    return None if vector is None else len(vector_of(vector))


def embed_normalize(vector: SqlValue) -> bytes | None:
    if vector is None:
        return None
    return vectors.encode(vectors.normalize(vectors.finite(vector_of(vector))))


def embed_add(a: SqlValue, b: SqlValue) -> bytes | None:
    if a is None or b is None:
        return None
    left, right = _pair(a, b)
    return _made(left.astype("f8") + right)


def embed_subtract(a: SqlValue, b: SqlValue) -> bytes | None:
    if a is None or b is None:
        return None
    left, right = _pair(a, b)
    return _made(left.astype("f8") - right)


def embed_scale(vector: SqlValue, number: SqlValue) -> bytes | None:
    if vector is None or number is None:
        return None
    if not isinstance(number, int | float):
        raise InvalidInput(f"Expected a number to scale by, found {number!r}")
    return _made(vector_of(vector).astype("f8") * number)


def _pair(a: SqlValue, b: SqlValue) -> tuple[vectors.Vector, vectors.Vector]:
    left, right = vector_of(a), vector_of(b)
    if len(left) != len(right):
        raise DimensionMismatch(len(left), len(right))
    return left, right


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

    def step(self, value: SqlValue) -> None:
        import numpy as np

        if value is None:
            return
        vector = vector_of(value).astype(np.float64)
        if self._total is None:
            self._total = np.zeros_like(vector)
        if len(vector) != len(self._total):
            raise DimensionMismatch(len(self._total), len(vector))
        self._total += vector
        self._count += 1

    def finalize(self) -> bytes | None:
        return None if self._total is None else _made(self._total / self._count)
