"""The tables as they are in a database, and pieces of SQL about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

from datasette_embeddings.databases import WRITERS, quote
from datasette_embeddings.errors import DatabaseError, SchemaError
from datasette_embeddings.migrations import migrate
from datasette_embeddings.sources.definitions import (
    CollectionSource,
    SourceState,
    source_from_json,
)
from datasette_embeddings.store.tables import (
    COLUMN_TYPES,
    LLM_TABLES,
    METADATA_OF_COLLECTION,
    RAW_TABLES,
    REQUIRED_COLUMNS,
    WORDS_OF_COLLECTION,
)

# The id of the one source of a collection that 0.2a0 stored
OLD_SOURCE_ID = 0
# The last second of the year 9999
LAST_SECOND = 253_402_300_799
# SQLite takes at least 999 parameters in one statement
PARAMETERS = 900
# Changes that are kept in memory until they are committed: 10 million similarities of
# short ids take 400 MB
CHANGED_BYTES = 600_000_000

#: The columns of each table of REQUIRED_COLUMNS; none of one that does not exist
Columns: TypeAlias = Mapping[str, Sequence[str]]


def words_table(collection_id: int) -> str:
    """The name of the FTS5 table of a collection; its shadow tables begin with it."""
    return f"{WORDS_OF_COLLECTION}{int(collection_id)}"


def metadata_table(collection_id: int) -> str:
    """The name of the table with the indexed metadata of a collection."""
    return f"{METADATA_OF_COLLECTION}{int(collection_id)}"


@contextmanager
def one_moment(conn: sqlite3.Connection) -> Iterator[None]:
    """A read transaction: everything that is read within is of the same moment."""
    if conn.in_transaction:
        yield
        return
    conn.execute("begin")
    try:
        yield
    finally:
        conn.rollback()


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing, taking the write lock at once."""
    if conn.in_transaction:
        with conn:
            yield
        return
    path = conn.execute("pragma database_list").fetchone()[2]
    # A database in memory has one connection
    with WRITERS[path] if path else nullcontext():
        conn.execute("begin immediate")
        with conn:
            yield


def read_columns(conn: sqlite3.Connection) -> Columns:
    """The columns of each of our tables and llm's, read in one statement.

    A table of another program counts as missing if its name has no underscore in front,
    such as ``similarities``.

    :raises SchemaError: if another table of these names has other columns.
    """
    found: dict[str, list[str]] = {table: [] for table in REQUIRED_COLUMNS}
    for table, column in conn.execute(_COLUMNS_SQL):
        found[table].append(column)
    for table, required in REQUIRED_COLUMNS.items():
        if found[table] and not set(required) <= set(found[table]):
            # openai-to-sqlite has similarities, too, without collections
            if table.startswith("_") or table in LLM_TABLES:
                raise SchemaError(table, required, found[table])
            found[table] = []
    return found


_COLUMNS_SQL = f"""
    select tables.name, columns.name
    from (
      select column1 as name
      from (values {", ".join(f"('{table}')" for table in REQUIRED_COLUMNS)})
    ) as tables
    cross join pragma_table_info(tables.name, 'main') as columns
    order by columns.cid
"""


def read_sources(conn: sqlite3.Connection) -> dict[int, list[CollectionSource]]:
    """The sources of each collection, by its id.

    An unknown state, of a newer release, counts as REPLACED: its permission is
    required, and it is not read.
    """
    found: dict[int, list[CollectionSource]] = {}
    rows = conn.execute(
        """
        select id, collection_id, prefix, source, state, synced
        from _embedding_sources
        order by prefix, id
        """
    )
    states = {state.value: state for state in SourceState}
    for source_id, collection_id, prefix, text, state, synced in rows:
        if not isinstance(prefix, str):
            # Written by another program: it is not read, and its items are not shown
            prefix, text, state = "", None, None
        each = CollectionSource(
            source_id,
            prefix,
            source_from_json(text),
            read_timestamp(synced),
            states.get(state, SourceState.REPLACED),
        )
        found.setdefault(collection_id, []).append(each)
    return found


def read_timestamp(value: object) -> int | None:
    """*value* if it is Unix seconds up to the year 9999."""
    is_valid = isinstance(value, int) and 0 <= value <= LAST_SECOND
    return value if is_valid else None  # type: ignore[return-value]


