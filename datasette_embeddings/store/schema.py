"""The tables of ours: what they are called, and whether they are ours at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager

from datasette_embeddings.databases import quote
from datasette_embeddings.errors import SchemaError

#: Every table whose rows belong to all collections of a database at once
RAW_TABLES = (
    "collections",
    "embeddings",
    "similarities",
    "_embedding_collections",
    "_embedding_sources",
    "_embedding_origins",
    "_embedding_chunks",
    "_embedding_failures",
    "_embedding_similarity_marks",
)
REQUIRED_COLUMNS = {
    "collections": ("id", "name", "model"),
    "embeddings": ("collection_id", "id", "embedding", "content", "metadata"),
}
OUR_COLLECTIONS = "_embedding_collections"
OUR_COLUMNS = ("collection_id", "name", "model", "source", "synced")
#: Where the items of a collection come from
SOURCES = "_embedding_sources"
#: Which source brought which item
ORIGINS = "_embedding_origins"
CHUNKS = "_embedding_chunks"
FAILURES = "_embedding_failures"
#: The name that openai-to-sqlite has for its own, which has no collections
SIMILARITIES = "similarities"
SIMILARITY_COLUMNS = ("collection_id", "id", "other_id", "score")
SIMILARITY_MARKS = "_embedding_similarity_marks"
#: Our tables whose rows belong to a collection by its id alone
SIDE_TABLES = (SOURCES, ORIGINS, CHUNKS, FAILURES, SIMILARITY_MARKS)
SIDE_COLUMNS = {
    SOURCES: ("id", "collection_id", "prefix", "source", "state", "synced"),
    ORIGINS: ("collection_id", "id", "source_id", "content_hash", "updated"),
    CHUNKS: ("collection_id", "id", "document_id", "document_hash", "position"),
    FAILURES: ("collection_id", "id", "error", "attempts", "last_tried"),
    SIMILARITY_MARKS: ("collection_id", "id", "state", "lowest"),
}
# The types of each column: other programs may have written anything there
COLUMN_TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    CHUNKS: {
        "id": ("text",),
        "document_id": ("text",),
        "document_hash": ("blob",),
        "position": ("integer",),
        "start": ("integer",),
        "end": ("integer",),
    },
    FAILURES: {
        "id": ("text",),
        "error": ("text",),
        "attempts": ("integer",),
        "last_tried": ("integer",),
    },
    SIMILARITIES: {"id": ("text",), "other_id": ("text",), "score": ("real",)},
    "embeddings": {
        "id": ("text",),
        "content": ("text", "null"),
        "content_blob": ("blob", "null"),
        "content_hash": ("blob", "null"),
        "metadata": ("text", "null"),
        "updated": ("integer",),
    },
    SIMILARITY_MARKS: {
        "id": ("text",),
        "state": ("text", "null"),
        "lowest": ("real", "null"),
    },
}
# The last second of the year 9999
LAST_SECOND = 253_402_300_799
# Columns of our tables that databases of earlier releases do not have
LATER_COLUMNS = {
    "model_revision": "text",
    "query_prompt": "text",
    "passage_prompt": "text",
    "normalized": "integer",
    "state": "text",
}
# SQLite takes at least 999 parameters in one statement
PARAMETERS = 900


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing, taking the write lock at once."""
    if not conn.in_transaction:
        conn.execute("begin immediate")
    with conn:
        yield


def check_schema(conn: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of each table of this package; none of a table that is not there.

    :raises SchemaError: if a table of one of the names has other columns.
    """
    tables = {**REQUIRED_COLUMNS, OUR_COLLECTIONS: OUR_COLUMNS, **SIDE_COLUMNS}
    columns = {table: columns_of(conn, table) for table in tables}
    for table, required in tables.items():
        if columns[table] and not set(required) <= set(columns[table]):
            raise SchemaError(table, required, columns[table])
    return columns


def has_collections(conn: sqlite3.Connection) -> bool:
    """Whether *conn* holds the tables of collections.

    :raises SchemaError: if a table has one of the names but not the columns.
    """
    columns = check_schema(conn)
    return all(columns[table] for table in REQUIRED_COLUMNS)


def has_similarities(conn: sqlite3.Connection) -> bool:
    """Whether the table of similarities is there, and is ours."""
    return set(SIMILARITY_COLUMNS) <= set(columns_of(conn, SIMILARITIES))


def columns_of(conn: sqlite3.Connection, table: str) -> list[str]:
    """The columns of *table* in the main database; none if it is not there."""
    return [row[1] for row in conn.execute(f"pragma main.table_info({quote(table)})")]


def valid_sql(table: str, columns: Iterable[str] | None = None) -> str:
    """SQL for whether all values of a row of *table* have the types of their columns.

    *columns* are those that exist: tables of older releases may have fewer.
    """
    return " and ".join(
        f"typeof({quote(table)}.{quote(column)}) in ({', '.join(map(repr, types))})"
        for column, types in COLUMN_TYPES[table].items()
        if columns is None or column in columns
    )


def timestamp_sql(column: str) -> str:
    """SQL for *column* if it holds Unix seconds up to the year 9999, or null."""
    return (
        f"case when typeof({column}) = 'integer' "
        f"and {column} between 0 and {LAST_SECOND} then {column} end"
    )


def later_columns(columns: Container[str]) -> str:
    """SQL for :data:`LATER_COLUMNS`; null if not in *columns* or of another type."""
    return ", ".join(
        f"case when typeof({name}) = '{kind}' then {name} end"
        if name in columns
        else "null"
        for name, kind in LATER_COLUMNS.items()
    )
