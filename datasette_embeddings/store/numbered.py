"""The items of a collection, with the number of each document in the words index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datasette_embeddings.store.chunks import DOCUMENT, items_with_chunks, of_documents
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.schema import rows_in


def numbered_vectors(
    collection: StoredCollection, column: str = "id", first: int | None = None
) -> Iterator[tuple[Any, int, bytes]]:
    """A *column* of each item, its document's number in the words index, its vector.

    Where the words of a document are missing, or those of another content, the number
    is 0, or one below 0 of its chunks; where no words are indexed, it is 0 of all.
    With *first*, only items from that rowid on.
    """
    sql = _numbered_sql(collection, column, "embedding", by_rowid=first is not None)
    if first is not None:
        sql += f"and embeddings.rowid >= {int(first)}"
    return collection.conn.execute(sql)


def rows_from(
    collection: StoredCollection, first: int | None
) -> Iterator[tuple[int, object, str, int, bytes]]:
    """Rowid, time, id, number and vector of each item, in the order of rowids.

    Of those from the rowid *first* on, or of all.
    """
    names = "rowid, embeddings.updated, embeddings.id"
    sql = _numbered_sql(collection, names, "embedding", by_rowid=True)
    own = f"select rowid from embeddings where collection_id = {int(collection.id)}"
    chosen = f"in ({own})" if first is None else f">= {int(first)}"
    sql += f"and embeddings.rowid {chosen} order by embeddings.rowid"
    return collection.conn.execute(sql)


def count_items_from(collection: StoredCollection, first: int | None) -> int:
    """How many items have that rowid or a higher one; all of them for None."""
    if first is None:
        return collection.count_items()
    row = collection.conn.execute(
        """
        select count(*)
        from embeddings not indexed
        where collection_id = ?
        and rowid >= ?
        """,
        [collection.id, first],
    ).fetchone()
    return int(row[0])


def sums_below(collection: StoredCollection, first: int) -> tuple[int, float, float]:
    """Count, and sums of rowids and times, of the items below the rowid *first*."""
    row = collection.conn.execute(
        """
        select count(*), total(rowid), total(
          case when typeof(updated) in ('integer', 'real') then updated end
        )
        from embeddings
        where collection_id = ?
        and rowid < ?
        and typeof(id) = 'text'
        and typeof(embedding) = 'blob'
        """,
        [collection.id, first],
    ).fetchone()
    return row[0], row[1], row[2]


def rowids_of(collection: StoredCollection) -> list[int]:
    """The rowids of all rows of the collection, which an index has."""
    sql = "select rowid from embeddings where collection_id = ?"
    return [rowid for (rowid,) in collection.conn.execute(sql, [collection.id])]


def odd_items(collection: StoredCollection, first: int) -> list[int]:
    """The rowids from *first* on whose id is no TEXT, or whose vector is no BLOB."""
    rows = collection.conn.execute(
        """
        select rowid
        from embeddings not indexed
        where collection_id = ?
        and rowid >= ?
        and (typeof(id) <> 'text' or typeof(embedding) <> 'blob')
        """,
        [collection.id, first],
    )
    return [rowid for (rowid,) in rows]


def numbers_of(collection: StoredCollection, rowids: Sequence[int]) -> dict[int, int]:
    """The number of the document of each item of *rowids* that there still is."""
    sql = _numbered_sql(collection, "rowid", "null", by_rowid=True)
    rows = rows_in(collection.conn, f"{sql} and embeddings.rowid in", [], rowids)
    return {rowid: number for rowid, number, _null in rows}


def count_words(collection: StoredCollection, first: int) -> int:
    """How many documents have words numbered from *first* on."""
    row = collection.conn.execute(
        "select count(*) from _embedding_words where +collection_id = ? and id >= ?",
        [collection.id, first],
    ).fetchone()
    return int(row[0])


def items_of_words(collection: StoredCollection, first: int) -> set[int]:
    """The rowids of the items whose documents have words numbered from *first* on."""
    if not collection.has_words:
        return set()
    rows = collection.conn.execute(
        "select document_id from _embedding_words where +collection_id = ? and id >= ?",
        [collection.id, first],
    )
    documents = [document_id for (document_id,) in rows]
    found = of_documents(collection, "embeddings.rowid", documents)
    return {rowid for _document_id, rowid in found}


def _numbered_sql(
    collection: StoredCollection, column: str, value: str, *, by_rowid: bool
) -> str:
    """SQL for *column*, number and *value* of each item, with a WHERE to add to."""
    number = _number_sql(collection) if collection.has_words else "0"
    return f"""
        select embeddings.{column}, {number}, {value}
        {items_with_chunks(collection, by_rowid=by_rowid)}
        and typeof(embedding) = 'blob'
    """


def _number_sql(collection: StoredCollection) -> str:
    """SQL for the number of a row of items_with_chunks()."""
    of_chunks = "null"
    if collection.has_chunks:
        of_chunks = """
            (
              select -min(other.rowid)
              from _embedding_chunks as other
              where other.collection_id = chunks.collection_id
              and other.document_id = chunks.document_id
            )
        """
    return f"""
        coalesce(
          (
            select _embedding_words.id
            from _embedding_words
            where _embedding_words.collection_id = embeddings.collection_id
            and _embedding_words.document_id = {DOCUMENT}
            and _embedding_words.content_hash
              is coalesce(
                chunks.document_hash,
                embeddings.content_hash,
                _embedding_words.content_hash
              )
          ),
          {of_chunks},
          0
        )
    """
