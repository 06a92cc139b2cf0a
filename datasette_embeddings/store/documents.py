"""Documents as they are stored: one item each, or one for each of their chunks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings.chunking import Chunk, chunk_id
from datasette_embeddings.documents import Document
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.embeddings import write_embeddings
from datasette_embeddings.store.origins import write_origins
from datasette_embeddings.store.states import Ownership
from datasette_embeddings.vectors import encode

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors


@dataclass(frozen=True)
class EmbeddedDocument:
    """A document with a vector for each of its *chunks*, or one where it is whole."""

    document: Document
    chunks: Sequence[Chunk] | None
    #: What is stored, an item for each vector
    items: Sequence[Document]
    vectors: Vectors  # (n, d)


def items_of(document: Document, chunks: Sequence[Chunk] | None) -> list[Document]:
    """The items that stand for *document*."""
    if chunks is None:
        return [document]
    return [
        Document(chunk_id(document.id, chunk.position), chunk.text, document.metadata)
        for chunk in chunks
    ]


def write_documents(
    collection: Collection,
    embedded: Sequence[EmbeddedDocument],
    *,
    store_content: bool,
    ownership: Ownership = Ownership(),
) -> None:
    """Store *embedded* in place of what was stored of the same documents."""
    import numpy as np

    if not embedded:
        return
    _delete_leftovers(collection, embedded)
    write_embeddings(
        collection,
        [item for each in embedded for item in each.items],
        np.concatenate([each.vectors for each in embedded]),
        store_content=store_content,
        ownership=ownership,
    )
    for each in embedded:
        if each.chunks is not None:
            _write_chunks(collection, each.document, each.chunks)


def _delete_leftovers(
    collection: Collection,
    embedded: Sequence[EmbeddedDocument],
) -> None:
    """Delete what documents will not have any more: chunks, or the whole."""
    conn = collection.conn
    whole = [_keys(collection, each) for each in embedded if each.chunks is None]
    split = [_keys(collection, each) for each in embedded if each.chunks is not None]
    for sql in (DELETE_CHUNK_ITEMS, DELETE_CHUNK_ORIGINS, DELETE_CHUNKS):
        conn.executemany(sql, [*whole, *split])
    # The id of a document may look like, and be, that of another one's chunk
    conn.executemany(_FORGET_CHUNK, whole)
    conn.executemany(DELETE_WHOLE, split)
    conn.executemany(DELETE_WHOLE_ORIGIN, split)


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
DELETE_CHUNK_ORIGINS = """
    delete from _embedding_origins
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

DELETE_WHOLE_ORIGIN = """
    delete from _embedding_origins
    where collection_id = :collection_id
    and id = :id
    and not exists (
      select 1
      from embeddings
      where embeddings.collection_id = :collection_id
      and embeddings.id = :id
    )
"""


def _write_chunks(
    collection: Collection,
    document: Document,
    chunks: Sequence[Chunk],
) -> None:
    document_hash = document.content_hash
    collection.conn.executemany(
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


def write_vectors(
    collection: Collection,
    vectors: Sequence[tuple[str, Vector]],
    *,
    source_id: int | None = None,
) -> None:
    """Store the vector of each id; of what content it is, is not known."""
    collection.conn.executemany(
        """
        insert or replace into embeddings (collection_id, id, embedding, updated)
        values (?, ?, ?, ?)
        """,
        [
            (collection.id, item_id, encode(vector), int(time.time()))
            for item_id, vector in vectors
        ],
    )
    brought = ((item_id, None) for item_id, _vector in vectors)
    write_origins(collection, source_id, brought)
