"""Rows that should not exist, and their removal."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

from datasette_embeddings.store.collection_writes import STALE_FACTS, drop_stale_facts
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.schema import (
    CHUNKS,
    COLUMN_TYPES,
    EMBEDDINGS,
    FAILURES,
    ORIGINS,
    OUR_COLLECTIONS,
    SIDE_TABLES,
    SIMILARITIES,
    SIMILARITY_MARKS,
    read_columns,
    transaction,
    valid_sql,
)
from datasette_embeddings.store.similarities import Similarities

ORPHANS = """
    from embeddings
    where not exists (
      select 1
      from collections
      where collections.id = embeddings.collection_id
    )
"""
# Chunks or origins of deleted items
WITHOUT_ITEM = """
    from {table}
    where not exists (
      select 1
      from embeddings
      where embeddings.collection_id = {table}.collection_id
      and embeddings.id = {table}.id
    )
"""
LOST_CHUNKS = WITHOUT_ITEM.format(table=CHUNKS)
ODD_VECTORS = """
    from embeddings
    where collection_id = ?
    and (typeof(embedding) != 'blob' or length(embedding) != ?)
"""


def count_strays(conn: sqlite3.Connection) -> dict[str, int]:
    """The kinds of rows that belong to nothing, in words, and how many there are."""
    columns = read_columns(conn)
    left_behind = 0
    # llm deletes collections without our rows of them
    if columns[OUR_COLLECTIONS]:
        known = f"(select collection_id from {OUR_COLLECTIONS})"
        stale = f"(select collection_id {STALE_FACTS})"
        rows = f"where collection_id in {stale} or collection_id not in {known}"
        left_behind = _count(conn, STALE_FACTS) + sum(
            _count(conn, f"from {table} {rows}")
            for table in filter(columns.get, SIDE_TABLES)
        )
    return {
        "embeddings without a collection": _count(conn, ORPHANS),
        "facts about a collection that was deleted": left_behind,
        "chunks without an embedding": (
            _count(conn, LOST_CHUNKS) if columns[CHUNKS] else 0
        ),
    }


def count_odd_vectors(collection: Collection) -> int:
    """Items without a vector, or with one of another length than most."""
    length, _number = collection.usual_vector_length()
    return _count(collection.conn, ODD_VECTORS, collection.id, length)


def count_odd_rows(collection: Collection) -> int:
    """How many rows of *collection* have a value of the wrong type for its column.

    Another program wrote them.  The row or the value is left out of answers.
    """
    return sum(
        _count(collection.conn, odd, collection.id)
        for odd in _odd_rows(collection.conn).values()
    )


def _odd_rows(conn: sqlite3.Connection) -> dict[str, str]:
    """For each table with typed columns the SQL for its odd rows in a collection."""
    columns = read_columns(conn)
    return {
        table: f"""
            from {table}
            where not ({valid_sql(table, columns[table])})
            and collection_id = ?
        """
        for table in filter(columns.get, COLUMN_TYPES)
    }


def remove_odd_rows(collection: Collection, *, is_known: bool) -> None:
    """Repair what :func:`count_odd_rows` counts, as far as that loses nothing.

    Rows that a source brought are deleted, and the next sync brings them again; so are
    the positions of chunks if all sources are known.
    """
    conn = collection.conn
    with transaction(conn):
        odd_rows = _odd_rows(conn)
        _repair_items(collection, odd_rows.pop(EMBEDDINGS))
        for table, odd in odd_rows.items():
            if table == FAILURES or (table == CHUNKS and is_known):
                conn.execute(f"delete {odd}", [collection.id])
            elif table in (SIMILARITIES, SIMILARITY_MARKS) and _count(
                conn, odd, collection.id
            ):
                # All are compared again
                similarities = Similarities(collection)
                similarities.clear()
                similarities.store_settings(similarities.settings)


def _repair_items(collection: Collection, odd: str) -> None:
    conn, columns = collection.conn, read_columns(collection.conn)[EMBEDDINGS]
    conn.execute(
        f"delete {odd} and {owner_sql(collection)} is not null", [collection.id]
    )
    # A time or a hash of another type has no meaning
    for column, value in (("updated", int(time.time())), ("content_hash", None)):
        if column in columns:
            types = ", ".join(map(repr, COLUMN_TYPES[EMBEDDINGS][column]))
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


def remove_strays(conn: sqlite3.Connection) -> None:
    """Delete orphans, rows of no collection, and documents that lost a chunk."""
    columns = read_columns(conn)
    with transaction(conn):
        conn.execute(f"delete {ORPHANS}")
        drop_stale_facts(conn)
        if columns[ORIGINS]:
            conn.execute(f"delete {WITHOUT_ITEM.format(table=ORIGINS)}")
        if columns[CHUNKS]:
            # The whole document: the next run embeds it again
            conn.execute(
                f"""
                delete from {CHUNKS}
                where (collection_id, document_id) in (
                  select collection_id, document_id
                  {LOST_CHUNKS}
                )
                """
            )


def remove_odd_vectors(collection: Collection) -> None:
    """Delete items without a vector, or with one of another length than most."""
    length, _number = collection.usual_vector_length()
    with transaction(collection.conn):
        collection.conn.execute(f"delete {ODD_VECTORS}", [collection.id, length])


def _count(conn: sqlite3.Connection, rows: str, *parameters: object) -> int:
    return int(conn.execute(f"select count(*) {rows}", parameters).fetchone()[0])
