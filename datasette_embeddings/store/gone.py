"""Documents that their source no longer has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing

from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.documents import DELETE_CHUNKS, DELETE_WHOLE_ORIGIN
from datasette_embeddings.store.origins import listed, owner_sql
from datasette_embeddings.store.schema import CHUNKS, columns_of, transaction
from datasette_embeddings.store.states import STAGED, UNREAD

GONE = "temp._embedding_gone"
# Items that one transaction deletes
DELETED_AT_ONCE = 1_000


def count_gone(collection: Collection, source_ids: Iterable[int]) -> int:
    """How many documents that *source_ids* brought are not staged."""
    brought = f"owner in ({listed(source_ids)})"
    return _count(collection.conn, f"({_unstaged_sql(collection, brought)})")


def count_left_out(collection: Collection, source_ids: Iterable[int]) -> int:
    """How many documents that others than *source_ids* brought are not staged."""
    others = f"(owner is null or owner not in ({listed(source_ids)}))"
    return _count(collection.conn, f"({_unstaged_sql(collection, others)})")


def delete_gone(collection: Collection, source_ids: Sequence[int]) -> int:
    """Delete the documents that *source_ids* brought and that are not staged.

    Returns how many there were.  What anything else writes meanwhile stays.
    """
    conn = collection.conn
    conn.execute(f"drop table if exists {GONE}")
    brought = f"owner in ({listed(source_ids)})"
    conn.execute(f"create table {GONE} as {_unstaged_sql(collection, brought)}")
    conn.commit()
    try:
        last = 0
        while items := _portion(conn, last):
            last = items[-1][0]
            with transaction(conn):
                _delete_items(collection, source_ids, items)
        return _count(conn, GONE)
    finally:
        conn.rollback()
        conn.execute(f"drop table if exists {GONE}")


def _unstaged_sql(collection: Collection, condition: str) -> str:
    """Item and document of what is not staged and whose owner fulfils *condition*."""
    # A database that is only looked at may have no such table yet
    chunks = CHUNKS if columns_of(collection.conn, CHUNKS) else _NO_CHUNKS
    return f"""
        select
          embeddings.id as item_id,
          coalesce(document_id, embeddings.id) as document_id,
          {owner_sql(collection)} as owner
        from embeddings
        left join {chunks} as chunks
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


_NO_CHUNKS = "(select null as collection_id, null as id, null as document_id)"


def _count(conn: sqlite3.Connection, rows: str) -> int:
    row = conn.execute(f"select count(distinct document_id) from {rows}").fetchone()
    return int(row[0])


def _portion(conn: sqlite3.Connection, after: int) -> list[tuple[int, str, str]]:
    """Number, item and document of some rows of GONE."""
    with closing(conn.cursor()) as rows:
        return rows.execute(
            f"""
            select rowid, item_id, document_id
            from {GONE}
            where rowid > ?
            order by rowid
            limit {DELETED_AT_ONCE}
            """,
            [after],
        ).fetchall()


def _delete_items(
    collection: Collection,
    source_ids: Sequence[int],
    items: Sequence[tuple[int, str, str]],
) -> None:
    """Delete those of *items* that *source_ids* still own."""
    conn = collection.conn
    owner = owner_sql(collection)
    conn.executemany(
        f"""
        delete from embeddings
        where collection_id = ?
        and id = ?
        and {owner} in ({listed(source_ids)})
        """,
        [(collection.id, item_id) for _number, item_id, _document in items],
    )
    conn.executemany(
        DELETE_WHOLE_ORIGIN,
        [{"collection_id": collection.id, "id": each[1]} for each in items],
    )
    # All chunks of the document: an item that is left is whole from now on
    conn.executemany(
        DELETE_CHUNKS,
        [
            {"collection_id": collection.id, "id": document}
            for document in dict.fromkeys(each[2] for each in items)
        ],
    )
