"""The documents of a collection as vectors to analyse: one direction for each.

That of a document in chunks is the mean of its chunks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress, groupby, islice
from operator import itemgetter
from typing import Any

from datasette_embeddings.index.reading import read_vectors
from datasette_embeddings.similarities.vector_file import BLOCK_ROWS, VectorFile
from datasette_embeddings.store.chunks import DOCUMENT, items_with_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import BYTES_PER_NUMBER, Vectors, encode

# Changes whenever the vector does: llm replaces rows, which gives them new rowids, and
# an update in place sets `updated`
STATE = "embeddings.rowid || ':' || coalesce(embeddings.updated, '')"


@dataclass(frozen=True)
class DocumentVectors:
    """Documents with a vector; row *i* of the file is that of ``ids[i]``, of length 1.

    They are in a temporary file, so that a million do not have to fit into memory.
    """

    ids: list[str]
    #: What changes with the vector of a document
    states: list[str]
    file: VectorFile

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """The position of the first document of each block, and vectors, (b, d)."""
        for start in self.file.starts():
            yield start, self.file.block(start)


def document_states(collection: StoredCollection) -> dict[str, str]:
    """What changes with the vector of each document, by its id."""
    states: dict[str, str] = {}
    for is_chunk in _passes(collection):
        rows = _rows(collection, f"{DOCUMENT}, {STATE}", is_chunk=is_chunk)
        for document, group in groupby(rows, itemgetter(0)):
            states.setdefault(document, " ".join(state for _id, state in group))
    return states


@contextmanager
def document_vectors(
    collection: StoredCollection, only: Collection[str] | None = None
) -> Iterator[DocumentVectors]:
    """The documents of *collection*, or those of *only*, whose vectors can be compared.

    Vectors of another length than most, zero or not finite are left out.

    :raises DatabaseError: if the disk is full.
    """
    length, _count = collection.usual_vector_length()
    with VectorFile() as file:
        file.clear(length // BYTES_PER_NUMBER)
        found = DocumentVectors([], [], file)
        for is_chunk in _passes(collection):
            columns = f"{DOCUMENT}, {STATE}, embedding"
            rows = _rows(collection, columns, is_chunk=is_chunk)
            if only is not None:
                rows = (row for row in rows if row[0] in only)
            if is_chunk:
                # Another program may have stored an item with the id of a document
                whole = set(found.ids)
                rows = (row for row in _means(rows, length) if row[0] not in whole)
            _append(found, rows, length)
        yield found


def _append(
    found: DocumentVectors, rows: Iterator[tuple[Any, ...]], length: int
) -> None:
    """Add *rows*, each a document, its state and its vector, to *found*."""
    while block := list(islice(rows, BLOCK_ROWS)):
        columns: list[list[str]] = [[], []]
        vectors, usable = read_vectors(iter(block), columns, length, len(block))
        found.file.append(vectors)
        for own, values in zip((found.ids, found.states), columns, strict=True):
            own.extend(compress(values, usable))


def _means(rows: Iterator[tuple[Any, ...]], length: int) -> Iterator[tuple[Any, ...]]:
    """The documents of *rows*, which are chunks: the states and the mean of each."""
    for document, group in groupby(rows, itemgetter(0)):
        chunks = list(group)
        vectors, _usable = read_vectors(iter(chunks), [[], []], length, len(chunks))
        mean = vectors.sum(axis=0)
        yield document, " ".join(state for _id, state, _blob in chunks), encode(mean)


def _passes(collection: StoredCollection) -> tuple[bool, ...]:
    """Whole documents first, then those in chunks, if there are any."""
    return (False, True) if collection.has_chunks else (False,)


def _rows(
    collection: StoredCollection, columns: str, *, is_chunk: bool
) -> Iterator[tuple[Any, ...]]:
    """*columns* of the items that are chunks, by document, or of those that are not."""
    is_some = "is not null" if is_chunk else "is null"
    order = "order by chunks.document_id, chunks.position" if is_chunk else ""
    return collection.conn.execute(
        f"""
        select {columns}
        {items_with_chunks(collection)}
        and typeof(embedding) = 'blob'
        and chunks.document_id {is_some}
        {order}
        """
    )
