"""Images that are stored beside their vectors, as llm stores what is no text."""

from __future__ import annotations

from datasette_embeddings.sources.definitions import Source, UnreadableSource
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.origins import listed, owner_sql
from datasette_embeddings.store.schema import ORIGINS, transaction

# Items that are looked at to tell whether there are images among them
LOOKED_AT = 1_000


def forget_other_kind(collection: Collection, source: Source) -> None:
    """Clear the content hashes of items, if *source* now brings the other kind.

    Only if their content is not stored: then it is unknown whether the vector is of a
    text or of an image, and the same bytes have the same hash as both.
    """
    conn = collection.conn
    ids = [
        each.id
        for each in collection.sources
        if each.prefix == source.id_prefix
        and not isinstance(each.source, UnreadableSource)
        and each.source.images != source.images
    ]
    if not ids:
        return
    is_other = f"""
        embeddings.collection_id = ?
        and embeddings.content is null
        and embeddings.content_blob is null
        and {owner_sql(collection)} in ({listed(ids)})
    """
    with transaction(conn):
        items = f"select id from embeddings where {is_other}"
        forgotten = [row[0] for row in conn.execute(items, [collection.id])]
        for table in ("embeddings", ORIGINS):
            conn.executemany(
                f"update {table} set content_hash = null "
                "where collection_id = ? and id = ?",
                [(collection.id, item_id) for item_id in forgotten],
            )
