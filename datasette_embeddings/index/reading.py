"""Vectors from SQLite into a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.store.landmarks import Landmarks
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    FLOAT32,
    Vectors,
    normalize_in_place,
)


@dataclass(frozen=True)
class ReadRows:
    """The rows of SQLite that an index was read from, in the order of rowids, (n,).

    Those without a *usable* vector are among them.
    """

    rowids: NDArray[np.int64]
    #: When each was written, in unix seconds; 0 where that is no number
    updated: NDArray[np.float64]
    usable: NDArray[np.bool_]
    #: The bytes of a usable vector
    length: int
    #: What tells later from which row on there are new ones
    of_vectors: Landmarks = field(default_factory=dict)
    of_words: Landmarks = field(default_factory=dict)


# Rows that SQLite and numpy hand over at a time
ROWS = 500


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