def raw_tables(conn: sqlite3.Connection) -> list[str]:
    """Every table of which the visitor of one collection may see another's rows."""
    rows = conn.execute(
        """
        select name
        from sqlite_master
        where type in ('table', 'view')
        and (lower(name) glob ? or lower(name) glob ?)
        """,
        [f"{WORDS_OF_COLLECTION}*", f"{METADATA_OF_COLLECTION}*"],
    )
    return [*RAW_TABLES, *(name for (name,) in rows)]


def prepare(conn: sqlite3.Connection) -> None:
    """Create the tables, or bring them up to date."""
    read_columns(conn)
    migrate(conn)
    columns = read_columns(conn)
    if not (columns["collections"] and columns["embeddings"]):
        raise DatabaseError(
            "One of the tables 'collections' and 'embeddings' is there without the "
            "other; restore it from a copy, or use another database file"
        )


def create_tables(
    conn: sqlite3.Connection, names: Sequence[str], statements: Sequence[str]
) -> None:
    """Create the tables *names* by *statements*, if they do not exist.

    :raises SchemaError: if another program has a table of such a name.
    """
    for table in names:
        found, required = columns_of(conn, table), REQUIRED_COLUMNS[table]
        if found and not set(required) <= set(found):
            raise SchemaError(table, required, found)
    prepare(conn)
    with transaction(conn):
        for sql in statements:
            conn.execute(sql)


def columns_of(conn: sqlite3.Connection, table: str) -> list[str]:
    """The columns of *table* in the main database; none if it does not exist."""
    sql = "select name from pragma_table_info(?, 'main') order by cid"
    return [name for (name,) in conn.execute(sql, [table])]


def rows_in(
    conn: sqlite3.Connection,
    sql: str,
    parameters: Sequence[object],
    values: Sequence[object],
) -> Iterator[tuple[Any, ...]]:
    """The rows of *sql*, which ends with ``in``, for all *values*.

    Each statement takes as many of them as SQLite allows.
    """
    for start in range(0, len(values), PARAMETERS):
        some = values[start : start + PARAMETERS]
        marks = ", ".join("?" * len(some))
        yield from conn.execute(f"{sql} ({marks})", [*parameters, *some])


def valid_sql(table: str) -> str:
    """SQL for whether all values in a row of *table* have the types of columns."""
    return " and ".join(
        f"typeof({quote(table)}.{quote(column)}) in ({', '.join(map(repr, types))})"
        for column, types in COLUMN_TYPES[table].items()
    )


def has_no_item(table: str) -> str:
    """SQL for whether the item was deleted that a row of *table* is about."""
    return f"""
        not exists (
          select 1
          from embeddings
          where embeddings.collection_id = {table}.collection_id
          and embeddings.id = {table}.id
        )
    """


def typed_sql(column: str, kind: str) -> str:
    """SQL for *column*; null if it is not of type *kind*."""
    return f"case when typeof({column}) = '{kind}' then {column} end"


def listed(ids: Iterable[int]) -> str:
    """*ids* as SQL lists them."""
    return ", ".join(str(int(each)) for each in ids)


def table_or_empty(table: str, columns: Columns) -> str:
    """SQL for *table*, or for one without rows if it does not exist."""
    if columns[table]:
        return table
    nulls = ", ".join(f"null as {quote(each)}" for each in REQUIRED_COLUMNS[table])
    return f"(select {nulls} where 0)"


@contextmanager
def kept_in_memory(conn: sqlite3.Connection, *, is_mapped: bool) -> Iterator[None]:
    """Within, the changes of a transaction are not written before its commit.

    In rollback-journal mode SQLite locks readers out when its cache is full. If the
    file *is_mapped* into memory, reading every vector takes half the time.
    """
    before = conn.execute("pragma cache_spill").fetchone()[0]
    mapped = conn.execute("pragma mmap_size").fetchone()
    page_size = conn.execute("pragma page_size").fetchone()[0]
    conn.execute(f"pragma cache_spill = {CHANGED_BYTES // page_size}")
    if is_mapped:
        conn.execute("pragma mmap_size = 1000000000")
    try:
        yield
    finally:
        conn.execute(f"pragma cache_spill = {int(before)}")
        conn.execute(f"pragma mmap_size = {mapped[0] if mapped else 0}")
