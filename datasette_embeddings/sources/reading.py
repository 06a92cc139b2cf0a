"""The rows of a source: all as documents, or some as a result shows them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from datasette_embeddings.chunks import Document
from datasette_embeddings.errors import SourceProblem
from datasette_embeddings.item_ids import item_id_of, key_values
from datasette_embeddings.sources.definitions import QuerySource, TableSource, quote

SNAPSHOT_TABLE = "temp._embedding_source"
PAGE_ROWS = 500
MAX_INTEGER = 2**63
# What SQLite says of the database and not of the query
FAULTS_OF_THE_FILE = ("database", "disk", "unable to open", "attempt to write")

ReadableSource: TypeAlias = TableSource | QuerySource


@dataclass(frozen=True)
class Snapshot:
    """The rows of a source at one moment: how many, and each as a document."""

    count: int
    documents: Iterator[Document]


@dataclass(frozen=True)
class SourceRow:
    """What a source row shows of itself in a result."""

    title: str | None
    content: str


@contextmanager
def snapshot(conn: sqlite3.Connection, source: ReadableSource) -> Iterator[Snapshot]:
    """The rows of *source*, their content joined with spaces as llm does.

    They are copied to a temporary table first.  Reading the source itself between our
    own commits would keep its lock for the whole run, and in WAL mode the first commit
    of somebody else would fail all later ones of ours.

    :raises SourceProblem: for a query that fails or has fewer than two columns; while
        reading, for a row without an id, an id that comes twice, or a BLOB.
    """
    keys = len(source.key_columns) if isinstance(source, TableSource) else 1
    count = _copy_rows(conn, source, keys)
    try:
        yield Snapshot(count, _documents(conn, keys))
    finally:
        conn.execute(f"drop table {SNAPSHOT_TABLE}")


def _copy_rows(conn: sqlite3.Connection, source: ReadableSource, keys: int) -> int:
    """How many rows of *source* were copied to the snapshot table."""
    try:
        rows = conn.execute(_rows_sql(source))
        found = len(rows.description)
        if found <= keys:
            raise SourceProblem(
                f"Expected at least two columns, the id and the content; found {found}"
            )
        # Names of our own: the query's may come twice
        columns = [f"column_{place}" for place in range(found)]
        conn.execute(
            f"create table {SNAPSHOT_TABLE} "
            f"(number integer primary key, {', '.join(columns)})"
        )
        cursor = conn.executemany(
            f"insert into {SNAPSHOT_TABLE} ({', '.join(columns)}) "
            f"values ({', '.join('?' * found)})",
            rows,
        )
        conn.commit()
    except sqlite3.OperationalError as error:
        conn.rollback()
        conn.execute(f"drop table if exists {SNAPSHOT_TABLE}")
        if str(error).startswith(FAULTS_OF_THE_FILE):
            raise
        raise SourceProblem(f"The rows cannot be read: {error}") from error
    return max(cursor.rowcount, 0)


def _documents(conn: sqlite3.Connection, keys: int) -> Iterator[Document]:
    seen: set[str] = set()
    for row in _snapshot_rows(conn):
        item_id = item_id_of(row[:keys])
        if item_id in seen:
            raise SourceProblem(
                f"The id {item_id!r} comes twice; ids must be unique. "
                "Choose another key with --id"
            )
        seen.add(item_id)
        yield Document(item_id, joined(item_id, row[keys:]))


def _snapshot_rows(conn: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    """The copied rows, a page at a time: an open cursor would hinder our commits."""
    last = 0
    while page := conn.execute(
        f"""
        select *
        from {SNAPSHOT_TABLE}
        where number > ?
        order by number
        limit {PAGE_ROWS}
        """,
        [last],
    ).fetchall():
        for row in page:
            yield row[1:]
        last = page[-1][0]


def source_rows(
    conn: sqlite3.Connection, source: TableSource, item_ids: Iterable[str]
) -> dict[str, SourceRow]:
    """What the rows of *item_ids* show; an id whose row is gone is left out."""
    columns = (*source.key_columns, *source.content_columns)
    if source.title_column:
        columns = (*columns, source.title_column)
    keys = len(source.key_columns)
    contents = slice(keys, keys + len(source.content_columns))
    found = {}
    for item_id in item_ids:
        row = _row_of(conn, source, columns, item_id)
        if row is not None:
            title = row[-1] if source.title_column else None
            found[item_id] = SourceRow(
                title=None if title is None else str(title),
                content=joined(item_id, row[contents]),
            )
    return found


def _row_of(
    conn: sqlite3.Connection,
    source: TableSource,
    columns: Sequence[str],
    item_id: str,
) -> tuple[object, ...] | None:
    keys = key_values(item_id, len(source.key_columns))
    if keys is None:
        return None
    # A column without a type keeps 7, '7' and x'37' apart, and the id is text
    conditions = " and ".join(
        f"{_qualified(source, column)} in (?, ?, ?)" for column in source.key_columns
    )
    row = conn.execute(
        f"""
        select {", ".join(_qualified(source, column) for column in columns)}
        from {quote(source.table)}
        where {conditions}
        """,
        [value for key in keys for value in (key, number_or(key), key.encode())],
    ).fetchone()
    return None if row is None else tuple(row)


def number_or(text: str) -> int | float | str:
    """The number that is written as *text*, else *text*."""
    for kind in (int, float):
        try:
            number = kind(text)
        except (ValueError, OverflowError):
            continue
        if str(number) == text and abs(number) < MAX_INTEGER:
            return number
    return text


def _qualified(source: TableSource, column: str) -> str:
    # SQLite takes a quoted name that is no column for a text, but not a qualified one
    return f"{quote(source.table)}.{quote(column)}"


def joined(item_id: str, values: Sequence[object]) -> str:
    """*values* as one text; NULL is nothing, a number its digits.

    :raises SourceProblem: for a BLOB, which is no text.
    """
    if any(isinstance(value, bytes) for value in values):
        raise SourceProblem(
            f"The row {item_id!r} has a BLOB among its content; expected text. "
            "Name the columns to embed with --column"
        )
    return " ".join("" if value is None else str(value) for value in values)


def _rows_sql(source: ReadableSource) -> str:
    if isinstance(source, QuerySource):
        return source.sql
    columns = (*source.key_columns, *source.content_columns)
    selected = ", ".join(_qualified(source, column) for column in columns)
    return f"select {selected} from {quote(source.table)}"
