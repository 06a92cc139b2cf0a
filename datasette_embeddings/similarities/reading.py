"""A collection's vectors as documents to compare, and what has changed since last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

from datasette_embeddings.index.matrix import read_vectors
from datasette_embeddings.similarities.pairs import Documents
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.items import usual_vector_length
from datasette_embeddings.store.similarities import Marks, marked_vectors
from datasette_embeddings.vectors import BYTES_PER_NUMBER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vectors

# Follows the state of a chunk that does not count when documents are compared
LEFT_OUT = "-"


@dataclass(frozen=True)
class Reading:
    """The documents that can be compared, and the state of all, by id."""

    documents: Documents
    states: Mapping[str, str]

    @property
    def places(self) -> dict[str, int]:
        """Where each document stands."""
        return {each: place for place, each in enumerate(self.documents.ids)}


def read(collection: Collection) -> Reading:
    """The vectors of *collection* as they are now.

    Vectors without a direction (of another length than most, zero, not finite) are left
    out, and so are those of chunks whose text other documents have too.  A document
    that has no others is not compared.
    """
    length = (collection.dimensions or 0) * BYTES_PER_NUMBER
    columns, vectors, usable = _read(collection, length)
    if not usable.all():
        usual, _count = usual_vector_length(collection.conn, collection.id)
        if usual != length:
            # The one vector that told the dimensions is of an old run
            columns, vectors, usable = _read(collection, usual)
    owners, states, hashes = columns
    boilerplate = _boilerplate(owners, hashes)
    if boilerplate:
        for place in boilerplate:
            states[place] += LEFT_OUT
        is_usable = usable.copy()
        usable[boilerplate] = False
        vectors = vectors[usable[is_usable]]
    documents = _documents(list(compress(owners, usable)), vectors)
    return Reading(documents, _states(owners, states))


def _read(
    collection: Collection, length: int
) -> tuple[list[list[Any]], Vectors, NDArray[np.bool_]]:
    """The documents, states and hashes of all vectors, and those of *length* bytes."""
    columns: list[list[Any]] = [[], [], []]
    rows, count = marked_vectors(collection), collection.count_items()
    return columns, *read_vectors(rows, columns, length, count)


def _boilerplate(owners: Sequence[str], hashes: Sequence[bytes | None]) -> list[int]:
    """The indexes of the chunks whose text occurs in other documents too.

    If that is true of all chunks of a document, they count: it may be a copy.
    """
    first: dict[bytes, str] = {}
    shared = {
        digest
        for owner, digest in zip(owners, hashes, strict=True)
        if digest is not None and first.setdefault(digest, owner) != owner
    }
    if not shared:
        return []
    have_own = {
        owner
        for owner, digest in zip(owners, hashes, strict=True)
        if digest not in shared
    }
    return [
        place
        for place, (owner, digest) in enumerate(zip(owners, hashes, strict=True))
        if digest in shared and owner in have_own
    ]


def _states(owners: Sequence[str], states: Sequence[str]) -> dict[str, str]:
    """The state of each document: those of its chunks, in their order."""
    found: dict[str, str] = {}
    for owner, state in zip(owners, states, strict=True):
        found[owner] = f"{found[owner]} {state}" if owner in found else state
    return found


def _documents(owners: list[str], vectors: Vectors) -> Documents:
    import numpy as np

    ids = list(dict.fromkeys(owners))
    if len(ids) == len(owners):
        return Documents(ids, vectors)
    places = {each: place for place, each in enumerate(ids)}
    of_vector = np.array([places[each] for each in owners])
    order = np.argsort(of_vector, kind="stable")
    starts = np.searchsorted(of_vector[order], np.arange(len(ids)))
    return Documents(ids, vectors[order], starts)


@dataclass(frozen=True)
class Changes:
    """What is not as it was: documents to compare anew, and those that are gone."""

    #: New or changed, by their places
    places: list[int]
    #: Known from last time, and changed or gone: others may have them in their lists
    old: list[str]
    #: No longer compared
    gone: list[str]


def changes(reading: Reading, marks: Marks) -> Changes:
    """What differs from the last time, of which *marks* are."""
    states, ids = reading.states, reading.documents.ids
    places = [
        place
        for place, each in enumerate(ids)
        if marks.states.get(each) != states[each] or marks.lowest[each] is None
    ]
    compared = set(ids)
    old = [ids[place] for place in places if ids[place] in marks.states]
    gone = [each for each in marks.states if each not in compared]
    had_list = [each for each in gone if marks.lowest[each] is not None]
    return Changes(places, [*old, *had_list], gone)
