"""Whether a saved compact index is that of its vectors."""

from __future__ import annotations

import threading

from datasette_embeddings.index.building import LOWEST, blocks
from datasette_embeddings.index.catching_up import restored
from datasette_embeddings.index.compact import signs_of
from datasette_embeddings.index.documents import places_of
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.compact_index import SavedIndex
from datasette_embeddings.store.numbered import numbered_vectors
from datasette_embeddings.store.schema import one_moment


def count_wrong(collection: Collection) -> int:
    """How many items the saved index has not, or not as they are.

    It is what a search would use: with the rows that were committed since.
    """
    if not collection.has_compact:
        return 0
    with one_moment(collection.conn):
        facts = SavedIndex(collection).facts()
        index = restored(collection, threading.RLock())
        if facts is None or index is None:
            # Damaged, or so old that a search does not use it
            return collection.count_items()
        rowids, numbers, signs = index.rows
        wrong = 0
        rows = numbered_vectors(collection, "rowid", LOWEST)
        for block in blocks(rows, facts.length):
            places, is_right = places_of(block.rowids, rowids)
            is_right &= numbers[places] == block.numbers
            expected = signs_of(block.vectors, facts.center)
            is_right &= (signs[places] == expected).all(axis=1)
            wrong += int((~is_right).sum())
    return wrong
