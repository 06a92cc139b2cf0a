"""A query as a source: one that only reads, over this and attached databases."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.definitions import QuerySource, SourceRules, quote
from datasette_embeddings.sources.paths import real_paths
from datasette_embeddings.sources.reads import tables_read


def query_source(
    conn: sqlite3.Connection,
    sql: str,
    *,
    key_columns: tuple[str, ...] = (),
    content_columns: tuple[str, ...] = (),
    attached: tuple[tuple[str, str], ...] = (),
    rules: SourceRules = SourceRules(),
) -> QuerySource:
    """The source that *sql* is, with the tables it reads.

    :raises SourceError: if it is not one query that returns rows.
    """
    with attached_databases(conn, real_paths(conn, attached)):
        reads = tables_read(conn, sql)
    return QuerySource(
        sql,
        reads.tables,
        key_columns,
        content_columns,
        attached,
        **vars(rules),
    )


def refreshed(conn: sqlite3.Connection, source: QuerySource) -> QuerySource:
    """*source* with the tables that it reads now: a view may have changed.

    :raises SourceError: if it no longer can be read.
    """
    now = query_source(conn, source.sql, attached=source.attached)
    return replace(source, tables=now.tables)


@contextmanager
def attached_databases(
    conn: sqlite3.Connection, attached: tuple[tuple[str, str], ...]
) -> Iterator[None]:
    """Within, each of *attached*, alias and path, can be read under its alias.

    No transaction may be open at the beginning and the end.

    :raises SourceError: if one of the files is not there or no database.
    """
    done = []
    try:
        for alias, path in attached:
            if _is_open(conn, path):
                raise SourceError(
                    f"{path} is the database itself; its tables need no alias"
                )
            uri = f"{Path(path).resolve().as_uri()}?mode=ro"
            try:
                conn.execute(f"attach ? as {quote(alias)}", [uri])
                done.append(alias)
                conn.execute(f"select 1 from {quote(alias)}.sqlite_master").fetchone()
            except sqlite3.Error as error:
                raise SourceError(
                    f"The database {path} cannot be attached as {alias!r}: {error}"
                ) from error
        yield
    finally:
        for alias in done:
            conn.execute(f"detach {quote(alias)}")


def _is_open(conn: sqlite3.Connection, path: str) -> bool:
    """Whether *path* is the file of the main database."""
    main = conn.execute("pragma database_list").fetchone()[2]
    return bool(main) and os.path.exists(path) and os.path.samefile(main, path)
