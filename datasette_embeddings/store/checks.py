"""Rows that should not be there, and their removal."""

from __future__ import annotations

import sqlite3

from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.changes import STALE_FACTS, drop_stale_facts
from datasette_embeddings.store.embeddings import usual_vector_length
from datasette_embeddings.store.origins import drop_lost_origins
from datasette_embeddings.store.schema import (
    CHUNKS,
    ORIGINS,
    OUR_COLLECTIONS,
    SIDE_TABLES,
    columns_of,
    transaction,
)

ORPHANS = """
    from embeddings
    where not exists (
      select 1
      from collections
      where collections.id = embeddings.collection_id
    )
"""
LOST_CHUNKS = """
    from _embedding_chunks
    where not exists (
      select 1
      from embeddings
      where embeddings.collection_id = _embedding_chunks.collection_id
      and embeddings.id = _embedding_chunks.id
    )
"""
ODD_VECTORS = """
    from embeddings
    where collection_id = ?
    and (typeof(embedding) != 'blob' or length(embedding) != ?)
"""


def count_orphans(conn: sqlite3.Connection) -> int:
    """Embeddings of a collection that is not there."""
    return _count(conn, ORPHANS)


def count_left_behind(conn: sqlite3.Connection) -> int:
    """Rows of ours that belong to no collection: llm deletes without telling us."""
    if not columns_of(conn, OUR_COLLECTIONS):
        return 0
    disagreeing = f"select collection_id {STALE_FACTS}"
    count = _count(conn, STALE_FACTS)
    for table in SIDE_TABLES:
        if columns_of(conn, table):
            count += _count(
                conn,
                f"""
                from {table}
                where collection_id in ({disagreeing})
                or collection_id not in (
                  select collection_id
                  from _embedding_collections
                )
                """,
            )
    return count


def count_lost_chunks(conn: sqlite3.Connection) -> int:
    """Chunks whose embedding is gone."""
    return _count(conn, LOST_CHUNKS) if columns_of(conn, CHUNKS) else 0


def count_odd_vectors(conn: sqlite3.Connection, collection: Collection) -> int:
    """Items whose vector is none, or of another length than most."""
    length, _count_of_it = usual_vector_length(conn, collection.id)
    return _count(conn, ODD_VECTORS, collection.id, length)


def remove_strays(conn: sqlite3.Connection) -> None:
    """Delete orphans, what was left behind, and documents that lost a chunk."""
    with transaction(conn):
        conn.execute(f"delete {ORPHANS}")
        if columns_of(conn, OUR_COLLECTIONS):
            drop_stale_facts(conn)
        if columns_of(conn, ORIGINS):
            drop_lost_origins(conn)
        if columns_of(conn, CHUNKS):
            # The whole document: it is embedded anew by the next run
            conn.execute(
                f"""
                delete from _embedding_chunks
                where (collection_id, document_id) in (
                  select collection_id, document_id
                  {LOST_CHUNKS}
                )
                """
            )


def remove_odd_vectors(conn: sqlite3.Connection, collection: Collection) -> None:
    """Delete items whose vector is none or of another length than most."""
    length, _count_of_it = usual_vector_length(conn, collection.id)
    with transaction(conn):
        conn.execute(f"delete {ODD_VECTORS}", [collection.id, length])


def _count(conn: sqlite3.Connection, sql: str, *parameters: object) -> int:
    return int(conn.execute(f"select count(*) {sql}", parameters).fetchone()[0])
