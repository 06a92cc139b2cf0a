"""Documents that the source no longer has."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.documents import (
    DELETE_CHUNK_ITEMS,
    DELETE_CHUNKS,
    DELETE_WHOLE,
)
from datasette_embeddings.store.schema import CHUNKS, columns_of, transaction
from datasette_embeddings.store.states import STAGED, UNREAD

# Documents that one transaction deletes
DELETED_AT_ONCE = 1_000


def gone_documents(
    conn: sqlite3.Connection, collection: Collection, *, prefix: str = ""
) -> list[str]:
    """The ids of documents in *collection* that are not staged.

    Only those that begin with *prefix*: others came from another source.
    """
    # A database that is only looked at may have no such table yet
    chunks = CHUNKS if columns_of(conn, CHUNKS) else _NO_CHUNKS
    rows = conn.execute(
        f"""
        select distinct coalesce(document_id, embeddings.id) as gone_id
        from embeddings
        left join {chunks} as chunks
          on chunks.collection_id = embeddings.collection_id
          and chunks.id = embeddings.id
        where embeddings.collection_id = ?
        and not exists (
          select 1
          from {STAGED} as staged
          where staged.id = coalesce(document_id, embeddings.id)
          and staged.state != '{UNREAD}'
        )
        """,
        [collection.id],
    )
    return [row[0] for row in rows if str(row[0]).startswith(prefix)]


_NO_CHUNKS = "(select null as collection_id, null as id, null as document_id)"


def delete_gone(
    conn: sqlite3.Connection, collection: Collection, gone: Sequence[str]
) -> None:
    """Delete the documents *gone* of *collection*, some at a time."""
    for start in range(0, len(gone), DELETED_AT_ONCE):
        with transaction(conn):
            delete_documents(conn, collection, gone[start : start + DELETED_AT_ONCE])


def has_metadata(conn: sqlite3.Connection, collection: Collection) -> bool:
    """Whether any item of *collection* has metadata."""
    row = conn.execute(
        """
        select 1
        from embeddings
        where collection_id = ?
        and metadata is not null
        limit 1
        """,
        [collection.id],
    ).fetchone()
    return row is not None


def delete_documents(
    conn: sqlite3.Connection, collection: Collection, document_ids: Sequence[str]
) -> None:
    """Delete what is stored of *document_ids*, chunks included."""
    keys = [
        {"collection_id": collection.id, "id": each, "kept": 0} for each in document_ids
    ]
    for sql in (DELETE_CHUNK_ITEMS, DELETE_CHUNKS, DELETE_WHOLE):
        conn.executemany(sql, keys)
