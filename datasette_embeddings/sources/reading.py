"""The rows of a source: all as documents, or some as a result shows them."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice

from datasette_embeddings.documents import Document, Failure
from datasette_embeddings.errors import SourceError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.item_ids import key_values
from datasette_embeddings.sources.content import RowError, RowReader, content_of_row
from datasette_embeddings.sources.definitions import (
    FileSource,
    FolderSource,
    QuerySource,
    ReadableSource,
    TableSource,
    quote,
)
from datasette_embeddings.sources.folders import files_of_folders
from datasette_embeddings.sources.paths import located
from datasette_embeddings.sources.queries import attached_databases
from datasette_embeddings.sources.rows import BadRow, NumberedRow, rows_of_file

MAX_INTEGER = 2**63
RAW = "temp._embedding_raw"
PAGE = 500
# What SQLite says of the database and not of the query
FAULTS_OF_THE_FILE = ("database", "disk", "unable to open", "attempt to write")
# A search reads images up to this many bytes to compare them with the embedded ones
LARGEST_COMPARED_IMAGE = 1_000_000


@dataclass(frozen=True)
class SourceRow:
    """What a source row shows of itself in a result."""

    title: str | None
    #: None where it holds no text
    content: str | None
    #: It holds an image, which :func:`image_of_row` reads
    has_image: bool = False
    #: The hash of the content as it is embedded, b"" where it cannot be embedded, None
    #: for an image that is too large to be read for that
    content_hash: bytes | None = None


@contextmanager
def documents(
    conn: sqlite3.Connection, source: ReadableSource, *, limit: int | None = None
) -> Iterator[Iterator[Document | Failure]]:
    """Each row of *source* as a document, or why it cannot be one; the first *limit*.

    Rows of the database are copied first, so that nobody has to wait for us.

    :raises SourceError: for a source that cannot be read at all.
    """
    found = located(conn, source)
    attached = found.attached if isinstance(found, QuerySource) else ()
    with attached_databases(conn, attached):
        try:
            yield _first(_documents_of(conn, found, limit), limit)
        finally:
            conn.rollback()
            conn.execute(f"drop table if exists {RAW}")


def _first(
    found: Generator[Document | Failure, None, None], limit: int | None
) -> Iterator[Document | Failure]:
    with closing(found):
        yield from islice(found, limit)


def _documents_of(
    conn: sqlite3.Connection, source: ReadableSource, limit: int | None
) -> Generator[Document | Failure, None, None]:
    if isinstance(source, FolderSource):
        yield from files_of_folders(source)
    elif isinstance(source, FileSource):
        with rows_of_file(source) as (names, rows):
            yield from _documents(source, names, rows)
    else:
        sql = source.sql if isinstance(source, QuerySource) else _table_sql(source)
        names = _copy(conn, sql, limit)
        page = 1 if source.images else PAGE
        yield from _documents(source, names, enumerate(_copied(conn, page), 1))


def _copy(conn: sqlite3.Connection, sql: str, limit: int | None) -> Sequence[str]:
    """The names of the columns of *sql*, whose rows are now in a temporary table.

    What is made of a row may take long, and while rows are read, nobody can commit.
    """
    try:
        rows = conn.execute(sql)
        names = [column[0] for column in rows.description]
        # SQLite ends a running query of two databases when a table is created
        rows.close()
        # Names of our own: the query's may come twice
        columns = [f"column_{place}" for place in range(len(names))]
        conn.execute(f"create table {RAW} ({', '.join(columns)})")
        rows = conn.execute(sql)
        conn.executemany(
            f"insert into {RAW} values ({', '.join('?' * len(names))})",
            islice(rows, limit),
        )
        rows.close()
        conn.commit()
    except sqlite3.OperationalError as error:
        conn.rollback()
        if str(error).startswith(FAULTS_OF_THE_FILE):
            raise
        raise SourceError(f"The rows cannot be read: {error}") from error
    return names


def _copied(conn: sqlite3.Connection, size: int) -> Iterator[Sequence[object]]:
    """The copied rows, *size* at a time: no statement stays open between them."""
    last = 0
    while page := conn.execute(
        f"select rowid, * from {RAW} where rowid > ? order by rowid limit ?",
        [last, size],
    ).fetchall():
        for row in page:
            yield row[1:]
        last = page[-1][0]


def _documents(
    source: ReadableSource, names: Sequence[str], rows: Iterable[NumberedRow]
) -> Iterator[Document | Failure]:
    reader = RowReader(source, names) if names else None
    for number, values in rows:
        if reader is None or isinstance(values, BadRow):
            error = getattr(values, "error", "The object is empty")
            yield Failure(f"row {number}", error, is_item=False)
            continue
        try:
            yield reader.document(values)
        except RowError as problem:
            item_id = problem.item_id
            is_item = item_id is not None
            yield Failure(item_id or f"row {number}", str(problem), is_item=is_item)


def _table_sql(source: TableSource) -> str:
    columns = dict.fromkeys(
        (*source.key_columns, *source.content_columns, *source.metadata_columns)
    )
    selected = ", ".join(
        f"{_qualified(source, column)} as {quote(column)}" for column in columns
    )
    return f"select {selected} from main.{quote(source.table)}"


def source_rows(
    conn: sqlite3.Connection, source: TableSource, item_ids: Iterable[str]
) -> dict[str, SourceRow]:
    """What the rows of *item_ids* show; an id whose row is gone is left out."""
    title_column, column = source.title_column, image_column(source)
    selected = [
        "null" if title_column is None else _qualified(source, title_column),
        "0" if column is None else f"typeof({_qualified(source, column)}) = 'blob'",
        *_compared_values(source),
    ]
    found = {}
    for item_id in item_ids:
        row = _row_of(conn, source, selected, item_id)
        if row is not None:
            title, has_image, *values = row
            is_unread = bool(has_image) and values == [None]
            content, content_hash = (
                (None, None) if is_unread else _content_now(source, item_id, values)
            )
            found[item_id] = SourceRow(
                title=None if title is None else str(title),
                content=content,
                has_image=bool(has_image),
                content_hash=content_hash,
            )
    return found


def _compared_values(source: TableSource) -> list[str]:
    """SQL for the values that make up the content of a row."""
    columns = [_qualified(source, each) for each in source.content_columns]
    if not source.images:
        return columns
    # SQLite knows the length of a BLOB without reading it
    return [
        f"case when length({each}) <= {LARGEST_COMPARED_IMAGE} then {each} end"
        for each in columns
    ]


def image_column(source: TableSource) -> str | None:
    """The column that holds the images of *source*, if they are as they are stored."""
    is_one = len(source.content_columns) == 1 and source.template is None
    return source.content_columns[0] if source.images and is_one else None


def image_of_row(
    conn: sqlite3.Connection, source: TableSource, item_id: str
) -> bytes | None:
    """The bytes that the row of *item_id* holds for an image, if it has one.

    A value that is larger than an image may be is not read.
    """
    column = image_column(source)
    if column is None:
        return None
    name = _qualified(source, column)
    image = f"case when length({name}) <= {MAX_BYTES} then {name} end"
    row = _row_of(conn, source, [image], item_id)
    return row[0] if row is not None and isinstance(row[0], bytes) else None


def _content_now(
    source: TableSource, item_id: str, values: Sequence[object]
) -> tuple[str | None, bytes | None]:
    """The text that *values* make, and the hash of the text or the image."""
    if not values:
        return None, None
    try:
        content = content_of_row(source, item_id, values)
    except SourceError:
        # It may have become a BLOB since it was embedded
        return None, b""
    text = content if isinstance(content, str) else None
    return text, Document(item_id, content).content_hash


def _row_of(
    conn: sqlite3.Connection,
    source: TableSource,
    selected: Sequence[str],
    item_id: str,
) -> tuple[object, ...] | None:
    """What SQL has *selected* of the row of *item_id*; None where that is gone."""
    if not item_id.startswith(source.id_prefix):
        return None
    key = item_id.removeprefix(source.id_prefix)
    keys = key_values(key, len(source.key_columns))
    if keys is None:
        return None
    # A column without a type keeps 7, '7' and x'37' apart, and the id is text
    conditions = " and ".join(
        f"{_qualified(source, column)} in (?, ?, ?)" for column in source.key_columns
    )
    row = conn.execute(
        f"""
        select {", ".join(selected)}
        from main.{quote(source.table)}
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
