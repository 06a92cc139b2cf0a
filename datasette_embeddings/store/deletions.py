"""Documents that their source no longer has, or whose content is empty now."""

from __future__ import annotations

from collections.abc import Iterable

from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.diff import EMPTY, STAGED, UNREAD, Ownership
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.schema import (
    CHUNKS,
    ORIGINS,
    listed,
    table_or_empty,
    transaction,
)

DELETED = "temp._embedding_deleted"
# Items that one transaction deletes
DELETED_AT_ONCE = 1_000


def count_unstaged(collection: Collection, source_ids: Iterable[int]) -> int:
    """How many documents that *source_ids* brought are not staged."""
    is_own = f"{owner_sql(collection)} in ({listed(source_ids)})"
    return _count(collection, f"({_items_sql(collection, is_own, _UNSTAGED)})")


def count_unstaged_of_others(collection: Collection, source_ids: Iterable[int]) -> int:
    """How many documents that others than *source_ids* brought are not staged."""
    is_own = f"coalesce({owner_sql(collection)} in ({listed(source_ids)}), 0)"
    return _count(collection, f"({_items_sql(collection, f'not {is_own}', _UNSTAGED)})")


def delete_unstaged(collection: Collection, source_ids: Iterable[int]) -> int:
    """Delete the documents that *source_ids* brought and that are not staged.

    Returns how many there were.  Items that another program writes meanwhile stay.
    """
    is_own = f"{owner_sql(collection)} in ({listed(source_ids)})"
    return _delete(collection, is_own, _UNSTAGED)


def delete_emptied(collection: Collection, ownership: Ownership) -> int:
    """Delete the documents of the staged source whose content is empty now."""
    return _delete(collection, ownership.is_own_sql, _EMPTIED)


_STAGED = f"select 1 from {STAGED} as staged where staged.id = {{document}} and state"
_EMPTIED = f"exists ({_STAGED} = '{EMPTY}')"
_UNSTAGED = f"not exists ({_STAGED} is not '{UNREAD}')"


def _items_sql(collection: Collection, is_own: str, condition: str) -> str:
    """Item and document of the items that fulfil both conditions."""
    document = "coalesce(document_id, embeddings.id)"
    return f"""
        select embeddings.id as item_id, {document} as document_id
        from embeddings
        left join {table_or_empty(CHUNKS, collection.columns)} as chunks
          on chunks.collection_id = embeddings.collection_id
          and chunks.id = embeddings.id
          and typeof(chunks.document_id) = 'text'
        where embeddings.collection_id = {collection.id}
        and typeof(embeddings.id) = 'text'
        and {condition.format(document=document)}
        and {is_own}
    """


def _delete(collection: Collection, is_own: str, condition: str) -> int:
    """Delete the items that fulfil both conditions; return how many documents.

    They are listed first, and each transaction deletes some of those that are still of
    the source.
    """
    conn = collection.conn
    conn.execute(f"drop table if exists {DELETED}")
    items = _items_sql(collection, is_own, condition)
    conn.execute(f"create table {DELETED} as {items}")
    conn.commit()
    try:
        (last,) = conn.execute(f"select max(rowid) from {DELETED}").fetchone()
        for low in range(1, (last or 0) + 1, DELETED_AT_ONCE):
            rows = collection.id, low, low + DELETED_AT_ONCE - 1
            with transaction(conn):
                for table, column, item, still in (
                    ("embeddings", "id", "item_id", is_own),
                    (ORIGINS, "id", "item_id", _IS_DELETED),
                    # All chunks of a document: an item that is left counts as whole
                    (CHUNKS, "document_id", "document_id", "true"),
                ):
                    conn.execute(
                        f"""
                        delete from {table}
                        where collection_id = ?
                        and {column} in (
                          select {item}
                          from {DELETED}
                          where rowid between ? and ?
                        )
                        and {still}
                        """,
                        rows,
                    )
        return _count(collection, DELETED)
    finally:
        conn.rollback()
        conn.execute(f"drop table if exists {DELETED}")


_IS_DELETED = f"""
    not exists (
      select 1
      from embeddings
      where embeddings.collection_id = {ORIGINS}.collection_id
      and embeddings.id = {ORIGINS}.id
    )
"""


def _count(collection: Collection, items: str) -> int:
    sql = f"select count(distinct document_id) from {items}"
    return int(collection.conn.execute(sql).fetchone()[0])
