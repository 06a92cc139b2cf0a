"""Documents that their source no longer has: counting and deleting them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.diff import STAGED, UNREAD
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.schema import (
    CHUNKS,
    ORIGINS,
    listed,
    table_or_empty,
    transaction,
)

UNSTAGED = "temp._embedding_unstaged"
# Items that one transaction deletes
DELETED_AT_ONCE = 1_000


def count_unstaged(collection: Collection, source_ids: Iterable[int]) -> int:
    """How many documents that *source_ids* brought are not staged."""
    brought = f"owner in ({listed(source_ids)})"
    return _count(collection, f"({_unstaged_sql(collection, brought)})")


def count_unstaged_of_others(collection: Collection, source_ids: Iterable[int]) -> int:
    """How many documents that others than *source_ids* brought are not staged."""
    others = f"(owner is null or owner not in ({listed(source_ids)}))"
    return _count(collection, f"({_unstaged_sql(collection, others)})")


def delete_unstaged(collection: Collection, source_ids: Sequence[int]) -> int:
    """Delete the documents that *source_ids* brought and that are not staged.

    Returns how many there were.  Items that another program writes meanwhile stay.
    """
    conn = collection.conn
    is_own = f"{owner_sql(collection)} in ({listed(source_ids)})"
    brought = f"owner in ({listed(source_ids)})"
    conn.execute(f"drop table if exists {UNSTAGED}")
    conn.execute(f"create table {UNSTAGED} as {_unstaged_sql(collection, brought)}")
    conn.commit()
    try:
        (last,) = conn.execute(f"select max(rowid) from {UNSTAGED}").fetchone()
        for low in range(1, (last or 0) + 1, DELETED_AT_ONCE):
            rows = collection.id, low, low + DELETED_AT_ONCE - 1
            with transaction(conn):
                for table, column, condition in (
                    ("embeddings", "item_id", is_own),
                    (ORIGINS, "item_id", _IS_DELETED),
                    # All chunks of a document: an item that is left counts as whole
                    (CHUNKS, "document_id", "true"),
                ):
                    conn.execute(
                        f"""
                        delete from {table}
                        where collection_id = ?
                        and {column.replace("item_id", "id")} in (
                          select {column}
                          from {UNSTAGED}
                          where rowid between ? and ?
                        )
                        and {condition}
                        """,
                        rows,
                    )
        return _count(collection, UNSTAGED)
    finally:
        conn.rollback()
        conn.execute(f"drop table if exists {UNSTAGED}")


_IS_DELETED = f"""
    not exists (
      select 1
      from embeddings
      where embeddings.collection_id = {ORIGINS}.collection_id
      and embeddings.id = {ORIGINS}.id
    )
"""


def _unstaged_sql(collection: Collection, condition: str) -> str:
    """Item and document of unstaged rows whose owner fits *condition*."""
    return f"""
        select
          embeddings.id as item_id,
          coalesce(document_id, embeddings.id) as document_id,
          {owner_sql(collection)} as owner
        from embeddings
        left join {table_or_empty(CHUNKS, collection.columns)} as chunks
          on chunks.collection_id = embeddings.collection_id
          and chunks.id = embeddings.id
          and typeof(chunks.document_id) = 'text'
        where embeddings.collection_id = {collection.id}
        and typeof(embeddings.id) = 'text'
        and not exists (
          select 1
          from {STAGED} as staged
          where staged.id = coalesce(document_id, embeddings.id)
          and staged.state is not '{UNREAD}'
        )
        and {condition}
    """


def _count(collection: Collection, rows: str) -> int:
    sql = f"select count(distinct document_id) from {rows}"
    return int(collection.conn.execute(sql).fetchone()[0])
