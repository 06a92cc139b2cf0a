"""All rows of a source, as documents."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from itertools import islice

from datasette_embeddings.documents import Document, Failure, LeftOut
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.content import RowReader, Rows
from datasette_embeddings.sources.definitions import (
    FileSource,
    FolderSource,
    QuerySource,
    Source,
    TableSource,
)
from datasette_embeddings.sources.folders import files_of_folders
from datasette_embeddings.sources.queries import attached_databases
from datasette_embeddings.sources.row_files import rows_of_file

RAW = "temp._embedding_raw"
# The start of SQLite's messages about the database, not about the query
DATABASE_ERRORS = ("database", "disk", "unable to open", "attempt to write")


@contextmanager
def documents(
    conn: sqlite3.Connection, source: Source, *, limit: int | None = None
) -> Iterator[Iterator[Document | Failure | LeftOut]]:
    """The first *limit* rows of *source*, each as a document or as a failure.

    Between them comes what is left out of a folder.
    """
    if isinstance(source, FolderSource):
        with closing(files_of_folders(conn, source)) as files:
            yield _first(files, limit)
    elif isinstance(source, FileSource):
        with rows_of_file(conn, source) as (names, rows):
            # Without names there are no rows
            read = RowReader(source, names).documents(rows) if names else ()
            yield islice(read, limit)
    elif isinstance(source, TableSource | QuerySource):
        with _database_rows(conn, source, limit) as (names, rows):
            yield RowReader(source, names).documents(rows)


def _first(
    files: Iterator[Document | Failure | LeftOut], limit: int | None
) -> Iterator[Document | Failure | LeftOut]:
    """The first *limit* of *files*, and what was left out before."""
    count = 0
    for each in files:
        count += not isinstance(each, LeftOut)
        if limit is not None and count > limit:
            return
        yield each


@contextmanager
def _database_rows(
    conn: sqlite3.Connection, source: TableSource | QuerySource, limit: int | None
) -> Iterator[Rows]:
    """The rows of a table or query, copied to a temporary table first.

    While SQLite reads rows, no other program can commit in rollback-journal mode, and
    rendering templates or stripping HTML can take minutes.  So it reads them at once.
    """
    attached: AbstractContextManager[None] = nullcontext()
    if isinstance(source, QuerySource):
        attached = attached_databases(conn, source.attached)
    with attached:
        try:
            names = _copy(conn, source.sql, limit)
            sql = f"select * from {RAW} order by rowid"
            with closing(conn.execute(sql)) as rows:
                yield names, enumerate(rows, 1)
        finally:
            conn.rollback()
            conn.execute(f"drop table if exists {RAW}")


def _copy(conn: sqlite3.Connection, sql: str, limit: int | None) -> Sequence[str]:
    """The names of the columns of *sql*, whose rows are now in a temporary table."""
    try:
        rows = conn.execute(sql)
        names = [column[0] for column in rows.description]
        # SQLite ends a running query of two databases when a table is created
        rows.close()
        # Numbered, because two columns of a query may have the same name
        columns = [f"column_{number}" for number in range(len(names))]
        conn.execute(f"create table {RAW} ({', '.join(columns)})")
        insert = f"insert into {RAW} values ({', '.join('?' * len(names))})"
        with closing(conn.execute(sql)) as rows:
            conn.executemany(insert, islice(rows, limit))
        conn.commit()
    except sqlite3.OperationalError as error:
        if str(error).startswith(DATABASE_ERRORS):
            raise
        raise SourceError(f"The rows cannot be read: {error}") from error
    return names
