"""A collection's vectors as documents to compare, and which of them have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from datasette_embeddings.index.reading import read_vectors
from datasette_embeddings.similarities.knn import Documents
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.similarities import Marks, marked_vectors
from datasette_embeddings.vectors import BYTES_PER_NUMBER, Vectors

# Ends the state of a chunk that is left out when documents are compared
LEFT_OUT = "-"


def read_documents(collection: Collection) -> tuple[Documents, Mapping[str, str]]:
    """The documents of *collection* that can be compared, and the state of all by id.

    A state changes with the vectors of a document. Vectors without a direction (of
    another length than most, zero, not finite) are left out, and so are those of chunks
    whose text other documents have too. A document without any other is not compared.
    """
    count = collection.count_items()
    length = (collection.dimensions or 0) * BYTES_PER_NUMBER
    columns: list[list[Any]] = [[], [], []]
    vectors, usable = read_vectors(marked_vectors(collection), columns, length, count)
    if not usable.all():
        usual, _count = collection.usual_vector_length()
        if usual != length:
            # The vector that the dimensions were taken from is of an old run
            columns = [[], [], []]
            rows = marked_vectors(collection)
            vectors, usable = read_vectors(rows, columns, usual, count)
    owners, states, hashes = columns
    boilerplate = _boilerplate(owners, hashes)
    if boilerplate:
        has_vector = usable.copy()
        usable[boilerplate] = False
        vectors = vectors[usable[has_vector]]
    for row in boilerplate:
        states[row] += LEFT_OUT
    state_of: dict[str, str] = {}
    for owner, state in zip(owners, states, strict=True):
        state_of[owner] = f"{state_of[owner]} {state}" if owner in state_of else state
    return _documents(list(compress(owners, usable)), vectors), state_of


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


def changes(
    documents: Documents, states: Mapping[str, str], marks: Marks
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
