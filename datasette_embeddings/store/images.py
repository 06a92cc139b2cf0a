"""Images that are stored beside their vectors, as llm stores what is no text."""

from __future__ import annotations

from datasette_embeddings.errors import UnknownItemError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.sources.definitions import Source, UnreadableSource
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.embeddings import has_blobs
from datasette_embeddings.store.origins import listed, owner_sql
from datasette_embeddings.store.schema import ORIGINS, transaction

# Items that are looked at to tell whether there are images among them
LOOKED_AT = 1_000


def stored_image(collection: Collection, item_id: str) -> bytes | None:
    """The bytes that are the content of an item; None where they are not stored.

    More bytes than an image may have are not read.

    :raises UnknownItemError: if the collection has no such item.
    """
    blob = f"""
        case
          when typeof(content_blob) = 'blob' and length(content_blob) <= {MAX_BYTES}
          then content_blob
        end
    """
    row = collection.conn.execute(
        f"""
        select {blob if has_blobs(collection.conn) else "null"}
        from embeddings
        where collection_id = ?
        and id = ?
        """,
        [collection.id, item_id],
    ).fetchone()
    if row is None:
        raise UnknownItemError(collection.name, item_id)
    found: bytes | None = row[0]
    return found


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


def has_images(collection: Collection) -> bool:
    """Whether the first items of *collection* have an image among them."""
    if not has_blobs(collection.conn):
        return False
    row = collection.conn.execute(
        f"""
        select 1
        from (
          select typeof(content_blob) as kind
          from embeddings
          where collection_id = ?
          limit {LOOKED_AT}
        )
        where kind = 'blob'
        limit 1
        """,
        [collection.id],
    ).fetchone()
    return row is not None
