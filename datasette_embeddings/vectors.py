"""Vectors at the border: BLOB and JSON to float32 arrays and back, and the metrics.

Inside the package a vector is a float32 array and nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from datasette_embeddings.errors import DimensionMismatchError, InvalidVectorError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Cosine: TypeAlias = Callable[[Any, Any], float | None]
    Vector: TypeAlias = NDArray[np.float32]  # (d,)
    Vectors: TypeAlias = NDArray[np.float32]  # (n, d)

FLOAT32 = "<f4"  # little-endian, the layout that llm stores
BYTES_PER_NUMBER = 4
# Rows that are widened to float64 at a time: 3 MB of 384 dimensions
BLOCK_ROWS = 1_024
# As far as this from 1, the square of a length is that of float32's rounding
UNIT = 5e-7


def encode(vector: Vector) -> bytes:
    """*vector* as little-endian float32, the BLOB that llm stores too."""
    import numpy as np

    return np.asarray(vector, dtype=FLOAT32).tobytes()


def decode(blob: bytes) -> Vector:
    """The vector in *blob*, without a copy.

    :raises InvalidVectorError: for a length that no float32 vector has.
    """
    import numpy as np

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
    """The vector that a JSON array of *numbers*, already read, stands for.

    :raises InvalidVectorError: as :func:`from_json`.
    """
    import numpy as np

    if not isinstance(numbers, list) or not numbers:
        raise InvalidVectorError("Expected a JSON array with at least one number")
    if not all(type(number) in (int, float) for number in numbers):
        raise InvalidVectorError("Expected numbers only in the JSON array")
    try:
        with np.errstate(over="ignore"):
            vector = np.array(numbers, dtype=np.float64).astype(FLOAT32)
    except OverflowError as error:
        raise InvalidVectorError(
            f"Expected numbers that float32 holds: {error}"
        ) from error
    return finite(vector)


def to_json(vector: Vector) -> str:
    """The numbers of *vector* as llm prints them: each as the double it equals."""
    return json.dumps(vector.tolist())


def parse(value: bytes | str) -> Vector:
    """The vector in *value*: a BLOB, or a JSON array as text."""
    return decode(value) if isinstance(value, bytes) else from_json(value)


def finite(vector: Vector) -> Vector:
    """*vector*, if it has neither NaN nor infinities."""
    import numpy as np

    if not np.isfinite(vector).all():
        raise InvalidVectorError("Expected finite numbers, found NaN or infinity")
    return vector


def cosine_score(a: Vector, b: Vector) -> float | None:
    """Cosine similarity, -1 to 1; None where a zero or non-finite vector has none."""
    import numpy as np

    if len(a) != len(b):
        raise DimensionMismatchError(len(a), len(b))
    # float64: squares of large float32 numbers overflow float32, of small ones vanish
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    norms = math.sqrt(wide_a @ wide_a) * math.sqrt(wide_b @ wide_b)
    if not norms or not math.isfinite(norms):
        return None
    return max(-1.0, min(1.0, float(wide_a @ wide_b) / norms))


def fast_cosine_score(otherwise: Cosine, *, longest: int) -> Cosine:
    """The cosine of two BLOBs at the speed of C, one function call deep.

    What C cannot be trusted with is asked of *otherwise*: values that are no two BLOBs
    of one length, at most *longest* bytes, and whatever gives 0, 1, -1 or no number,
    as zero vectors do and squares that leave float32's range.
    """
    # SimSIMD over memoryviews takes about 1 µs more than a Python function that does
    # nothing, numpy 4; its wheel is 0.6 MB (its successor NumKong's is 10.6 MB)
    cosine: Any

    def imported(a: memoryview, b: memoryview) -> Any:  # noqa: ANN401 - a float64 of C's
        nonlocal cosine
        from simsimd import cosine

        return cosine(a, b)

    cosine = imported

    def score(a: Any, b: Any) -> float | None:  # noqa: ANN401 - what SQL gives
        try:
            if len(a) > longest:
                return otherwise(a, b)
            found: float = 1.0 - cosine(
                memoryview(a).cast("f"), memoryview(b).cast("f")
            )
        except (TypeError, ValueError):
            return otherwise(a, b)
        if found and -1.0 < found < 1.0:
            return found
        return otherwise(a, b)

    return score


def dot(a: Vector, b: Vector) -> float:
    """The dot product, in float64."""
    import numpy as np

    return float(a.astype(np.float64) @ b.astype(np.float64))


def l2_distance(a: Vector, b: Vector) -> float:
    """The Euclidean distance, in float64; lower is closer."""
    import numpy as np

    return float(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64)))


def normalize(vectors: Vectors) -> Vectors:
    """A copy of *vectors* with each row at length 1; see :func:`normalize_in_place`."""
    import numpy as np

    normalized = np.array(vectors, dtype=np.float32, ndmin=2)
    normalize_in_place(normalized)
    return normalized.reshape(vectors.shape)


def normalize_in_place(vectors: Vectors) -> NDArray[np.bool_]:
    """Bring each row to length 1; True for each row that has a direction, (n,).

    A row that is zero or not finite has none, and is zero afterwards.
    """
    import numpy as np

    usable = np.ones(len(vectors), dtype=np.bool_)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        # Most vectors come with length 1, and stay as they are
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
