"""Vectors from SQLite into a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.index import matrix
from datasette_embeddings.index.matrix import CoarseMatrix, VectorIndex
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    FLOAT32,
    Vectors,
    normalize_in_place,
)

# Rows that SQLite and numpy hand over at a time
ROWS = 500


def read_index(
    rows: Iterator[tuple[str, int, bytes]], length: int, count: int
) -> VectorIndex:
    """The index of *rows* of a collection of *count* items.

    A row is the id of an item, the number of its document, as `numbered_vectors()` has
    it, and its vector.
    """
    ids: list[str] = []
    numbers: list[int] = []
    vectors, usable = read_vectors(rows, [ids, numbers], length, count)
    coarse = CoarseMatrix.of(vectors) if len(vectors) >= matrix.LARGE_ROWS else None
    size = vectors.nbytes + len(ids) * matrix.BYTES_PER_ID
    size += coarse.steps.nbytes if coarse else 0
    skipped = count - len(vectors)
    usable_ids = list(compress(ids, usable))
    usable_numbers = np.array(numbers, np.int64)[usable]
    return VectorIndex(
        usable_ids, vectors, coarse, usable_numbers, count, skipped, size
    )


def read_vectors(
    rows: Iterator[tuple[Any, ...]],
    columns: Sequence[list[Any]],
    length: int,
    count: int,
) -> tuple[Vectors, NDArray[np.bool_]]:
    """The vectors that end *rows*, at length 1, (m, d), and which rows have one, (n,).

    The other values of each row are appended to *columns*. Vectors are skipped that are
    not of *length* bytes, zero or not finite. There are at most *count* rows.
    """
    vectors = np.empty((count, length // BYTES_PER_NUMBER), dtype=FLOAT32)
    memory = vectors.view(np.uint8).reshape(-1).data
    lengths: list[int] = []
    end = 0
    while block := list(islice(rows, ROWS)):
        *others, blobs = zip(*block, strict=True)
        for column, values in zip(columns, others, strict=True):
            column.extend(values)
        lengths += map(len, blobs)
        part = b"".join(blob for blob in blobs if len(blob) == length)
        memory[end : end + len(part)] = part
        end += len(part)
    usable = (np.array(lengths, dtype=np.intp) == length) & (length > 0)
    vectors = vectors[: usable.sum()]
    has_direction = normalize_in_place(vectors)
    if not has_direction.all():
        vectors = vectors[has_direction]
        usable[usable] = has_direction
    return vectors, usable
