"""Writing documents: an item for each, or one for each of their chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from datasette_embeddings.chunking import Chunk, chunk_id
from datasette_embeddings.documents import Document, title_before_chunks
from datasette_embeddings.store.chunks import DELETE_OLD
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.origins import Ownership, write_origins, write_truncated
from datasette_embeddings.store.schema import PARAMETERS, rows_in
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
    #: What the model read for each, where chunks have the title in front
    passages: Sequence[Document] | None = None
    #: Whether the model read only the beginning; None if that is unknown
    truncated: bool | None = False


def items_of(document: Document, chunks: Sequence[Chunk] | None) -> list[Document]:
    """The items that are stored for *document*."""
    if chunks is None:
        return [document]
    return [
        Document(chunk_id(document.id, chunk.position), chunk.text, document.metadata)
        for chunk in chunks
    ]


def vectors_of_hashes(
    collection: StoredCollection,
    hashes: Sequence[tuple[bytes, bytes]],
    *,
    dimensions: int | None,
) -> dict[bytes, Vector]:
    """The vectors in *collection* of items with these *hashes*, by that of the passage.

    Each is the hash of the passage that the model read and that of the item's content.
    Without *dimensions*, which a remote model has after its first vectors, none are.
    """
    length = None if dimensions is None else dimensions * BYTES_PER_NUMBER
    found: dict[bytes, Vector] = {}
    for start in range(0, len(hashes), PARAMETERS // 2):
        some = hashes[start : start + PARAMETERS // 2]
        # One row a hash, however many items have it; "+" makes it use the hash indexes
        rows = collection.conn.execute(
            f"""
            with requested (passage, own) as (
              values {", ".join(["(?, ?)"] * len(some))}
            )
            select passage, case
              when passage = own then (
                select embedding
                from embeddings
                where content_hash = own
                and {_IS_USABLE}
                and not exists (
                  select 1
                  from _embedding_chunks as chunk
                  where chunk.collection_id = embeddings.collection_id
                  and chunk.id = embeddings.id
                  and chunk.passage_hash is not null
                )
                limit 1
              )
              else (
                select embedding
                from _embedding_chunks as chunk
                join embeddings using (collection_id, id)
                where chunk.passage_hash = passage
                and +content_hash = own
                and {_IS_USABLE}
                limit 1
              )
            end
            from requested
            """,
            [*(digest for each in some for digest in each)]
            + [collection.id, length] * 2,
        )
        found.update((digest, decode(vector)) for digest, vector in rows if vector)
    return found


_IS_USABLE = """
    +embeddings.collection_id = ?
    and typeof(embedding) = 'blob'
    and length(embedding) = ?
"""


def write_documents(
    collection: StoredCollection,
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
    for sql in DELETE_OLD:
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
          (collection_id, id, document_id, document_hash, position, start, "end",
           title, passage_hash, headings)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            row
            for each in embedded
            if each.chunks is not None
            for row in _chunk_rows(collection, each, has_title=ownership.is_titled)
        ),
    )
    cut = [(e.document.id, e.truncated) for e in embedded if e.truncated is not False]
    if cut:
        write_truncated(collection, cut)


def _chunk_rows(
    collection: StoredCollection, each: EmbeddedDocument, *, has_title: bool
) -> Iterator[tuple[object, ...]]:
    """The rows of the chunks of a document."""
    document = each.document
    title = title_before_chunks(document.title) if has_title else None
    passages = each.passages or each.items
    for item, passage, chunk in zip(
        each.items, passages, each.chunks or (), strict=True
    ):
        yield (
            *(collection.id, item.id, document.id, document.content_hash),
            *(chunk.position, chunk.start, chunk.end, title),
            None if passage is item else passage.content_hash,
            json.dumps(chunk.headings) if chunk.headings else None,
        )


def write_embeddings(
    collection: StoredCollection,
    documents: Sequence[Document],
    vectors: Vectors,
    *,
    store_content: bool,
    ownership: Ownership = Ownership(),
) -> None:
    """Store a vector for each of *documents*, replacing what their ids had.

    An item that had its content stored keeps it so; the text of an image is its
    caption.  Metadata that are not supplied stay where *ownership* says so.
    """
    now = int(time.time())
    is_stored = "(:store or embeddings.content is not null or content_blob is not null)"
    kept_metadata = f"case when {ownership.keeping_sql} then embeddings.metadata end"
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
          case when typeof(:content) = 'text' and {is_stored}
            then :content else :caption end,
          case when typeof(:content) = 'blob' and (:store or content_blob is not null)
            then :content end,
          :content_hash,
          coalesce(:metadata, {kept_metadata}),
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
                "caption": document.caption,
                "content_hash": document.content_hash,
                # An empty mapping takes the place of what was stored
                "metadata": None
                if document.metadata is None
                else json.dumps(document.metadata),
                "now": now,
            }
            for document, vector in zip(documents, vectors, strict=True)
        ),
    )
    brought = ((each.id, bool(each.metadata)) for each in documents)
    write_origins(collection, ownership.source_id, brought)


def with_stored_captions(
    collection: StoredCollection, documents: Sequence[Document]
) -> list[Document]:
    """*documents*, where each image has the caption that is stored for it, if any."""
    images = [each.id for each in documents if isinstance(each.content, bytes)]
    sql = """
        select id, content_hash, content
        from embeddings
        where collection_id = ?
        and typeof(content) = 'text'
        and id in
    """
    rows = rows_in(collection.conn, sql, [collection.id], images)
    captions = {(item_id, digest): caption for item_id, digest, caption in rows}
    return [
        replace(each, caption=captions.get((each.id, each.content_hash)))
        if isinstance(each.content, bytes)
        else each
        for each in documents
    ]


def write_vectors(
    collection: StoredCollection,
    vectors: Sequence[tuple[str, Vector]],
    *,
    source_id: int | None = None,
) -> None:
    """Store the vector of each id; of which content it is, is unknown."""
    Words(collection).delete([item_id for item_id, _vector in vectors])
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
