"""Whether a saved compact index is that of its vectors."""

from __future__ import annotations

import threading

from datasette_embeddings.index.building import LOWEST, blocks
from datasette_embeddings.index.catching_up import as_saved, caught_up
from datasette_embeddings.index.compact import signs_of
from datasette_embeddings.index.documents import places_of
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.numbered import numbered_vectors
from datasette_embeddings.store.schema import one_moment


def count_wrong(collection: StoredCollection) -> int:
    """How many items the saved index has not, or not as they are.

    It is what a search would use: with the rows that were committed since.  One that is
    too old for that is not wrong.
    """
    if not collection.has_compact:
        return 0
    with one_moment(collection.conn):
        saved = as_saved(collection, threading.RLock())
        if saved is None:
            return collection.count_items()
        index = caught_up(saved)
        if index is None:
            return 0
        rowids, numbers, signs = index.block
        wrong = 0
        rows = numbered_vectors(collection, "rowid", LOWEST)
        for block in blocks(rows, index.facts.length):
            places, is_right = places_of(block.rowids, rowids)
            is_right &= numbers[places] == block.numbers
            expected = signs_of(block.vectors, index.facts.center)
            is_right &= (signs[places] == expected).all(axis=1)
            wrong += int((~is_right).sum())
    return wrong
