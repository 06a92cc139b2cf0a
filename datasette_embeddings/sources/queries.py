"""A query as a source: one that only reads, and which tables it reads."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datasette_embeddings.errors import SourceProblem
from datasette_embeddings.sources.definitions import QuerySource, SourceRules, quote
from datasette_embeddings.sources.paths import real_paths
from datasette_embeddings.sources.tables import table_names

READ_ACTIONS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
# What SQLite asks for when it first meets a virtual table of the query
VIRTUAL_TABLE_ACTIONS = frozenset(
    {
        (sqlite3.SQLITE_UPDATE, "sqlite_master"),
        (sqlite3.SQLITE_PRAGMA, "data_version"),
    }
)
FTS_CONTENT = re.compile(r"""\bcontent\s*=\s*["'\[`]?([^"'\]`,)]+)""", re.IGNORECASE)


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

    :raises SourceProblem: if it is not one query that returns rows.
    """
    tables: set[str] = set()
    reads_elsewhere = False

    def watch(
        action: int,
        name: str | None,
        _column: str | None,
        schema: str | None,
        _by: str | None,
    ) -> int:
        nonlocal reads_elsewhere
        if action == sqlite3.SQLITE_READ and name:
            if schema in (None, "main", "temp"):
                tables.add(name)
            else:
                reads_elsewhere = True
        allowed = action in READ_ACTIONS or (action, name) in VIRTUAL_TABLE_ACTIONS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    with attached_databases(conn, real_paths(conn, attached)):
        conn.set_authorizer(watch)
        try:
            # "explain" compiles the query without running it
            conn.execute(f"explain {sql}").close()
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise SourceProblem(
                f"Expected one SQL query that returns an id and content: {error}"
            ) from error
        finally:
            # Python 3.10 cannot take an authorizer away, only put in a willing one
            conn.set_authorizer(lambda *_request: sqlite3.SQLITE_OK)
    # Whoever may see the tables of this file need not see those of another
    rules = replace(rules, is_mixed=rules.is_mixed or reads_elsewhere)
    return QuerySource(
        sql,
        _with_contents(conn, tables),
        key_columns,
        content_columns,
        attached,
        **vars(rules),
    )


def refreshed(conn: sqlite3.Connection, source: QuerySource) -> QuerySource:
    """*source* with the tables that it reads now: a view may have changed.

    :raises SourceProblem: if it no longer can be read.
    """
    now = query_source(conn, source.sql, attached=source.attached)
    is_mixed = source.is_mixed or now.is_mixed
    return replace(source, tables=now.tables, is_mixed=is_mixed)


@contextmanager
def attached_databases(
    conn: sqlite3.Connection, attached: tuple[tuple[str, str], ...]
) -> Iterator[None]:
    """Within, each of *attached*, alias and path, can be read under its alias.

    No transaction may be open at the beginning and the end.

    :raises SourceProblem: if one of the files is not there or no database.
    """
    done = []
    try:
        for alias, path in attached:
            if _is_open(conn, path):
                raise SourceProblem(
                    f"{path} is the database itself; its tables need no alias"
                )
            uri = f"{Path(path).resolve().as_uri()}?mode=ro"
            try:
                conn.execute(f"attach ? as {quote(alias)}", [uri])
                done.append(alias)
                conn.execute(f"select 1 from {quote(alias)}.sqlite_master").fetchone()
            except sqlite3.Error as error:
                raise SourceProblem(
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


def _with_contents(conn: sqlite3.Connection, names: set[str]) -> tuple[str, ...]:
    """Those of *names* that are tables here, and those that full-text tables index.

    A virtual table's own shadow tables are left out: it stands for them.
    """
    created = dict(
        conn.execute("select name, sql from sqlite_master where type = 'table'")
    )
    virtual = {
        name
        for name in names
        if (created.get(name) or "").lower().startswith("create virtual table")
    }
    shadows = {
        name for name in names for owner in virtual if name.startswith(f"{owner}_")
    }
    contents = {
        match[1] for name in virtual if (match := FTS_CONTENT.search(created[name]))
    }
    return tuple(sorted((names - shadows | contents) & set(table_names(conn))))
