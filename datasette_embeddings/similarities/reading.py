"""A collection's vectors as documents to compare, and what has changed since last."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from typing import TYPE_CHECKING

from datasette_embeddings.similarities.pairs import Documents
from datasette_embeddings.store.catalog import Collection, count_items
from datasette_embeddings.store.similarities import MarkedVector, Marks, marked_vectors
from datasette_embeddings.vectors import BYTES_PER_NUMBER, FLOAT32, normalize_in_place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vectors

# Rows that are read together: in parts of this size numpy and SQLite do the work
ROWS = 500
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


def read(conn: sqlite3.Connection, collection: Collection) -> Reading:
    """The vectors of *collection* as they are now.

    Vectors without a direction (of another length than most, zero, not finite) are left
    out, and so are those of chunks whose text other documents have too.  A document
    that has no others is not compared.
    """
    import numpy as np

    length = (collection.dimensions or 1) * BYTES_PER_NUMBER
    count = count_items(conn, collection)
    found = _read(marked_vectors(conn, collection), length, count)
    usual = max(found.lengths, key=found.lengths.__getitem__, default=length)
    if usual != length and usual and usual % BYTES_PER_NUMBER == 0:
        # The one vector that told the dimensions is of an old run
        length = usual
        found = _read(marked_vectors(conn, collection), length, count)
    usable = normalize_in_place(found.vectors) & found.counts
    owners = np.array(found.owners, dtype=object)[usable]
    vectors = found.vectors if usable.all() else found.vectors[usable]
    return Reading(_documents(owners.tolist(), vectors), found.states)


@dataclass(frozen=True)
class _Found:
    vectors: Vectors
    #: Of each vector the document it is of
    owners: list[str]
    #: Of each vector whether it counts when documents are compared, (n,)
    counts: NDArray[np.bool_]
    states: dict[str, str]
    lengths: Counter[int]


def _read(rows: Iterator[MarkedVector], length: int, count: int) -> _Found:
    """The vectors of *length* bytes among *rows*, which are *count* at most."""
    import numpy as np

    vectors = np.empty((count, max(1, length // BYTES_PER_NUMBER)), dtype=FLOAT32)
    memory = vectors.view(np.uint8).reshape(-1).data
    every_owner: list[str] = []
    every_state: list[str] = []
    hashes: list[bytes | None] = []
    fits: list[bool] = []
    start = 0
    lengths: Counter[int] = Counter()
    while some := list(islice(rows, ROWS)):
        ids, states, their_hashes, blobs = zip(*some, strict=True)
        every_owner += ids
        every_state += states
        hashes += their_hashes
        their_lengths = [len(blob) for blob in blobs]
        lengths.update(their_lengths)
        they_fit = [each == length for each in their_lengths]
        fits += they_fit
        part = b"".join(compress(blobs, they_fit))
        memory[start : start + len(part)] = part
        start += len(part)
    owners = list(compress(every_owner, fits))
    boilerplate = _boilerplate(every_owner, hashes)
    counts = np.ones(len(every_owner), dtype=np.bool_)
    counts[boilerplate] = False
    for place in boilerplate:
        every_state[place] += LEFT_OUT
    return _Found(
        vectors[: len(owners)],
        owners,
        counts[np.array(fits, dtype=np.bool_)],
        _states(every_owner, every_state),
        lengths,
    )


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
