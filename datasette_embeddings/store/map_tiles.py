"""Which tiles of a map are divided into others."""

from __future__ import annotations

from datasette_embeddings.store import schema
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import LAST_TILE


def is_tile(number: int) -> bool:
    """Whether a tile can have this *number*: 1, 4 to 7, 16 to 31 and so on."""
    return 0 < number <= LAST_TILE and number.bit_length() % 2 == 1


def children(collection: StoredCollection, number: int) -> list[int]:
    """The tiles that have points, of the four that tile *number* is divided into."""
    if not schema.columns_of(collection.conn, "embedding_coordinates"):
        return []
    sql = """
        select 1
        from embedding_coordinates
        where collection_id = ? and tile = ?
        limit 1
    """
    return [
        child
        for child in range(4 * number, 4 * number + 4)
        if is_tile(child)
        and collection.conn.execute(sql, [collection.id, child]).fetchone()
    ]
