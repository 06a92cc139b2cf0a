"""Vectors as lists, arrays and BLOBs for Python programs, and how close two are."""

from __future__ import annotations

import numpy as np

from datasette_embeddings import vectors
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidVectorError,
    quoted,
)
from datasette_embeddings.vectors import Vector


def vector_of(numbers: object) -> Vector:
    """*numbers*, a sequence or an array of shape (d,), as float32."""
    try:
        with np.errstate(over="ignore"):
            vector: Vector = np.asarray(numbers, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(
            f"Expected a vector, numbers of shape (d,); found {quoted(numbers)}"
        ) from error
    if vector.ndim != 1 or not len(vector):
        raise InvalidVectorError(
            f"Expected a vector, numbers of shape (d,); found the shape {vector.shape}"
        )
    return vectors.finite(vector)


def encode(vector: object) -> bytes:
    """*vector*, finite numbers of shape (d,), as little-endian float32.

    It is the BLOB that the column ``embedding`` has, here and in ``llm``.

    :raises InvalidVectorError: for anything else.
    """
    return vectors.encode(vector_of(vector))


def decode(blob: bytes) -> Vector:
    """The vector in *blob*, read-only float32 of shape (d,).

    :raises InvalidVectorError: if its length is no multiple of 4 bytes.
    """
    if not isinstance(blob, bytes):
        raise InvalidVectorError(f"Expected a vector BLOB, found {quoted(blob)}")
    return vectors.decode(blob)


def cosine(one: object, other: object) -> float:
    """The cosine similarity of two vectors, -1 to 1; the order does not matter.

    Each is numbers of shape (d,) or a BLOB. It is not a number if one is zero.

    :raises DimensionMismatchError: if their lengths differ.
    """
    a, b = (decode(e) if isinstance(e, bytes) else vector_of(e) for e in (one, other))
    if len(a) != len(b):
        raise DimensionMismatchError(len(a), len(b))
    # float64: squares of large float32 numbers overflow float32, small ones vanish
    first, second = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.clip(first @ second / lengths, -1, 1)) if lengths else float("nan")
