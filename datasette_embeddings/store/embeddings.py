"""Embeddings: llm's table of vectors, content and metadata."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from datasette_embeddings.documents import Document
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.origins import write_origins
from datasette_embeddings.store.schema import PARAMETERS
from datasette_embeddings.store.states import IS_IMAGE, Ownership
from datasette_embeddings.vectors import BYTES_PER_NUMBER, decode, encode

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors

Value = TypeVar("Value", str, bytes)
WAS_STORED = "(embeddings.content is not null or content_blob is not null)"


def vectors_of_hashes(
    collection: Collection,
    hashes: Sequence[bytes],
    *,
    dimensions: int,
    images: bool,
) -> dict[bytes, Vector]:
    """The vectors in *collection* of contents with these *hashes*, as far as there are.

    The contents are *images*, or texts: the same bytes have another vector then.
    """
    length = dimensions * BYTES_PER_NUMBER
    found: dict[bytes, Vector] = {}
    # One row a hash, however many items have it; "+" makes it use the hash index
    for some in _portions(hashes):
        names = {f"hash_{number}": digest for number, digest in enumerate(some)}
        wanted = ", ".join(f"(:{name})" for name in names)
        rows = collection.conn.execute(
            f"""
            select wanted, (
              select embedding
              from embeddings
              where content_hash = wanted
              and +collection_id = :collection_id
              and typeof(embedding) = 'blob'
              and length(embedding) = :length
              and {IS_IMAGE} = :images
              limit 1
            )
            from (select column1 as wanted from (values {wanted}))
            """,
            {
                "collection_id": collection.id,
                "length": length,
                "images": images,
                "unstored_are_images": collection.has_images,
                **names,
            },
        )
        found.update((digest, decode(vector)) for digest, vector in rows if vector)
    return found


def write_embeddings(
    collection: Collection,
    documents: Sequence[Document],
    vectors: Vectors,
    *,
    store_content: bool,
    ownership: Ownership = Ownership(),
) -> None:
    """Store a vector for each of *documents*, replacing what their ids had.

    An item that had its content stored keeps it so; metadata that *documents* say
    nothing of stay where *ownership* says so.
    """
    now, keeps = int(time.time()), ownership.keeping_sql
    metadata = [
        json.dumps(each.metadata) if each.metadata else None for each in documents
    ]
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
          case when :store or {WAS_STORED} then :content end,
          case when :store or {WAS_STORED} then :image end,
          :content_hash,
          coalesce(:metadata, case when {keeps} then embeddings.metadata end),
          :now
        from (select 1)
        left join embeddings
          on embeddings.collection_id = :collection_id and embeddings.id = :id
        """,
        [
            {
                "collection_id": collection.id,
                "id": document.id,
                "embedding": encode(vector),
                "store": store_content,
                "content": None if is_image(document) else document.content,
                "image": document.content if is_image(document) else None,
                "content_hash": document.content_hash,
                "metadata": noted,
                "now": now,
            }
            for document, vector, noted in zip(
                documents, vectors, metadata, strict=True
            )
        ],
    )
    brought = zip((each.id for each in documents), metadata, strict=True)
    write_origins(collection, ownership.source_id, brought)


def is_image(document: Document) -> bool:
    """Whether what stands for *document* is bytes."""
    return isinstance(document.content, bytes)


def _portions(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """*values*, as many at a time as one statement takes."""
    for start in range(0, len(values), PARAMETERS):
        yield values[start : start + PARAMETERS]
