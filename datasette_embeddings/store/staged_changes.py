"""What a run changes without the model: it deletes documents and stores failures."""

from __future__ import annotations

import time
from collections.abc import Iterable

from datasette_embeddings.store.attaching import writing
from datasette_embeddings.store.chunks import (
    DOCUMENT,
    existing_documents,
    items_with_chunks,
)
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.deleting import DELETED_AT_ONCE
from datasette_embeddings.store.diff import EMPTY, FAILED, STAGED, UNREAD
from datasette_embeddings.store.origins import Ownership, owner_sql
from datasette_embeddings.store.schema import has_no_item, listed, transaction
from datasette_embeddings.store.words import Words

DELETED = "temp._embedding_deleted"


def record_failures(
    collection: StoredCollection, source_id: int | None, *, is_complete: bool
) -> None:
    """Store the staged rows of a source that failed; if *is_complete*, only these."""
    failed = f"from {STAGED} where state in ('{FAILED}', '{UNREAD}')"
    with writing(collection):
        collection.conn.execute(
            f"""
            insert into _embedding_failures
              (collection_id, id, error, attempts, last_tried, source_id)
            select ?, id, min(error), 1, ?, ?
            {failed}
            group by id
            on conflict (collection_id, id) do update
            set error = excluded.error,
                attempts = attempts + 1,
                last_tried = excluded.last_tried,
                source_id = excluded.source_id
            """,
            [collection.id, int(time.time()), source_id],
        )
        if is_complete:
            collection.conn.execute(
                f"""
                delete from _embedding_failures
                where collection_id = ?
                and (source_id is null or source_id = ?)
                and id not in (select id {failed})
                """,
                [collection.id, source_id],
            )


def forget_failures(
    collection: StoredCollection, source_id: int, ids: Iterable[str]
) -> None:
    """Forget that rows of a source with these *ids* failed; part of a transaction."""
    collection.conn.executemany(
        """
        delete from _embedding_failures
        where collection_id = ?
        and id = ?
        and (source_id is null or source_id = ?)
        """,
        [(collection.id, each, source_id) for each in ids],
    )


def delete_emptied(collection: StoredCollection, ownership: Ownership) -> None:
    """Delete the documents of the source whose rows no longer have any content."""
    _delete(collection, ownership.is_own_sql, _EMPTIED)


def count_unstaged(
    collection: StoredCollection, source_ids: Iterable[int], *, of_others: bool = False
) -> int:
    """How many documents that *source_ids* brought, or all others, are not staged."""
    is_own = f"coalesce({owner_sql(collection)} in ({listed(source_ids)}), 0)"
    items = _items_sql(collection, f"not {is_own}" if of_others else is_own, _UNSTAGED)
    row = collection.conn.execute(
        f"select count(distinct document_id) from ({items})"
    ).fetchone()
    return int(row[0])


def delete_unstaged(collection: StoredCollection, source_ids: Iterable[int]) -> int:
    """Delete the documents that *source_ids* brought and that are not staged.

    Returns how many there were.  Items that another program writes meanwhile stay.
    """
    is_own = f"{owner_sql(collection)} in ({listed(source_ids)})"
    return _delete(collection, is_own, _UNSTAGED)


_STAGED = f"select 1 from {STAGED} as staged where staged.id = {DOCUMENT} and state"
_EMPTIED = f"exists ({_STAGED} = '{EMPTY}')"
_UNSTAGED = f"not exists ({_STAGED} is not '{UNREAD}')"


def _items_sql(collection: StoredCollection, is_own: str, condition: str) -> str:
    """Item and document of the items that fulfil both conditions."""
    return f"""
        select embeddings.id as item_id, {DOCUMENT} as document_id
        {items_with_chunks(collection)}
        and {condition}
        and {is_own}
    """


def _delete(collection: StoredCollection, is_own: str, condition: str) -> int:
    """Delete the items that fulfil both conditions; return how many documents.

    They are listed first, and each transaction deletes some of those that are still of
    the source.
    """
    conn, has_none = collection.conn, has_no_item("_embedding_origins")
    conn.execute(f"drop table if exists {DELETED}")
    items = _items_sql(collection, is_own, condition)
    conn.execute(f"create table {DELETED} as {items}")
    conn.commit()
    try:
        last, documents = conn.execute(
            f"select max(rowid), count(distinct document_id) from {DELETED}"
        ).fetchone()
        for low in range(1, (last or 0) + 1, DELETED_AT_ONCE):
            rows = collection.id, low, low + DELETED_AT_ONCE - 1
            with transaction(conn):
                for table, column, item, still in (
                    ("embeddings", "id", "item_id", is_own),
                    ("_embedding_origins", "id", "item_id", has_none),
                    # All chunks of a document: an item that is left counts as whole
                    ("_embedding_chunks", "document_id", "document_id", "true"),
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
                _delete_words(collection, rows)
        return int(documents)
    finally:
        conn.rollback()
        conn.execute(f"drop table if exists {DELETED}")


def _delete_words(collection: StoredCollection, rows: tuple[int, int, int]) -> None:
    """Delete the words of the listed documents that have no item left."""
    found = collection.conn.execute(
        f"""
        select distinct document_id
        from {DELETED}
        where rowid between ? and ?
        """,
        rows[1:],
    )
    documents = [document_id for (document_id,) in found]
    left = existing_documents(collection, documents)
    Words(collection).delete([each for each in documents if each not in left])
