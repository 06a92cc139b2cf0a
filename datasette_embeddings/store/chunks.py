"""Which item is which chunk of which document."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasette_embeddings.documents import title_before_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.schema import (
    rows_in,
    table_or_empty,
    typed_sql,
    valid_sql,
)

_VALID_CHUNKS = f"""
    from _embedding_chunks
    where {valid_sql("_embedding_chunks")}
    and collection_id = ?
"""


@dataclass(frozen=True)
class StoredChunk:
    """The document of a chunk, and its position there in chunks and in characters."""

    document_id: str
    document_hash: bytes
    position: int
    start: int
    end: int
    #: The title of the document that the model read; None if it read none
    title: str | None = None
    #: A JSON list of the headings above it; None without any
    headings_json: str | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the document that are open where it starts."""
        try:
            found = json.loads(self.headings_json or "[]")
        except (ValueError, RecursionError):
            # Another program wrote it
            return ()
        is_list = isinstance(found, list)
        return tuple(e for e in found if isinstance(e, str)) if is_list else ()

    def has_other_title(self, title: str | None) -> bool:
        """Whether *title* is not the one that the model read."""
        return None not in (self.title, title) and (
            self.title != title_before_chunks(title)
        )


def stored_chunks(
    collection: StoredCollection, item_ids: Sequence[str]
) -> Mapping[str, StoredChunk]:
    """Those of *item_ids* that are chunks, by id."""
    rows = _rows(collection, _facts(collection), "id in", item_ids)
    return {row[0]: StoredChunk(*row[1:]) for row in rows}


def stored_documents(
    collection: StoredCollection, document_ids: Sequence[str]
) -> Mapping[str, StoredChunk]:
    """The first chunk of each of *document_ids* that is stored as chunks."""
    condition = "position = 0 and document_id in"
    rows = _rows(collection, _facts(collection), condition, document_ids)
    return {row[1]: StoredChunk(*row[1:]) for row in rows}


def _facts(collection: StoredCollection) -> str:
    """SQL for the id of a chunk, and the fields of :class:`StoredChunk`."""
    # Databases of earlier releases have neither titles nor headings
    known = collection.columns["_embedding_chunks"]
    title, headings = (
        typed_sql(each, "text") if each in known else "null"
        for each in ("title", "headings")
    )
    facts = 'id, document_id, document_hash, position, start, "end"'
    return f"{facts}, {title}, {headings}"


def chunk_ids(collection: StoredCollection, document_id: str) -> list[str]:
    """The items that are chunks of a document, in their order."""
    rows = _rows(collection, "position, id", "document_id in", [document_id])
    # Rows of Datasette have no order
    return [item_id for _position, item_id in sorted(map(tuple, rows))]


def _rows(
    collection: StoredCollection, columns: str, condition: str, values: Sequence[str]
) -> Iterable[tuple[Any, ...]]:
    """*columns* of the chunks for which *condition* holds, which ends with ``in``."""
    if not collection.has_chunks:
        return ()
    sql = f"select {columns} {_VALID_CHUNKS} and {condition}"
    return rows_in(collection.conn, sql, [collection.id], values)


def chunks_of_documents(
    collection: StoredCollection, document_ids: Container[str]
) -> set[str]:
    """The items of *collection* that are chunks of one of *document_ids*."""
    if not collection.has_chunks:
        return set()
    sql = f"select id, document_id {_VALID_CHUNKS}"
    rows = collection.conn.execute(sql, [collection.id])
    return {item_id for item_id, document in rows if document in document_ids}


def of_documents(
    collection: StoredCollection, expression: str, ids: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Each of *ids* that is an item or a document in chunks, and SQL about an item."""
    items = f"select id, {expression} from embeddings where collection_id = ?"
    queries = [f"{items} and id in"]
    if collection.has_chunks:
        queries.append(
            f"""
            select document_id, {expression}
            from _embedding_chunks join embeddings using (collection_id, id)
            where {valid_sql("_embedding_chunks")}
            and collection_id = ?
            and document_id in
            """
        )
    for query in queries:
        yield from rows_in(collection.conn, query, [collection.id], ids)


def titles_in_metadata(
    collection: StoredCollection, document_ids: Sequence[str]
) -> dict[str, str]:
    """The text called ``title`` in the stored metadata of some documents, by id."""
    title = "case when json_valid(metadata) then json_extract(metadata, '$.title') end"
    found = of_documents(collection, title, document_ids)
    return {each: value for each, value in found if isinstance(value, str)}


#: SQL for the document of a row of :func:`items_with_chunks`
DOCUMENT = "coalesce(chunks.document_id, embeddings.id)"


def items_with_chunks(collection: StoredCollection, *, by_rowid: bool = False) -> str:
    """SQL for the rows of ``embeddings`` with ``chunks``, and a WHERE to add to.

    *by_rowid* is for some rowids: without it, SQLite would look through all items.
    """
    return f"""
        from embeddings {"not indexed" if by_rowid else ""}
        left join {table_or_empty("_embedding_chunks", collection.columns)} as chunks
          on chunks.collection_id = embeddings.collection_id
          and chunks.id = embeddings.id
          and typeof(chunks.document_id) = 'text'
        where embeddings.collection_id = {int(collection.id)}
        and typeof(embeddings.id) = 'text'
    """


def existing_documents(
    collection: StoredCollection, document_ids: Sequence[str]
) -> set[str]:
    """Which of *document_ids* have an embedding, or chunks that have."""
    return {each for each, _one in of_documents(collection, "1", document_ids)}


def boilerplate(collection: StoredCollection, item_ids: Sequence[str]) -> set[str]:
    """Which of *item_ids* do not count when documents are compared.

    These are chunks whose text occurs in other documents too.  If that is true of all
    chunks of a document, they count: it may be a copy.
    """
    if not collection.has_chunks:
        return set()
    shared = dict(_compared_chunks(collection, f"{_IS_SHARED} and id in", item_ids))
    is_own = f"typeof(embedding) = 'blob' and not {_IS_SHARED} and document_id in"
    documents = set(shared.values())
    # One document at a time, because its first such chunk is enough
    have_own = {e for e in documents if any(_compared_chunks(collection, is_own, [e]))}
    return {each for each, document_id in shared.items() if document_id in have_own}


# Whether another document has the same text; uses the index on hashes
_IS_SHARED = """
    exists (
      select 1
      from embeddings as other
      left join _embedding_chunks as other_chunk
        on other_chunk.collection_id = other.collection_id
        and other_chunk.id = other.id
      where other.content_hash = embeddings.content_hash
      and +other.collection_id = embeddings.collection_id
      and typeof(other.id) = 'text'
      and typeof(other.embedding) = 'blob'
      and coalesce(other_chunk.document_id, other.id) <> _embedding_chunks.document_id
    )
"""


def _compared_chunks(
    collection: StoredCollection, condition: str, values: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """The chunks for which *condition* holds, and the document of each."""
    sql = f"""
        select id, document_id
        from _embedding_chunks join embeddings using (collection_id, id)
        where collection_id = ?
        and {condition}
    """
    return rows_in(collection.conn, sql, [collection.id], values)


#: What is deleted of a document before it is written again, whole or in chunks
DELETE_OLD = (
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
