"""Vectors in a temporary file, for collections that would not fit into memory."""

from __future__ import annotations

import errno
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.vectors import BYTES_PER_NUMBER, FLOAT32, Vectors

# Vectors that are read at a time: 6 MB of 384 dimensions
BLOCK_ROWS = 4_096


class VectorFile:
    """Vectors of the same length by their row in a file, which closing deletes.

    They are read, not mapped into memory: mapped pages count as memory in use.
    """

    def __init__(self) -> None:
        self.dimensions = self.count = 0
        self._lock = threading.Lock()
        # Without a buffer, which would read more than the one row
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see close()

    def __enter__(self) -> VectorFile:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def clear(self, dimensions: int) -> None:
        """Delete all vectors; the next ones have *dimensions*."""
        self.dimensions, self.count = dimensions, 0
        self._file.seek(0)
        self._file.truncate()

    def append(self, vectors: Vectors) -> None:
        """Write *vectors*, (n, d), as the next rows.

        :raises DatabaseError: if the disk is full.
        """
        rest = np.ascontiguousarray(vectors, FLOAT32).view(np.uint8).reshape(-1).data
        self.count += len(vectors)
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise DatabaseError(
                f"The folder of temporary files, {tempfile.gettempdir()!r}, is full: "
                f"the vectors of a large collection are copied there, "
                f"{self._width:,} bytes for each. Free some space, or set the "
                "environment variable TMPDIR to another folder"
            ) from error

    def block(self, start: int) -> Vectors:
        """Up to ``BLOCK_ROWS`` vectors from the row *start* on."""
        count = min(BLOCK_ROWS, self.count - start)
        return self._read([(start, count)], count)

    def rows(self, rows: NDArray[np.intp]) -> Vectors:
        """The vectors in *rows*, which ascend: (n, d)."""
        # Neighbouring rows are read together
        firsts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        lengths = np.diff(firsts, append=len(rows))
        runs = zip(rows[firsts].tolist(), lengths.tolist(), strict=True)
        return self._read(list(runs), len(rows))

    def starts(self) -> range:
        """The first row of each block."""
        return range(0, self.count, BLOCK_ROWS)

    @property
    def _width(self) -> int:
        return self.dimensions * BYTES_PER_NUMBER

    def _read(self, runs: list[tuple[int, int]], count: int) -> Vectors:
        """The vectors of *runs*, each a first row and a length; *count* in all."""
        vectors = np.empty((count, self.dimensions), FLOAT32)
        memory = vectors.view(np.uint8).reshape(-1).data
        end = 0
        with self._lock:
            for start, length in runs:
                self._file.seek(start * self._width)
                part = memory[end : end + length * self._width]
                end += len(part)
                # The system may give less than it is asked for
                while part:
                    found = self._file.readinto(part)
                    if not found:
                        raise DatabaseError("The file of vectors ends too early")
                    part = part[found:]
        return vectors


@dataclass(frozen=True)
class StoredDocuments:
    """Documents, in the order of their *ids*, whose *vectors* are in a file.

    *of_vector*, (m,), has the position of the document of each vector, and -1 for a
    vector that is left out.
    """

    ids: Sequence[str]
    vectors: VectorFile
    of_vector: NDArray[np.intp]
