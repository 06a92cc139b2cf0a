"""A collection's vectors as documents to compare, and what has changed since last."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings import store
from datasette_embeddings.similarities.pairs import Documents
from datasette_embeddings.vectors import BYTES_PER_NUMBER, FLOAT32, normalize_in_place

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vectors


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


def _read(rows: Iterable[store.MarkedVector], length: int, count: int) -> _Found:
    """The vectors of *length* bytes among *rows*, which are *count* at most."""
    import numpy as np

    vectors = np.empty((count, max(1, length // BYTES_PER_NUMBER)), dtype=FLOAT32)
    memory = vectors.view(np.uint8).reshape(-1).data
    owners: list[str] = []
    states: dict[str, str] = {}
    lengths: Counter[int] = Counter()
    start = 0
    for document_id, state, blob in rows:
        # A document is what its chunks are, in their order
        known = states.get(document_id)
        states[document_id] = state if known is None else f"{known} {state}"
        lengths[len(blob)] += 1
        if len(blob) == length and start < len(memory):
            memory[start : start + length] = blob
            start += length
            owners.append(document_id)
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


def changes(reading: Reading, marks: Mapping[str, store.Mark]) -> Changes:
    """What differs from the last time, of which *marks* are."""
    states, ids = reading.states, reading.documents.ids
    places = [
        place
        for place, each in enumerate(ids)
        if each not in marks
        or marks[each].state != states[each]
        or marks[each].lowest is None
    ]
    compared = set(ids)
    old = [ids[place] for place in places if ids[place] in marks]
    gone = [each for each in marks if each not in compared]
    had_list = [each for each in gone if marks[each].lowest is not None]
    return Changes(places, [*old, *had_list], gone)
