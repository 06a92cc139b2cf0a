"""A collection's vectors as documents to compare, and what has changed since last."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import compress, islice
from typing import TYPE_CHECKING

from datasette_embeddings import store
from datasette_embeddings.similarities.pairs import Documents
from datasette_embeddings.vectors import BYTES_PER_NUMBER, FLOAT32, normalize_in_place

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vectors

# Rows that are read together: in parts of this size numpy and SQLite do the work
ROWS = 500


@dataclass(frozen=True)
class Reading:
    """The documents that can be compared, and the state of all, by id."""

    documents: Documents
    states: Mapping[str, str]

    @property
    def places(self) -> dict[str, int]:
        """Where each document stands."""
        return {each: place for place, each in enumerate(self.documents.ids)}


def read(conn: sqlite3.Connection, collection: store.Collection) -> Reading:
    """The vectors of *collection* as they are now.

    Vectors without a direction (of another length than most, zero, not finite) are left
    out, and a document that has no others is not compared.
    """
    import numpy as np

    length = (collection.dimensions or 1) * BYTES_PER_NUMBER
    count = store.count_items(conn, collection)
    found = _read(store.marked_vectors(conn, collection), length, count)
    usual = max(found.lengths, key=found.lengths.__getitem__, default=length)
    if usual != length and usual and usual % BYTES_PER_NUMBER == 0:
        # The one vector that told the dimensions is of an old run
        length = usual
        found = _read(store.marked_vectors(conn, collection), length, count)
    usable = normalize_in_place(found.vectors)
    owners = np.array(found.owners, dtype=object)[usable]
    vectors = found.vectors if usable.all() else found.vectors[usable]
    return Reading(_documents(owners.tolist(), vectors), found.states)


@dataclass(frozen=True)
class _Found:
    vectors: Vectors
    #: Of each vector the document it is of
    owners: list[str]
    states: dict[str, str]
    lengths: Counter[int]


def _read(rows: Iterator[store.MarkedVector], length: int, count: int) -> _Found:
    """The vectors of *length* bytes among *rows*, which are *count* at most."""
    import numpy as np

    vectors = np.empty((count, max(1, length // BYTES_PER_NUMBER)), dtype=FLOAT32)
    memory = vectors.view(np.uint8).reshape(-1).data
    owners: list[str] = []
    states: dict[str, str] = {}
    lengths: Counter[int] = Counter()
    start = 0
    while some := list(islice(rows, ROWS)):
        ids, their_states, blobs = zip(*some, strict=True)
        for document_id, state in zip(ids, their_states, strict=True):
            # A document is what its chunks are, in their order
            if document_id in states:
                state = f"{states[document_id]} {state}"
            states[document_id] = state
        their_lengths = [len(blob) for blob in blobs]
        lengths.update(their_lengths)
        fits = [each == length for each in their_lengths]
        owners += compress(ids, fits)
        part = b"".join(compress(blobs, fits))
        memory[start : start + len(part)] = part
        start += len(part)
    return _Found(vectors[: len(owners)], owners, states, lengths)


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


def changes(reading: Reading, marks: store.Marks) -> Changes:
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
