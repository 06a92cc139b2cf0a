"""Writing documents: an item for each, or one for each of their chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasette_embeddings.chunking import Chunk, chunk_id
from datasette_embeddings.documents import Document
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.origins import Ownership, write_origins
from datasette_embeddings.store.schema import PARAMETERS
from datasette_embeddings.store.words import Words
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    Vector,
    Vectors,
    decode,
    encode,
)


@dataclass(frozen=True)
class EmbeddedDocument:
    """A document with a vector for each of its *chunks*, or one if it is whole."""

    document: Document
    chunks: Sequence[Chunk] | None
    #: What is stored, an item for each vector
    items: Sequence[Document]
    vectors: Vectors  # (n, d)


def items_of(document: Document, chunks: Sequence[Chunk] | None) -> list[Document]:
    """The items that are stored for *document*."""
    if chunks is None:
        return [document]
    return [
        Document(chunk_id(document.id, chunk.position), chunk.text, document.metadata)
        for chunk in chunks
    ]


def vectors_of_hashes(
    collection: Collection, hashes: Sequence[bytes], *, dimensions: int | None
) -> dict[bytes, Vector]:
    """The vectors in *collection* of contents with these *hashes*, if there are any.

    Without *dimensions*, which a remote model has after its first vectors, none are.
    """
    length = None if dimensions is None else dimensions * BYTES_PER_NUMBER
    found: dict[bytes, Vector] = {}
    for start in range(0, len(hashes), PARAMETERS):
        some = hashes[start : start + PARAMETERS]
        # One row a hash, however many items have it; "+" makes it use the hash index
        rows = collection.conn.execute(
            f"""
            with requested (hash) as (values {", ".join(["(?)"] * len(some))})
            select hash, (
              select embedding
              from embeddings
              where content_hash = hash
              and +collection_id = ?
              and typeof(embedding) = 'blob'
              and length(embedding) = ?
              limit 1
            )
            from requested
            """,
            [*some, collection.id, length],
        )
        found.update((digest, decode(vector)) for digest, vector in rows if vector)
    return found


def write_documents(
    collection: Collection,
    embedded: Sequence[EmbeddedDocument],
    *,
    store_content: bool,
    ownership: Ownership = Ownership(),
) -> None:
    """Store *embedded*, and their words, in place of what was stored of them."""
    if not embedded:
        return
    conn = collection.conn
    keys = [
        {
            "collection_id": collection.id,
            "id": each.document.id,
            "kept": len(each.chunks or ()),
            "is_whole": each.chunks is None,
        }
        for each in embedded
    ]
    for sql in _DELETE_OLD:
        conn.executemany(sql, keys)
    Words(collection).write([each.document for each in embedded])
    write_embeddings(
        collection,
        [item for each in embedded for item in each.items],
        np.concatenate([each.vectors for each in embedded]),
        store_content=store_content,
        ownership=ownership,
    )
    conn.executemany(
        """
        insert or replace into _embedding_chunks
          (collection_id, id, document_id, document_hash, position, start, "end")
        values (?, ?, ?, ?, ?, ?, ?)
        """,
        (
            (
                collection.id,
                item.id,
                each.document.id,
                each.document.content_hash,
                chunk.position,
                chunk.start,
                chunk.end,
            )
            for each in embedded
            for item, chunk in zip(each.items, each.chunks or ())  # noqa: B905
        ),
    )


_DELETE_OLD = (
    # The items of a document's chunks from the position :kept on, and all positions
    *(
        f"""
        delete from {table}
        where collection_id = :collection_id
        and id in (
          select id
          from _embedding_chunks
          where collection_id = :collection_id
          and document_id = :id
          and position >= :kept
        )
        """
        for table in ("embeddings", "_embedding_origins")
    ),
    """
    delete from _embedding_chunks
    where collection_id = :collection_id
    and document_id = :id
    """,
    # The id of a document may be that of another one's chunk. A whole document takes
    # its place; of one in chunks the item is deleted that it has from when it was whole
    """
    delete from _embedding_chunks
    where :is_whole
    and collection_id = :collection_id
    and id = :id
    """,
    *(
        f"""
        delete from {table}
        where not :is_whole
        and collection_id = :collection_id
        and id = :id
        and not exists (
          select 1
          from _embedding_chunks
          where collection_id = :collection_id
          and id = :id
        )
        """
        for table in ("embeddings", "_embedding_origins")
    ),
)


def write_embeddings(
    collection: Collection,
    documents: Sequence[Document],
    vectors: Vectors,
    *,
    store_content: bool,
    ownership: Ownership = Ownership(),
) -> None:
    """Store a vector for each of *documents*, replacing what their ids had.

    An item that had its content stored keeps it so.  Metadata that *documents* do not
    supply stay where *ownership* says so.
    """
    now = int(time.time())
    is_stored = "(:store or embeddings.content is not null or content_blob is not null)"
    # replace, not update: a new rowid tells every reader that the row has changed
    collection.conn.executemany(
        f"""
        insert or replace into embeddings
          (collection_id, id, embedding, content, content_blob, content_hash, metadata,
           updated)
        select
          :collection_id,
          :id,
          :embedding,
          case when typeof(:content) = 'text' and {is_stored} then :content end,
          case when typeof(:content) = 'blob' and {is_stored} then :content end,
          :content_hash,
          coalesce(
            :metadata,
            case when {ownership.keeping_sql} then embeddings.metadata end
          ),
          :now
        from (select 1)
        left join embeddings
          on embeddings.collection_id = :collection_id and embeddings.id = :id
        """,
        (
            {
                "collection_id": collection.id,
                "id": document.id,
                "embedding": encode(vector),
                "store": store_content,
                "content": document.content,
                "content_hash": document.content_hash,
                "metadata": json.dumps(document.metadata)
                if document.metadata
                else None,
                "now": now,
            }
            for document, vector in zip(documents, vectors, strict=True)
        ),
    )
    brought = ((each.id, bool(each.metadata)) for each in documents)
    write_origins(collection, ownership.source_id, brought)


def write_vectors(
    collection: Collection,
    vectors: Sequence[tuple[str, Vector]],
    *,
    source_id: int | None = None,
) -> None:
    """Store the vector of each id; of which content it is, is unknown."""
    now = int(time.time())
    collection.conn.executemany(
        """
        insert or replace into embeddings (collection_id, id, embedding, updated)
        values (?, ?, ?, ?)
        """,
        ((collection.id, each, encode(vector), now) for each, vector in vectors),
    )
    brought = ((item_id, False) for item_id, _vector in vectors)
    write_origins(collection, source_id, brought)
