"""Documents as they are stored: one item each, or one for each of their chunks."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datasette_embeddings.chunks import Chunk, Document, chunk_id
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.changes import check_exists
from datasette_embeddings.store.embeddings import write_embeddings
from datasette_embeddings.store.schema import (
    transaction,
)
from datasette_embeddings.store.staging import Staging
from datasette_embeddings.store.states import EMPTY, METADATA, STAGED

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vectors


@dataclass(frozen=True)
class EmbeddedDocument:
    """A document with a vector for each of its *chunks*, or one where it is whole."""

    document: Document
    chunks: Sequence[Chunk] | None
    vectors: Vectors  # (n, d)

    def items(self) -> list[Document]:
        """What is stored, an item a vector."""
        return items_of(self.document, self.chunks)


def items_of(document: Document, chunks: Sequence[Chunk] | None) -> list[Document]:
    """The items that stand for *document*."""
    if chunks is None:
        return [document]
    return [
        replace(document, id=chunk_id(document.id, chunk.position), content=chunk.text)
        for chunk in chunks
    ]


def write_documents(
    conn: sqlite3.Connection,
    collection: Collection,
    embedded: Sequence[EmbeddedDocument],
    *,
    store_content: bool,
    keep_metadata: bool = True,
) -> None:
    """Store *embedded* in place of what was stored of the same documents."""
    import numpy as np

    if not embedded:
        return
    _delete_leftovers(conn, collection, embedded)
    write_embeddings(
        conn,
        collection,
        [item for each in embedded for item in each.items()],
        np.concatenate([each.vectors for each in embedded]),
        store_content=store_content,
        keep_metadata=keep_metadata,
    )
    for each in embedded:
        if each.chunks is not None:
            _write_chunks(conn, collection, each.document, each.chunks)


def _delete_leftovers(
    conn: sqlite3.Connection,
    collection: Collection,
    embedded: Sequence[EmbeddedDocument],
) -> None:
    """Delete what documents will not have any more: chunks, or the whole."""
    whole = [_keys(collection, each) for each in embedded if each.chunks is None]
    split = [_keys(collection, each) for each in embedded if each.chunks is not None]
    conn.executemany(DELETE_CHUNK_ITEMS, [*whole, *split])
    conn.executemany(DELETE_CHUNKS, [*whole, *split])
    # The id of a document may look like, and be, that of another one's chunk
    conn.executemany(_FORGET_CHUNK, whole)
    conn.executemany(DELETE_WHOLE, split)


def _keys(collection: Collection, embedded: EmbeddedDocument) -> dict[str, object]:
    return {
        "collection_id": collection.id,
        "id": embedded.document.id,
        "kept": len(embedded.chunks or ()),
    }


#: The items of a document's chunks from the position *kept* on
DELETE_CHUNK_ITEMS = """
    delete from embeddings
    where collection_id = :collection_id
    and id in (
      select id
      from _embedding_chunks
      where collection_id = :collection_id
      and document_id = :id
      and position >= :kept
    )
"""
#: What is known of a document's chunks
DELETE_CHUNKS = """
    delete from _embedding_chunks
    where collection_id = :collection_id
    and document_id = :id
"""
_FORGET_CHUNK = """
    delete from _embedding_chunks
    where collection_id = :collection_id
    and id = :id
"""
#: A document's own item, which is not a chunk of another that has the same id
DELETE_WHOLE = """
    delete from embeddings
    where collection_id = :collection_id
    and id = :id
    and not exists (
      select 1
      from _embedding_chunks
      where collection_id = :collection_id
      and id = :id
    )
"""


def _write_chunks(
    conn: sqlite3.Connection,
    collection: Collection,
    document: Document,
    chunks: Sequence[Chunk],
) -> None:
    document_hash = document.content_hash
    conn.executemany(
        """
        insert or replace into _embedding_chunks
          (collection_id, id, document_id, document_hash, position, start, "end")
        values (?, ?, ?, ?, ?, ?, ?)
        """,
        [
            (
                collection.id,
                chunk_id(document.id, chunk.position),
                document.id,
                document_hash,
                chunk.position,
                chunk.start,
                chunk.end,
            )
            for chunk in chunks
        ],
    )


def apply_small_changes(
    conn: sqlite3.Connection,
    collection: Collection,
    staging: Staging,
    *,
    is_chunked: bool,
    store_content: bool,
) -> None:
    """What needs no model: metadata, rows that lost their content, copies."""
    counts = staging.counts()
    if not (store_content or counts.get(METADATA) or counts.get(EMPTY)):
        return
    # SQLite's own substr() ends a text at a NUL character
    conn.create_function("embedding_passage", 3, _passage)
    for low, high in staging.steps():
        parameters = {
            "collection_id": collection.id,
            "low": low,
            "high": high,
            "now": int(time.time()),
        }
        items = _STAGED_CHUNKS if is_chunked else _STAGED_ITEMS
        with transaction(conn):
            check_exists(conn, collection)
            conn.execute(_METADATA_SQL.format(items=items), parameters)
            if store_content:
                conn.execute(_CONTENT_SQL.format(items=items), parameters)
            for sql in _EMPTY_SQL:
                conn.execute(sql, parameters)


def _passage(content: str, start: int | None, end: int | None) -> str:
    return content[start:end]


# Item and staged row side by side
_STAGED_ITEMS = f"""
    select id as item_id, state, metadata, content, null as start, null as "end"
    from {STAGED}
    where number between :low and :high
"""
_STAGED_CHUNKS = f"""
    select _embedding_chunks.id as item_id, state, metadata, content, start, "end"
    from {STAGED} as staged
    cross join _embedding_chunks
      on collection_id = :collection_id
      and document_id = staged.id
    where number between :low and :high
"""
_METADATA_SQL = """
    update embeddings
    set metadata = (
          select metadata
          from ({items})
          where item_id = embeddings.id
          and state = 'metadata'
        ),
        updated = :now
    where collection_id = :collection_id
    and id in (select item_id from ({items}) where state = 'metadata')
"""
_CONTENT_SQL = """
    update embeddings
    set (content, content_blob) = (
      select
        case when typeof(content) = 'text' then
          embedding_passage(content, start, "end") end,
        case when typeof(content) = 'blob' then content end
      from ({items})
      where item_id = embeddings.id
      and state in ('metadata', 'unchanged')
    )
    where collection_id = :collection_id
    and content is null
    and content_blob is null
    and id in (select item_id from ({items}) where state in ('metadata', 'unchanged'))
"""
_EMPTY_IDS = f"""
    select id
    from {STAGED}
    where state = 'empty'
    and number between :low and :high
"""
_EMPTY_SQL = (
    f"""
    delete from embeddings
    where collection_id = :collection_id
    and id in ({_EMPTY_IDS})
    and not exists (
      select 1
      from _embedding_chunks
      where collection_id = :collection_id
      and id = embeddings.id
    )
    """,
    f"""
    delete from embeddings
    where collection_id = :collection_id
    and id in (
      select id
      from _embedding_chunks
      where collection_id = :collection_id
      and document_id in ({_EMPTY_IDS})
    )
    """,
    f"""
    delete from _embedding_chunks
    where collection_id = :collection_id
    and document_id in ({_EMPTY_IDS})
    """,
)
