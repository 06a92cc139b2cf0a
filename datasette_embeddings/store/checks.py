"""Rows that should not be there, and their removal."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

from datasette_embeddings.store.changes import STALE_FACTS, drop_stale_facts
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.items import usual_vector_length
from datasette_embeddings.store.origins import drop_lost_origins, owner_sql
from datasette_embeddings.store.schema import (
    CHUNKS,
    COLUMN_TYPES,
    FAILURES,
    ORIGINS,
    OUR_COLLECTIONS,
    SIDE_TABLES,
    SIMILARITIES,
    SIMILARITY_MARKS,
    columns_of,
    read_columns,
    transaction,
    valid_sql,
)
from datasette_embeddings.store.similarities import remove_similarities
from datasette_embeddings.store.similarity_notes import (
    note_similarities,
    similarity_settings,
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


def count_odd_vectors(collection: Collection) -> int:
    """Items whose vector is none, or of another length than most."""
    length, _count_of_it = usual_vector_length(collection.conn, collection.id)
    return _count(collection.conn, ODD_VECTORS, collection.id, length)


def count_odd_rows(collection: Collection) -> int:
    """How many rows of *collection* have a value of the wrong type for its column.

    Another program wrote them.  The row or the value is left out of answers.
    """
    return sum(
        _count(
            collection.conn,
            f"from {table} where not ({condition}) and collection_id = ?",
            collection.id,
        )
        for table, condition in _typed_tables(collection.conn)
    )


def remove_odd_rows(collection: Collection, *, is_known: bool) -> None:
    """Repair what :func:`count_odd_rows` counts, as far as that loses nothing.

    Rows that a source brought are deleted, and the next sync brings them again; so are
    the positions of chunks if all sources are known.
    """
    conn = collection.conn
    with transaction(conn):
        _mend_items(collection)
        for table, condition in _typed_tables(conn):
            odd = f"from {table} where not ({condition}) and collection_id = ?"
            if table == FAILURES or (table == CHUNKS and is_known):
                conn.execute(f"delete {odd}", [collection.id])
            elif table in (SIMILARITIES, SIMILARITY_MARKS) and _count(
                conn, odd, collection.id
            ):
                # All are compared again
                settings = similarity_settings(collection)
                remove_similarities(collection)
                note_similarities(collection, settings)


def _mend_items(collection: Collection) -> None:
    conn = collection.conn
    columns = columns_of(conn, "embeddings")
    odd = f"collection_id = ? and not ({valid_sql('embeddings', columns)})"
    brought = f"{owner_sql(collection)} is not null"
    conn.execute(f"delete from embeddings where {odd} and {brought}", [collection.id])
    # A time or a hash of another type has no meaning
    for column, value in (("updated", int(time.time())), ("content_hash", None)):
        if column in columns:
            types = ", ".join(map(repr, COLUMN_TYPES["embeddings"][column]))
            conn.execute(
                f"""
                update embeddings
                set {column} = ?
                where collection_id = ?
                and typeof({column}) not in ({types})
                """,
                [value, collection.id],
            )
    rows = conn.execute(
        """
        select rowid, id
        from embeddings
        where collection_id = ?
        and typeof(id) = 'blob'
        """,
        [collection.id],
    )
    for rowid, item_id in rows.fetchall():
        with suppress(UnicodeDecodeError):
            conn.execute(
                "update or ignore embeddings set id = ? where rowid = ?",
                [item_id.decode("utf-8"), rowid],
            )
    if "content_hash" in columns:
        conn.execute(_DELETE_COPIES, [collection.id])


# Items whose id is not TEXT, if another item has the same content
_DELETE_COPIES = """
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
"""


def _typed_tables(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """The tables with typed columns, each with the condition for a valid row."""
    columns = read_columns(conn)
    return [
        (table, valid_sql(table, columns[table]))
        for table in filter(columns.get, COLUMN_TYPES)
    ]


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


def remove_odd_vectors(collection: Collection) -> None:
    """Delete items whose vector is none or of another length than most."""
    conn = collection.conn
    length, _count_of_it = usual_vector_length(conn, collection.id)
    with transaction(conn):
        conn.execute(f"delete {ODD_VECTORS}", [collection.id, length])


def _count(conn: sqlite3.Connection, sql: str, *parameters: object) -> int:
    return int(conn.execute(f"select count(*) {sql}", parameters).fetchone()[0])
