"""Rows that should not exist, and their removal."""

from __future__ import annotations

import sqlite3
import time

from datasette_embeddings.store import schema, tables
from datasette_embeddings.store.collection_writes import drop_stale_facts, stale_facts
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.similarities import Similarities

ORPHANS = """
    from embeddings
    where collection_id is null
    or collection_id not in (select id from collections)
"""
LOST_CHUNKS = f"from _embedding_chunks where {schema.has_no_item('_embedding_chunks')}"
ODD_VECTORS = """
    from embeddings
    where collection_id = ?
    and (typeof(embedding) != 'blob' or length(embedding) != ?)
"""


def count_strays(conn: sqlite3.Connection) -> dict[str, int]:
    """The kinds of rows that belong to nothing, in words, and how many there are."""
    columns = schema.read_columns(conn)
    if not columns["embeddings"]:
        return {}
    # What is made of documents is not counted: they are
    facts = [e for e in tables.OUR_TABLES if e not in tables.DERIVED_TABLES]
    chunks = [LOST_CHUNKS] if columns["_embedding_chunks"] else []
    kinds = {
        "embeddings without a collection": [ORPHANS],
        # llm deletes collections without our rows of them
        "facts about a collection that was deleted": stale_facts(conn, facts),
        "chunks without an embedding": chunks,
    }
    return {kind: sum(_count(conn, each) for each in kinds[kind]) for kind in kinds}


def remove_strays(conn: sqlite3.Connection) -> None:
    """Delete orphans, rows of no collection, and documents that lost a chunk."""
    columns = schema.read_columns(conn)
    with schema.transaction(conn):
        conn.execute(f"delete {ORPHANS}")
        drop_stale_facts(conn)
        if columns["_embedding_origins"]:
            has_none = schema.has_no_item("_embedding_origins")
            conn.execute(f"delete from _embedding_origins where {has_none}")
        if columns["_embedding_chunks"]:
            # The whole document: the next run embeds it again
            conn.execute(
                f"""
                delete from _embedding_chunks
                where (collection_id, document_id) in (
                  select collection_id, document_id
                  {LOST_CHUNKS}
                )
                """
            )


def count_odd_vectors(collection: StoredCollection) -> int:
    """Items without a vector, or with one of another length than most."""
    length, _number = collection.usual_vector_length()
    return _count(collection.conn, ODD_VECTORS, collection.id, length)


def remove_odd_vectors(collection: StoredCollection) -> None:
    """Delete items without a vector, or with one of another length than most."""
    length, _number = collection.usual_vector_length()
    with schema.transaction(collection.conn):
        collection.conn.execute(f"delete {ODD_VECTORS}", [collection.id, length])


def count_odd_rows(collection: StoredCollection) -> int:
    """How many rows of *collection* have a value of the wrong type for its column.

    Another program wrote them.  The row or the value is left out of answers.
    """
    odd_rows = _odd_rows(collection.conn).values()
    return sum(_count(collection.conn, odd, collection.id) for odd in odd_rows)


def remove_odd_rows(collection: StoredCollection, *, is_known: bool) -> None:
    """Repair what :func:`count_odd_rows` counts, as far as that loses nothing.

    Rows that a source brought are deleted, and the next sync brings them again; so are
    the positions of chunks if all sources are known.
    """
    conn, similarities = collection.conn, Similarities(collection)
    with schema.transaction(conn):
        for table, odd in _odd_rows(conn).items():
            if table == "embeddings":
                _repair_items(collection, odd)
            elif table == "_embedding_failures" or (
                table == "_embedding_chunks" and is_known
            ):
                conn.execute(f"delete {odd}", [collection.id])
            elif table.startswith("embedding_"):
                # The next refresh makes what is missing of clusters and coordinates
                conn.execute(f"delete {odd}", [collection.id])
            elif table != "_embedding_chunks" and _count(conn, odd, collection.id):
                # All similarities are compared again
                similarities.clear()
                similarities.store_settings(similarities.settings)


def _odd_rows(conn: sqlite3.Connection) -> dict[str, str]:
    """For each table with typed columns the SQL for its odd rows in a collection."""
    columns = schema.read_columns(conn)
    return {
        table: f"""
            from {table}
            where not ({schema.valid_sql(table)})
            and collection_id = ?
        """
        for table in filter(columns.get, tables.COLUMN_TYPES)
    }


def _repair_items(collection: StoredCollection, odd: str) -> None:
    conn = collection.conn
    conn.execute(
        f"delete {odd} and {owner_sql(collection)} is not null", [collection.id]
    )
    # A time or a hash of another type has no meaning
    for column, value in (("updated", int(time.time())), ("content_hash", None)):
        types = ", ".join(map(repr, tables.COLUMN_TYPES["embeddings"][column]))
        conn.execute(
            f"""
            update embeddings
            set {column} = ?
            where collection_id = ?
            and typeof({column}) not in ({types})
            """,
            [value, collection.id],
        )
    # An item whose id is not TEXT, if another one has the same content
    conn.execute(
        """
        delete from embeddings
        where collection_id = ?
        and typeof(id) != 'text'
        and exists (
          select 1
          from embeddings as same
          where same.content_hash = embeddings.content_hash
          and +same.collection_id = embeddings.collection_id
          and typeof(same.id) = 'text'
        )
        """,
        [collection.id],
    )


def _count(conn: sqlite3.Connection, rows: str, *parameters: object) -> int:
    return int(conn.execute(f"select count(*) {rows}", parameters).fetchone()[0])
