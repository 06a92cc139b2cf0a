"""What a collection holds of an item: its content, metadata and vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from datasette_embeddings.documents import Content
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import item_image, matches
from datasette_embeddings.store.chunks import chunk_ids, stored_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.schema import one_moment, rows_in
from datasette_embeddings.vectors import (
    BYTES_PER_NUMBER,
    FLOAT32,
    Vector,
    Vectors,
    decode,
)

# Items that are read at a time
PAGE = 100
# White space that was left out between two chunks, in characters
LONGEST_GAP = 100_000


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a collection, or a document that is stored in chunks.

    *content* is a text or the bytes of an image; None if it is neither stored nor in
    the source row as it was embedded.
    """

    id: str
    content: Content | None = None
    title: str | None = None
    metadata: Mapping[str, object] | None = None
    #: The document that it is a chunk of, or its own id
    document_id: str
    #: For a chunk: where its content is in the document, in characters
    start: int | None = None
    end: int | None = None
    #: float32, (dimensions,), as it is stored; None for a document in chunks
    vector: Vector | None = field(default=None, compare=False, repr=False)


def item_named(collection: StoredCollection, item_id: str) -> Item | None:
    """The item of that id, or the document in chunks; None if there is neither."""
    found = read_items(collection, [item_id])
    if found:
        return found[0]
    parts = read_items(collection, chunk_ids(collection, item_id))
    if not parts:
        return None
    [row] = matches(collection, [Hit(item_id, 0.0)])
    content = _joined(parts) if row.content is None else row.content
    first = replace(parts[0], start=None, end=None, vector=None)
    return replace(first, id=item_id, content=content)


def read_items(collection: StoredCollection, ids: Sequence[str]) -> list[Item]:
    """Those of *ids* that are items, in their order."""
    vectors = dict(
        rows_in(
            collection.conn,
            "select id, embedding from embeddings where collection_id = ? and id in",
            [collection.id],
            ids,
        )
    )
    chunks = stored_chunks(collection, ids)
    hits = [Hit(each, 0.0, chunks.get(each)) for each in ids if each in vectors]
    return [
        Item(
            id=match.id,
            content=item_image(collection, match.id)
            if match.has_image
            else match.content,
            title=match.title,
            metadata=match.metadata,
            document_id=match.document_id,
            start=match.start,
            end=match.end,
            vector=_vector(vectors[match.id]),
        )
        for match in matches(collection, hits)
    ]


def _vector(blob: object) -> Vector | None:
    is_vector = isinstance(blob, bytes) and blob and not len(blob) % BYTES_PER_NUMBER
    return decode(blob) if is_vector else None  # type: ignore[arg-type]


def _joined(chunks: Sequence[Item]) -> str | None:
    """The text of which *chunks* are; between them only white space was left out."""
    text = ""
    for each in chunks:
        if not isinstance(each.content, str) or each.start is None:
            return None
        gap = each.start - len(text)
        if gap > LONGEST_GAP:
            # Another program wrote it
            return None
        text += " " if gap == 1 else "\n" * gap
        text += each.content[max(0, -gap) :]
    return text


def ids_after(collection: StoredCollection, last: str) -> list[str]:
    """The next ids after *last*, in the order of ids."""
    rows = collection.conn.execute(
        """
        select id
        from embeddings
        where collection_id = ?
        and typeof(id) = 'text'
        and id > ?
        order by id
        limit ?
        """,
        [collection.id, last, PAGE],
    )
    return [item_id for (item_id,) in rows]


def stored_vectors(collection: StoredCollection) -> tuple[list[str], Vectors]:
    """The ids of all items with a vector, and the vectors, (n, d).

    Vectors of another length than most are left out.
    """
    with one_moment(collection.conn):
        length, count = collection.usual_vector_length()
        ids = list[str]()
        vectors = np.empty((count, length // BYTES_PER_NUMBER), dtype=FLOAT32)
        for item_id, blob in collection.vector_rows() if length else ():
            if len(blob) == length:
                vectors[len(ids)] = np.frombuffer(blob, dtype=FLOAT32)
                ids.append(item_id)
    return ids, vectors
