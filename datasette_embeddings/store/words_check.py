"""What of a words index is not in step with the content of its collection."""

from __future__ import annotations

import sqlite3

from datasette_embeddings.documents import Document
from datasette_embeddings.store.chunks import items_with_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.indexed_text import IndexedText
from datasette_embeddings.store.schema import table_or_empty, words_table
from datasette_embeddings.store.words import TOKENIZERS, WINDOW

# A copy of the index, with the texts that it was made of
COPY, TEXTS = "_embedding_words_copy", "_embedding_words_texts"
SHADOWS = ("data", "idx", "docsize", "config")


def is_current_sql(collection: StoredCollection) -> str:
    """SQL for whether a row of _embedding_words has the words of its document.

    Where it has not, the document was deleted, or another program has replaced it.
    """
    return f"""
        (
          exists (
            select 1
            from embeddings
            where embeddings.collection_id = _embedding_words.collection_id
            and embeddings.id = _embedding_words.document_id
            and coalesce(embeddings.content_hash, _embedding_words.content_hash)
              is _embedding_words.content_hash
          )
          or exists (
            select 1
            from {table_or_empty("_embedding_chunks", collection.columns)} as chunks
            where chunks.collection_id = _embedding_words.collection_id
            and chunks.document_id = _embedding_words.document_id
            and chunks.document_hash is _embedding_words.content_hash
          )
        )
    """


def outdated(collection: StoredCollection) -> list[str]:
    """The documents whose indexed words are not those of their content."""
    if not collection.has_words:
        return []
    rows = collection.conn.execute(
        f"""
        select document_id
        from _embedding_words
        where collection_id = ?
        and not {is_current_sql(collection)}
        """,
        [collection.id],
    )
    return [document_id for (document_id,) in rows]


def unindexed(
    collection: StoredCollection, after: int, limit: int = WINDOW
) -> list[tuple[int, Document]]:
    """Whole items with rowids above *after* whose content is stored, not its words.

    The first *limit* of them, each with its rowid.
    """
    rows = collection.conn.execute(
        f"""
        select embeddings.rowid, embeddings.id, content, content_hash
        {_unindexed_sql(collection)}
        and embeddings.rowid > ?
        order by embeddings.rowid
        limit ?
        """,
        [after, limit],
    )
    return [
        (rowid, Document(item_id, content, known_hash=digest))
        for rowid, item_id, content, digest in rows
    ]


def count_unindexed(collection: StoredCollection) -> int:
    """How many whole items there are whose content is stored, not its words."""
    sql = f"select count(*) {_unindexed_sql(collection)}"
    return int(collection.conn.execute(sql).fetchone()[0])


def _unindexed_sql(collection: StoredCollection) -> str:
    return f"""
        {items_with_chunks(collection)}
        and chunks.id is null
        and typeof(content) = 'text'
        and not exists (
          select 1
          from _embedding_words as words
          where words.collection_id = embeddings.collection_id
          and words.document_id = embeddings.id
        )
    """


def count_indexed(collection: StoredCollection) -> int:
    """How many documents have their words indexed."""
    if not collection.has_words:
        return 0
    row = collection.conn.execute(
        "select count(*) from _embedding_words where collection_id = ?", [collection.id]
    ).fetchone()
    return int(row[0])


def is_lost(collection: StoredCollection) -> bool:
    """Whether the collection had a words index whose table is no longer there."""
    if (
        collection.words is not None
        or "words" not in collection.columns["_embedding_collections"]
    ):
        return False
    row = collection.conn.execute(
        """
        select 1
        from _embedding_collections
        where collection_id = ?
        and name = ?
        and words is not null
        """,
        [collection.id, collection.name],
    ).fetchone()
    return row is not None


def is_damaged(collection: StoredCollection) -> bool:
    """Whether the FTS5 table has other words than the texts that it was made of.

    FTS5 compares an index with its content where it has some.  So the comparison is of
    a temporary copy whose content are the stored texts, and needs no right to write.
    """
    if not collection.has_words:
        return False
    conn, table = collection.conn, words_table(collection.id)
    conn.create_function("_embedding_text", 2, _text, deterministic=True)
    # The copy goes as it came, and a transaction of the caller stays as it is
    conn.execute("savepoint embedding_words_copy")
    try:
        # Fails where one of its own tables is missing
        conn.execute(f"select 1 from {table} limit 1").fetchone()
        _copy(collection)
        conn.execute(f"insert into {COPY} ({COPY}, rank) values ('integrity-check', 1)")
    except sqlite3.DatabaseError as error:
        return _means_damage(error)
    finally:
        # Some errors, such as a full disk, end the whole transaction
        if conn.in_transaction:
            conn.execute("rollback to embedding_words_copy")
            conn.execute("release embedding_words_copy")
    return False


def _copy(collection: StoredCollection) -> None:
    conn = collection.conn
    conn.execute(
        f"""
        create temp view {TEXTS} as
        select
          id,
          _embedding_text(text, 0) as title,
          _embedding_text(text, 1) as body
        from main._embedding_words
        where collection_id = {int(collection.id)}
        """
    )
    conn.execute(
        f"""
        create virtual table temp.{COPY}
        using fts5 (
          title, body, content='{TEXTS}', content_rowid='id',
          tokenize='{TOKENIZERS[str(collection.words)]}'
        )
        """
    )
    for shadow in SHADOWS:
        conn.execute(f"delete from temp.{COPY}_{shadow}")
        conn.execute(
            f"""
            insert into temp.{COPY}_{shadow}
            select *
            from main.{words_table(collection.id)}_{shadow}
            """
        )


def _means_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether *error* is about the index, and not about the place for its copy."""
    if "malformed" in str(error) or "no such table" in str(error):
        return True
    if "vtable constructor" in str(error) or "invalid fts5" in str(error):
        return True
    raise error


def _text(packed: object, part: int) -> str:
    text = IndexedText.unpacked(packed)
    return text.body if part else text.title
