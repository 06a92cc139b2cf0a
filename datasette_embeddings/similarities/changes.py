"""A collection's vectors as documents to compare, and which of them have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.index.reading import read_vectors
from datasette_embeddings.similarities.knn import Documents
from datasette_embeddings.similarities.vector_file import (
    BLOCK_ROWS,
    StoredDocuments,
    VectorFile,
)
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.similarities import Marks, marked_vectors
from datasette_embeddings.vectors import BYTES_PER_NUMBER, Vectors

# Ends the state of a chunk that is left out when documents are compared
LEFT_OUT = "-"


def read_documents(
    collection: StoredCollection, file: VectorFile | None = None
) -> tuple[Documents | StoredDocuments, Mapping[str, str]]:
    """The documents of *collection* that can be compared, and the state of all by id.

    A state changes with the vectors of a document. Vectors without a direction (of
    another length than most, zero, not finite) are left out, and so are those of chunks
    whose text other documents have too. A document without any other is not compared.
    The vectors are written to *file*, if one is given.
    """
    length = (collection.dimensions or 0) * BYTES_PER_NUMBER
    columns, vectors, usable = _read_columns(collection, file, length)
    if not usable.all():
        usual, _count = collection.usual_vector_length()
        if usual != length:
            # The vector that the dimensions were taken from is of an old run
            columns, vectors, usable = _read_columns(collection, file, usual)
    owners, states, hashes = columns
    boilerplate = _boilerplate(owners, hashes)
    has_vector = usable.copy()
    if boilerplate:
        usable[boilerplate] = False
    for row in boilerplate:
        states[row] += LEFT_OUT
    state_of: dict[str, str] = {}
    for owner, state in zip(owners, states, strict=True):
        state_of[owner] = f"{state_of[owner]} {state}" if owner in state_of else state
    if file is not None:
        return _stored_documents(owners, usable, has_vector, file), state_of
    if boilerplate:
        vectors = vectors[usable[has_vector]]
    return _documents(list(compress(owners, usable)), vectors), state_of


def _read_columns(
    collection: StoredCollection, file: VectorFile | None, length: int
) -> tuple[list[list[Any]], Vectors, NDArray[np.bool_]]:
    """Owners, states and hashes of all rows, their vectors, and which have one.

    The vectors, of *length* bytes, are in the *file* instead, if one is given.
    """
    columns: list[list[Any]] = [[], [], []]
    rows = marked_vectors(collection)
    if file is None:
        count = collection.count_items()
        return columns, *read_vectors(rows, columns, length, count)
    file.clear(length // BYTES_PER_NUMBER)
    usable = [np.empty(0, dtype=np.bool_)]
    while block := list(islice(rows, BLOCK_ROWS)):
        vectors, is_usable = read_vectors(iter(block), columns, length, len(block))
        file.append(vectors)
        usable.append(is_usable)
    return columns, np.empty((0, 0), np.float32), np.concatenate(usable)


def _boilerplate(owners: Sequence[str], hashes: Sequence[bytes | None]) -> list[int]:
    """The rows of the chunks whose text other documents have too.

    If that is true of all chunks of a document, they count: it may be a copy.
    """
    rows = list(zip(owners, hashes, strict=True))
    first: dict[bytes, str] = {}
    shared = {
        digest
        for owner, digest in rows
        if digest is not None and first.setdefault(digest, owner) != owner
    }
    if not shared:
        return []
    have_own = {owner for owner, digest in rows if digest not in shared}
    return [
        row
        for row, (owner, digest) in enumerate(rows)
        if digest in shared and owner in have_own
    ]


def _documents(owners: list[str], vectors: Vectors) -> Documents:
    """The documents whose vectors are *vectors*, each the one of its owner."""
    ids = list(dict.fromkeys(owners))
    if len(ids) == len(owners):
        return Documents(ids, vectors)
    positions = {each: position for position, each in enumerate(ids)}
    of_vector = np.array([positions[each] for each in owners])
    order = np.argsort(of_vector, kind="stable")
    starts = np.searchsorted(of_vector[order], np.arange(len(ids)))
    return Documents(ids, vectors[order], starts)


def _stored_documents(
    owners: list[str],
    usable: NDArray[np.bool_],
    has_vector: NDArray[np.bool_],
    file: VectorFile,
) -> StoredDocuments:
    """The documents whose vectors are in *file*: one of each row that *has_vector*."""
    ids = sorted(set(compress(owners, usable)))
    positions = {each: position for position, each in enumerate(ids)}
    of_vector = np.array(
        [positions.get(owner, -1) for owner in compress(owners, has_vector)],
        dtype=np.intp,
    )
    of_vector[~usable[has_vector]] = -1
    return StoredDocuments(ids, file, of_vector)


def changes(
    documents: Documents | StoredDocuments, states: Mapping[str, str], marks: Marks
) -> tuple[list[int], list[str]]:
    """The positions of new and changed documents, and the ids of those that are gone.

    *marks* are of the last time. A document is gone if it can no longer be compared.
    """
    # Earlier releases did not tell whole documents from chunks
    forms = str.maketrans("", "", "#=")
    changed = [
        position
        for position, each in enumerate(documents.ids)
        if each not in marks
        or marks[each][0] not in (states[each], states[each].translate(forms))
    ]
    return changed, sorted(marks.keys() - set(documents.ids))
