"""Embeddings: llm's table of vectors, content and metadata."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from datasette_embeddings.documents import Document
from datasette_embeddings.errors import UnknownItemError
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.origins import write_origins
from datasette_embeddings.store.schema import PARAMETERS, columns_of
from datasette_embeddings.store.states import IS_IMAGE, Ownership
from datasette_embeddings.vectors import BYTES_PER_NUMBER, decode, encode

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors

Value = TypeVar("Value", str, bytes)
WAS_STORED = "(embeddings.content is not null or content_blob is not null)"


@dataclass(frozen=True)
class StoredItem:
    """What an embedding's row keeps beside the vector."""

    id: str
    content: str | None
    metadata: Mapping[str, object] | None
    #: Its content is stored, and bytes
    has_image: bool = False
    #: Of the content that was embedded, where it is known
    content_hash: bytes | None = None


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


def item_ids(collection: Collection) -> set[str]:
    """The id of every item of *collection* that has a vector."""
    rows = collection.conn.execute(
        """
        select id
        from embeddings
        where collection_id = ?
        and typeof(id) = 'text'
        and typeof(embedding) = 'blob'
        """,
        [collection.id],
    )
    return {row[0] for row in rows}


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


def stored_vector(collection: Collection, item_id: str) -> Vector:
    """The vector of one item.

    :raises UnknownItemError: if the collection has no such item.
    """
    row = collection.conn.execute(
        "select embedding from embeddings where collection_id = ? and id = ?",
        [collection.id, item_id],
    ).fetchone()
    if row is None or not isinstance(row[0], bytes):
        raise UnknownItemError(collection.name, item_id)
    return decode(row[0])


def stored_items(
    collection: Collection, item_ids: Sequence[str]
) -> dict[str, StoredItem]:
    """Content and metadata of *item_ids*, as far as they are stored."""
    items = {}
    columns = columns_of(collection.conn, "embeddings")
    # The type alone: SQLite need not read an image for that
    blob = "typeof(content_blob) = 'blob'" if "content_blob" in columns else "0"
    digest = "content_hash" if "content_hash" in columns else "null"
    for some in _portions(item_ids):
        rows = collection.conn.execute(
            f"""
            select
              id,
              case when typeof(content) = 'text' then content end,
              case when typeof(metadata) = 'text' then metadata end,
              {blob},
              case when typeof({digest}) = 'blob' then {digest} end
            from embeddings
            where collection_id = ?
            and id in ({", ".join("?" * len(some))})
            """,
            [collection.id, *some],
        )
        for item_id, content, metadata, has_image, content_hash in rows:
            items[item_id] = StoredItem(
                item_id,
                content,
                _read_metadata(metadata),
                bool(has_image),
                content_hash,
            )
    return items


def has_blobs(conn: sqlite3.Connection) -> bool:
    """Whether content can be bytes here, as it cannot for old releases of llm."""
    return "content_blob" in columns_of(conn, "embeddings")


def snapshot(conn: sqlite3.Connection, collection_id: int) -> tuple[float | None, ...]:
    """A few numbers that change when the vectors of a collection do; last `updated`.

    llm replaces rows, which gives them new rowids; an update in place sets `updated`.
    A row that is deleted and inserted again within one second may change neither:
    numbers taken within a second of the last are not to be trusted.
    """
    # Databases of the first llm releases have no such column
    updated = "updated" if "updated" in columns_of(conn, "embeddings") else "0"
    row = conn.execute(
        f"""
        select count(*), total(rowid), max(rowid), total({updated}), max(
          case when typeof({updated}) in ('integer', 'real') then {updated} end
        )
        from embeddings
        where collection_id = ?
        """,
        [collection_id],
    ).fetchone()
    return tuple(row)


def usual_vector_length(
    conn: sqlite3.Connection, collection_id: int
) -> tuple[int, int]:
    """The length in bytes that most vectors of a collection have, and how many do."""
    row = conn.execute(
        """
        select length(embedding), count(*)
        from embeddings
        where collection_id = ?
        and typeof(embedding) = 'blob'
        and length(embedding) > 0
        and length(embedding) % 4 = 0
        group by 1
        order by 2 desc, 1
        limit 1
        """,
        [collection_id],
    ).fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def vector_rows(
    conn: sqlite3.Connection, collection_id: int
) -> Iterator[tuple[str, bytes]]:
    """Every id and vector of a collection that are TEXT and BLOB, as they must be."""
    return conn.execute(
        """
        select id, embedding
        from embeddings
        where collection_id = ?
        and typeof(id) = 'text'
        and typeof(embedding) = 'blob'
        """,
        [collection_id],
    )


def is_image(document: Document) -> bool:
    """Whether what stands for *document* is bytes."""
    return isinstance(document.content, bytes)


def _portions(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """*values*, as many at a time as one statement takes."""
    for start in range(0, len(values), PARAMETERS):
        yield values[start : start + PARAMETERS]


def _read_metadata(text: str | None) -> Mapping[str, object] | None:
    try:
        metadata = json.loads(text) if text else None
    except ValueError:
        # llm writes JSON; whatever else somebody put there is shown, not lost
        return {"metadata": text}
    return metadata if isinstance(metadata, dict | None) else {"metadata": metadata}
