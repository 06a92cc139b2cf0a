"""The compact index of a collection, saved so that no start reads all vectors.

It is what it was at one moment.  Its landmarks tell from which rows on the collection
may be another since, and these are read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.migrations import COMPACT_TABLES
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.landmarks import LARGEST_ROWID, Landmarks
from datasette_embeddings.store.schema import prepare, transaction
from datasette_embeddings.vectors import BYTES_PER_NUMBER, FLOAT32, Vector

# Items of a block: 1.5 MB of signs of 384 dimensions
BLOCK = 32_768
INT64 = "<i8"
TABLES = ("_embedding_compact", "_embedding_compact_rows")
#: What numpy raises for values that another program has written
DAMAGED = (TypeError, ValueError)


@dataclass(frozen=True)
class IndexFacts:
    """What is known of a compact index beside its rows."""

    #: From which the signs are taken, and the mean of all vectors: (d,)
    center: Vector
    mean: Vector
    #: The rowids of items that cannot be compared
    left_out: NDArray[np.int64]
    #: Rows that are saved
    rows: int
    recall: float
    #: Of which vectors, and of which words it is
    of_vectors: Landmarks
    of_words: Landmarks
    #: Rows that came since the center was chosen and the recall was measured
    added: int = 0

    @property
    def length(self) -> int:
        """The bytes of a vector."""
        return len(self.center) * BYTES_PER_NUMBER

    @property
    def bytes_of_signs(self) -> int:
        """The bytes of the signs of one row."""
        return -(-len(self.center) // 8)


#: The rowids, the numbers of the documents, and the signs of some items
Block = tuple[
    NDArray[np.signedinteger[Any]], NDArray[np.signedinteger[Any]], NDArray[np.uint8]
]


class SavedIndex:
    """The compact index of *collection* in the tables for it."""

    def __init__(self, collection: StoredCollection) -> None:
        self.collection, self.conn = collection, collection.conn

    def facts(self) -> IndexFacts | None:
        """The facts of the saved index; None without one, or if they are damaged."""
        if not all(map(self.collection.columns.get, TABLES)):
            return None
        row = self.conn.execute(
            """
            select facts, center, mean, left_out
            from _embedding_compact
            where collection_id = ?
            """,
            [self.collection.id],
        ).fetchone()
        sizes = self.conn.execute(
            """
            select total(length(rowids)), total(length(signs))
            from _embedding_compact_rows
            where collection_id = ?
            """,
            [self.collection.id],
        ).fetchone()
        try:
            return None if row is None else _facts(*row, *sizes)
        except (*DAMAGED, AttributeError, KeyError, OverflowError, RecursionError):
            return None

    def blocks(self, facts: IndexFacts) -> Iterator[Block]:
        """The saved rows, by rowid.

        :raises TypeError, ValueError: if another program has damaged them.
        """
        for rowids, numbers, signs in self.conn.execute(
            """
            select rowids, numbers, signs
            from _embedding_compact_rows
            where collection_id = ?
            order by block
            """,
            [self.collection.id],
        ):
            count = len(rowids) // np.dtype(INT64).itemsize
            yield (
                np.frombuffer(rowids, INT64),
                np.frombuffer(numbers, INT64),
                np.frombuffer(signs, np.uint8).reshape(count, facts.bytes_of_signs),
            )

    def write(self, facts: IndexFacts, rows: Block) -> None:
        """Save an index in place of the one before."""
        values = {
            "rows": facts.rows,
            "recall": facts.recall,
            "added": facts.added,
            "of_vectors": facts.of_vectors,
            "of_words": facts.of_words,
        }
        rowids, numbers, signs = rows
        rows = rowids.astype(INT64), numbers.astype(INT64), signs
        arrays = facts.center, facts.mean, facts.left_out
        blobs = [each.tobytes() for each in arrays]
        prepare(self.conn)
        with transaction(self.conn):
            # One may have been dropped
            for sql in COMPACT_TABLES:
                self.conn.execute(sql)
            self._delete()
            self.conn.execute(
                """
                insert into _embedding_compact
                  (collection_id, facts, center, mean, left_out)
                values (?, ?, ?, ?, ?)
                """,
                [self.collection.id, json.dumps(values), *blobs],
            )
            self.conn.executemany(
                """
                insert into _embedding_compact_rows
                  (collection_id, block, rowids, numbers, signs)
                values (?, ?, ?, ?, ?)
                """,
                (
                    (self.collection.id, start // BLOCK, *map(np.ndarray.tobytes, some))
                    for start in range(0, facts.rows, BLOCK)
                    for some in [[each[start : start + BLOCK] for each in rows]]
                ),
            )

    def delete(self) -> None:
        """Delete the saved index, if there is one."""
        there = [each for each in TABLES if self.collection.columns[each]]
        if there:
            with transaction(self.conn):
                self._delete(there)

    def _delete(self, tables: Iterable[str] = TABLES) -> None:
        for table in tables:
            self.conn.execute(
                f"delete from {table} where collection_id = ?", [self.collection.id]
            )


def _facts(
    text: str, center: bytes, mean: bytes, left_out: bytes, *sizes: float
) -> IndexFacts:
    """The facts of a row; *sizes* are the bytes of all rowids and of all signs."""
    values: dict[str, Any] = json.loads(text)
    of_vectors, of_words = (
        {int(rowid): str(digest) for rowid, digest in values[name].items()}
        for name in ("of_vectors", "of_words")
    )
    facts = IndexFacts(
        np.frombuffer(center, FLOAT32),
        np.frombuffer(mean, FLOAT32),
        np.frombuffer(left_out, INT64),
        int(values["rows"]),
        float(values["recall"]),
        of_vectors,
        of_words,
        int(values["added"]),
    )
    if not len(facts.center) or len(facts.center) != len(facts.mean):
        raise ValueError("The center is not of the same dimensions as the mean")
    if not (np.isfinite([facts.center, facts.mean]).all() and 0 <= facts.recall <= 1):
        raise ValueError("There are numbers that cannot be")
    if max(map(abs, [*of_vectors, *of_words]), default=0) >= LARGEST_ROWID:
        raise ValueError("There are rowids that SQLite does not have")
    expected = facts.rows * np.dtype(INT64).itemsize, facts.rows * facts.bytes_of_signs
    if sizes != expected:
        raise ValueError("There are not as many rows as there should be")
    return facts
