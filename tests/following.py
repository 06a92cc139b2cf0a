"""Whether a compact index is that of its collection by now."""

from __future__ import annotations

import numpy as np

from datasette_embeddings.index.building import LOWEST, blocks
from datasette_embeddings.index.cache import Indexes
from datasette_embeddings.index.compact import signs_of
from datasette_embeddings.store.numbered import numbered_vectors


def compact_indexes():
    own = Indexes()
    own.kind = "compact"
    return own


def assert_current(index):
    """Every item is in *index* as it is; what else there is, no search finds."""
    own = index.collection
    rowids, numbers, signs = index.block
    assert (np.diff(rowids) > 0).all()
    places = []
    in_use = own.conn.execute("select id from _embedding_words").fetchall()
    rows = numbered_vectors(own, "rowid", LOWEST)
    for block in blocks(rows, index.facts.length):
        here = np.searchsorted(rowids, block.rowids)
        assert rowids[here].tolist() == block.rowids.tolist()
        # A number that no document has any longer finds nothing
        is_lost = (block.numbers == 0) & (numbers[here] > 0)
        assert not np.isin(numbers[here][is_lost], in_use).any()
        assert numbers[here][~is_lost].tolist() == block.numbers[~is_lost].tolist()
        own_signs = signs_of(block.vectors, index.facts.center)
        assert (signs[here] == own_signs).all()
        places += here.tolist()
    assert index.count == own.count_items()
    found = index.nearest(np.ones(len(index.facts.center), np.float32), 10_000)
    assert {hit.id for hit in found} == own.item_ids()
    assert len(found) == len(places)
