"""Vectors in BLOB and JSON, converted to float32 arrays and back; unit length; a cache.

Inside the package a vector is a float32 array and nothing else.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import InvalidVectorError

Vector: TypeAlias = NDArray[np.float32]  # (d,)
Vectors: TypeAlias = NDArray[np.float32]  # (n, d)

FLOAT32 = "<f4"  # little-endian, the layout that llm stores
BYTES_PER_NUMBER = 4
# Rows that are converted to float64 at a time: 3 MB of 384 dimensions
BLOCK_ROWS = 1_024
# The square of a length differs from 1 by less than this only by float32's rounding
UNIT = 5e-7
# Longer texts are not kept in a cache
LONGEST_CACHED = 4_096


def encode(vector: Vector) -> bytes:
    """*vector* as little-endian float32, the BLOB that llm stores too."""
    return np.asarray(vector, dtype=FLOAT32).tobytes()


def decode(blob: bytes) -> Vector:
    """The vector in *blob*, without a copy."""
    if not blob or len(blob) % BYTES_PER_NUMBER:
        raise InvalidVectorError(
            "Expected a vector BLOB, whose length is a multiple of "
            f"{BYTES_PER_NUMBER} bytes; found {len(blob)} bytes"
        )
    return np.frombuffer(blob, dtype=FLOAT32)


def from_json(text: str) -> Vector:
    """The vector written as a JSON array in *text*.

    :raises InvalidVectorError: for anything but finite numbers in float32's range.
    """
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidVectorError(
            f"Expected a JSON array of numbers: {error}"
        ) from error
    return vector_of_numbers(numbers)


def vector_of_numbers(numbers: object) -> Vector:
    """As :func:`from_json`, of a JSON array that is parsed already."""
    if not isinstance(numbers, list) or not numbers:
        raise InvalidVectorError("Expected a JSON array with at least one number")
    if not all(type(number) in (int, float) for number in numbers):
        raise InvalidVectorError("Expected numbers only in the JSON array")
    try:
        with np.errstate(over="ignore"):
            return finite(np.array(numbers, dtype=np.float64).astype(FLOAT32))
    except OverflowError as error:
        raise InvalidVectorError(f"Expected numbers in float32: {error}") from error


def to_json(vector: Vector) -> str:
    """*vector* as a JSON array, whose numbers llm prints alike: each as a double."""
    return json.dumps(vector.tolist())


def finite(vector: Vector) -> Vector:
    """*vector* itself, if it has neither NaN nor an infinity."""
    if not np.isfinite(vector).all():
        raise InvalidVectorError("Expected finite numbers, found NaN or infinity")
    return vector


def normalize(vectors: Vectors) -> Vectors:
    """A copy of *vectors* with each row at length 1; see :func:`normalize_in_place`."""
    normalized = np.array(vectors, dtype=np.float32, ndmin=2)
    normalize_in_place(normalized)
    return normalized.reshape(vectors.shape)


def normalize_in_place(vectors: Vectors) -> NDArray[np.bool_]:
    """Bring each row to length 1; True for each row that has a direction, (n,).

    A row that is zero or not finite has none, and is zero afterwards.
    """
    usable = np.ones(len(vectors), dtype=np.bool_)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        # Most vectors have length 1 already, and keep every bit
        with np.errstate(over="ignore", invalid="ignore"):
            is_unit = np.abs(np.einsum("ij,ij->i", block, block) - 1) < UNIT
        other = np.flatnonzero(~is_unit)
        # float64: squares of large float32 numbers overflow float32, small ones vanish
        wide = block[other].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))  # (rows,)
        has_direction = np.isfinite(norms) & (norms > 0)
        wide /= np.where(has_direction, norms, 1)[:, None]
        wide[~has_direction] = 0
        block[other] = wide
        usable[start + other] = has_direction
    return usable


class VectorCache:
    """The vectors of the last *size* texts, safe to use from several threads.

    Of 384 dimensions, 1,024 are 1.6 MB, and their texts 4 MB at most.
    """

    def __init__(self, size: int = 1_024) -> None:
        self._size = size
        self._vectors: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, text: str) -> Vector | None:
        """The vector of *text*, read-only because it is shared, or None."""
        with self._lock:
            vector = self._vectors.get(text)
            if vector is not None:
                self._vectors.move_to_end(text)
            return vector

    def put(self, text: str, vector: Vector) -> Vector:
        """Keep *vector*, unless *text* is too long, and return it read-only."""
        vector.setflags(write=False)
        if len(text) <= LONGEST_CACHED:
            with self._lock:
                self._vectors[text] = vector
                if len(self._vectors) > self._size:
                    self._vectors.popitem(last=False)
        return vector
