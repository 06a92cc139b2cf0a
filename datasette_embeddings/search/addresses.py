"""Whether the addresses of a source, which its ``url`` makes, exist for its items."""

from __future__ import annotations

from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import matches
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.chunks import stored_chunks
from datasette_embeddings.store.collections import StoredCollection

# Items for which a url is tried
TRIED_ITEMS = 100


def makes_no_address(collection: StoredCollection, source: Source) -> bool:
    """Whether the url of *source* makes an address for none of some of its items."""
    if source.url is None:
        return False
    rows = collection.conn.execute(
        """
        select id
        from embeddings
        where collection_id = ?
        and substr(id, 1, length(?2)) = ?2
        limit ?
        """,
        [collection.id, source.id_prefix, TRIED_ITEMS],
    )
    ids = [item_id for (item_id,) in rows if isinstance(item_id, str)]
    chunks = stored_chunks(collection, ids)
    found = matches(
        collection, [Hit(each, 1.0, chunk=chunks.get(each)) for each in ids]
    )
    own = [match for match in found if match.source == source and not match.stale]
    return bool(own) and all(match.url is None for match in own)
