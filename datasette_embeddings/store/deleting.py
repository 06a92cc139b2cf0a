"""Deleting items by their ids, with all that is stored of them."""

from __future__ import annotations

from collections.abc import Sequence

from datasette_embeddings.store.attaching import writing
from datasette_embeddings.store.chunks import existing_documents, stored_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.words import Words

# Items that one transaction deletes
DELETED_AT_ONCE = 1_000
# The item of that id and the chunks of the document, as far as there are
_ITEMS = """
    select :id
    union all
    select id
    from _embedding_chunks
    where collection_id = :collection_id
    and document_id = :id
"""
_DELETE = (
    *(
        f"""
        delete from {table}
        where collection_id = :collection_id
        and id in ({_ITEMS})
        """
        for table in ("embeddings", "_embedding_origins", "_embedding_chunks")
    ),
    """
    delete from _embedding_failures
    where collection_id = :collection_id
    and id = :id
    """,
)


def delete_items(collection: StoredCollection, ids: Sequence[str]) -> int:
    """Delete the items of *ids*, and all chunks of those that are documents.

    Returns how many of *ids* there were.  Similarities stay, for a refresh to update.
    """
    deleted = 0
    for start in range(0, len(ids), DELETED_AT_ONCE):
        some = list(dict.fromkeys(ids[start : start + DELETED_AT_ONCE]))
        with writing(collection) as found:
            deleted += _delete(found, some)
    return deleted


def _delete(collection: StoredCollection, ids: Sequence[str]) -> int:
    existing = existing_documents(collection, ids)
    of_chunks = stored_chunks(collection, ids).values()
    documents = list({*ids, *(each.document_id for each in of_chunks)})
    keys = [{"collection_id": collection.id, "id": each} for each in ids]
    for sql in _DELETE:
        collection.conn.executemany(sql, keys)
    left = existing_documents(collection, documents)
    Words(collection).delete([each for each in documents if each not in left])
    return len(existing)


def delete_owned(
    collection: StoredCollection, is_own_sql: str, ids: Sequence[str]
) -> int:
    """Delete the documents of *ids*, as far as *is_own_sql* holds for their items.

    Part of a transaction.  Returns how many there were.
    """
    conn, found = collection.conn, list[str]()
    for each in ids:
        values = {"collection_id": collection.id, "id": each}
        items = conn.execute(_OWN_ITEMS.format(is_own=is_own_sql), values).fetchall()
        if not items:
            continue
        found.append(each)
        for table in ("embeddings", "_embedding_origins"):
            conn.executemany(
                f"delete from {table} where collection_id = ? and id = ?",
                [(collection.id, item_id) for (item_id,) in items],
            )
        # All of them: an item that is left counts as whole
        conn.execute(
            """
            delete from _embedding_chunks
            where collection_id = :collection_id
            and document_id = :id
            """,
            values,
        )
    left = existing_documents(collection, found)
    Words(collection).delete([each for each in found if each not in left])
    return len(found)


# The items of a document: its chunks, or what has its id and is no chunk of another
_OWN_ITEMS = """
    select id
    from embeddings
    where collection_id = :collection_id
    and {is_own}
    and id in (
      select id
      from _embedding_chunks
      where collection_id = :collection_id
      and document_id = :id
      union all
      select :id
      where not exists (
        select 1
        from _embedding_chunks
        where collection_id = :collection_id
        and id = :id
        and document_id is not :id
      )
    )
"""


def delete_failures(collection: StoredCollection, ids: Sequence[str]) -> None:
    """Forget that rows of no source with these *ids* failed; part of a transaction."""
    collection.conn.executemany(
        """
        delete from _embedding_failures
        where collection_id = ?
        and id = ?
        and source_id is null
        """,
        [(collection.id, each) for each in ids],
    )
