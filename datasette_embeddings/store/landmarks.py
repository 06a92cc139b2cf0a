"""Which rows of a table may have changed, told by a few rows that are remembered.

SQLite gives a row that is inserted the greatest rowid and one more.  So while a row is
the one that it was, those of lower rowids are, too, as far as they were not deleted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.items import RECENT_S
from datasette_embeddings.store.schema import rows_in

#: The largest that SQLite has
LARGEST_ROWID = 2**63 - 1
#: A digest of each row that is remembered, by rowid
Landmarks: TypeAlias = Mapping[int, str]

#: SQL for what tells a row from others that may get its rowid, and when it was written.
#: The plus: all rows of the collection would be read
OF_VECTORS = """
    select rowid, updated, id, content_hash, embedding
    from embeddings
    where +collection_id = ?
    and rowid in
"""
OF_WORDS = """
    select id, null, document_id, content_hash
    from _embedding_words
    where +collection_id = ?
    and id in
"""


def landmarks(
    collection: StoredCollection, sql: str, rowids: Sequence[int] | NDArray[np.int64]
) -> Landmarks:
    """Those of some of *rowids*, which ascend: the last, and ever fewer before it.

    Rows of the last seconds are left out: they may change without a trace.  After the
    largest rowid that there can be, SQLite gives any, and none is of use.
    """
    count = len(rowids)
    if count and rowids[-1] == LARGEST_ROWID:
        return {}
    places = {count - 2**power for power in range(count.bit_length())}
    return _digests(collection, sql, [int(rowids[place]) for place in sorted(places)])


def first_new(collection: StoredCollection, sql: str, known: Landmarks) -> int:
    """From which rowid on rows may be other ones than when *known* were taken."""
    found = _digests(collection, sql, list(known))
    same = (rowid for rowid, digest in found.items() if known[rowid] == digest)
    return max(same, default=0) + 1


def _digests(
    collection: StoredCollection, sql: str, rowids: Sequence[int]
) -> dict[int, str]:
    recent, digests = time.time() - RECENT_S, dict[int, str]()
    for rowid, updated, *facts in rows_in(
        collection.conn, sql, [collection.id], rowids
    ):
        if not (isinstance(updated, int | float) and updated >= recent):
            facts_now = repr((updated, *facts)).encode()
            digests[rowid] = hashlib.md5(facts_now, usedforsecurity=False).hexdigest()
    return digests
