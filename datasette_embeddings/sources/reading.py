"""The rows of a source: all as documents, or some as a result shows them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from datasette_embeddings.chunks import Document
from datasette_embeddings.errors import SourceProblem
from datasette_embeddings.item_ids import item_id_of, key_values
from datasette_embeddings.sources.definitions import QuerySource, TableSource, quote

SNAPSHOT_TABLE = "temp._embedding_source"
PAGE_ROWS = 500


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
def snapshot(
    conn: sqlite3.Connection, source: TableSource | QuerySource
) -> Iterator[Snapshot]:
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


def _copy_rows(
    conn: sqlite3.Connection, source: TableSource | QuerySource, keys: int
) -> int:
    """How many rows of *source* were copied to the snapshot table."""
    query = _rows_sql(source)
    try:
        found = len(conn.execute(f"select * from ({query}\n) limit 0").description)
        if found <= keys:
            raise SourceProblem(
                f"Expected at least two columns, the id and the content; found {found}"
            )
        # Names of our own: the query's may come twice, or be called rowid
        columns = ", ".join(f"column_{place}" for place in range(found))
        conn.execute(
            f"create table {SNAPSHOT_TABLE} (number integer primary key, {columns})"
        )
        cursor = conn.execute(
            f"insert into {SNAPSHOT_TABLE} ({columns}) select * from ({query}\n)"
        )
        conn.commit()
    except sqlite3.OperationalError as error:
        conn.rollback()
        conn.execute(f"drop table if exists {SNAPSHOT_TABLE}")
        raise SourceProblem(f"The rows cannot be read: {error}") from error
    return cursor.rowcount


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
    values = key_values(item_id, len(source.key_columns))
    selected = f"select {', '.join(map(quote, columns))} from {quote(source.table)}"
    by_value = " and ".join(f"{quote(key)} = ?" for key in source.key_columns)
    # A column without a type keeps 7 and '7' apart, and the id is text: look twice
    by_text = " and ".join(
        f"cast({quote(key)} as text) = ?" for key in source.key_columns
    )
    for condition in (by_value, by_text):
        row = conn.execute(f"{selected} where {condition}", values).fetchone()
        if row is not None:
            return tuple(row)
    return None


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


def _rows_sql(source: TableSource | QuerySource) -> str:
    if isinstance(source, QuerySource):
        return source.sql.strip().rstrip(";")
    columns = ", ".join(map(quote, (*source.key_columns, *source.content_columns)))
    return f"select {columns} from {quote(source.table)}"
