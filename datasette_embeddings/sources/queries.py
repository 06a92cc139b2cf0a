"""A query as a source, and the tables that it reads, as SQLite itself reports them.

SQLite asks an authorizer about every table that a statement reads.  A virtual table
reads others when it returns rows: its shadow tables, and the table whose text a
full-text table indexes.  So one row of each is read, and SQLite reports which tables
that reads; no table is guessed from the name of another.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from datasette_embeddings.databases import quote, real_path, tables_and_views
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.definitions import QuerySource, Source

READ_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
WRITE_ACTIONS = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
# What SQLite does when it first prepares a virtual table of the query
VIRTUAL_TABLE_ACTIONS = {
    (sqlite3.SQLITE_UPDATE, "sqlite_master"),
    (sqlite3.SQLITE_PRAGMA, "data_version"),
}
# The option of a full-text table that names the indexed table.  FTS5 takes any
# beginning of the word
CONTENT = re.compile(r"\bc\w*\s*=", re.IGNORECASE)
# A step of SQLite's program, as "explain" lists it: address, opcode, p1 to p5
Step: TypeAlias = tuple[Any, ...]
# p2 is the first page of a table or an index, p3 the number of its database
OPEN = "OpenRead"
# p4 is the address of the table
OPEN_VIRTUAL = "VOpen"
MAIN = 0
CACHED_QUERIES = 1_000


def query_source(
    conn: sqlite3.Connection,
    sql: str,
    *,
    key_columns: tuple[str, ...] = (),
    content_columns: tuple[str, ...] = (),
    attached: tuple[tuple[str, str], ...] = (),
    rules: Source = Source(),
) -> QuerySource:
    """The source of the rows of *sql*, with the tables that it reads.

    :raises SourceError: if it is not one query that returns rows.
    """
    with attached_databases(conn, attached):
        tables = tuple(sorted(tables_read(conn, sql)))
    return QuerySource(
        sql, tables, key_columns, content_columns, attached, **vars(rules)
    )


def with_current_tables(conn: sqlite3.Connection, source: QuerySource) -> QuerySource:
    """*source* with the tables that it reads now: a view may have changed.

    :raises SourceError: if it can no longer be read.
    """
    current = query_source(conn, source.sql, attached=source.attached)
    return replace(source, tables=current.tables)


@contextmanager
def attached_databases(
    conn: sqlite3.Connection, attached: tuple[tuple[str, str], ...]
) -> Iterator[None]:
    """Within, each of *attached*, alias and stored path, can be read as that alias.

    No transaction may be open at the beginning and the end.

    :raises SourceError: if a file does not exist or is no database.
    """
    done = []
    try:
        for alias, stored in attached:
            path = real_path(conn, stored)
            main = conn.execute("pragma database_list").fetchone()[2]
            if main and os.path.exists(path) and os.path.samefile(main, path):
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


def tables_read(conn: sqlite3.Connection, sql: str) -> set[str]:
    """The tables of the main database that *sql* reads, also by views.

    Shadow tables that a virtual table reads are left out, because that table stands for
    them.  A shadow table that the query itself names is included.

    :raises SourceError: if it is not one query that returns rows.
    """
    virtual = _VirtualTables(conn)
    # The first use of a virtual table on a connection prepares statements of its own
    with _reads(conn, may_prepare_writes=True):
        _explain(conn, sql)
    with _reads(conn) as names:
        program = _explain(conn, f"{sql}\n")
    # For "a join b using (id)" SQLite calls the authorizer only for a
    names |= _opened(conn, program) | virtual.opened(program, names)
    asked: set[str] = set()
    while unasked := (names & virtual.created.keys()) - asked:
        asked |= unasked
        for name in unasked:
            names |= virtual.read_by(name)
    return names & tables_and_views(conn).keys()


def _explain(conn: sqlite3.Connection, sql: str) -> list[Step]:
    """The program that SQLite compiles for *sql*, which is not run."""
    try:
        return conn.execute(f"explain {sql}").fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise SourceError(
            f"Expected one SQL query that returns an id and content: {error}"
        ) from error


def _opened(conn: sqlite3.Connection, program: Sequence[Step]) -> set[str]:
    """The tables of the main database that *program* opens, by their indexes too."""
    pages = {step[3] for step in program if (step[1], step[4]) == (OPEN, MAIN)}
    rows = conn.execute("select rootpage, tbl_name from sqlite_master")
    return {name for page, name in rows if page and page in pages}


@contextmanager
def _reads(
    conn: sqlite3.Connection, *, may_prepare_writes: bool = False
) -> Iterator[set[str]]:
    """Within, *conn* may only read; the tables of this file that it reads are added.

    *may_prepare_writes* is for blocks in which statements are explained, but not run.
    """
    names: set[str] = set()

    def watch(action: int, name: str | None, *rest: str | None) -> int:
        _column, schema, _by = rest
        if action == sqlite3.SQLITE_READ and name and schema in (None, "main", "temp"):
            names.add(name)
        allowed = (
            action in READ_ACTIONS
            or (action, name) in VIRTUAL_TABLE_ACTIONS
            or (action in WRITE_ACTIONS and may_prepare_writes)
        )
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    conn.set_authorizer(watch)
    try:
        yield names
    finally:
        # Python 3.10 cannot remove an authorizer, only replace it
        allow: Callable[..., int] = lambda *_request: sqlite3.SQLITE_OK  # noqa: E731
        conn.set_authorizer(allow if sys.version_info < (3, 11) else None)


class _VirtualTables:
    """The virtual tables of *conn*, and the shadow tables that hold their data."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        #: The SQL of each, by name
        self.created: dict[str, str] = dict(
            conn.execute(
                """
                select name, sql
                from sqlite_master
                where type = 'table'
                and rootpage = 0
                and sql is not null
                """
            )
        )
        # SQLite before 3.37 has no such pragma: each shadow table counts by itself
        rows = conn.execute("pragma table_list")
        self.shadows = {
            row[1] for row in rows if (row[0], row[2]) == ("main", "shadow")
        }

    def read_by(self, name: str) -> set[str]:
        """The tables that the virtual table *name* reads for its first row.

        A shadow table is another name for the virtual table that it belongs to.
        """
        # Even if that fails, SQLite has reported the tables
        with _reads(self._conn) as names, suppress(sqlite3.Error):
            self._conn.execute(f"select * from main.{quote(name)} limit 1").fetchone()
        return {self._owner(each) for each in names}

    def opened(self, program: Sequence[Step], known: Container[str]) -> set[str]:
        """The virtual tables that *program* opens, besides those that are *known*."""
        tables = {step[5] for step in program if step[1] == OPEN_VIRTUAL}
        found = {name for name in self.created if name in known}
        if len(tables) <= len(found):
            return set()
        for name in self.created.keys() - found:
            # A program identifies a virtual table only by its address
            with (
                _reads(self._conn, may_prepare_writes=True),
                suppress(SourceError),
            ):
                steps = _explain(self._conn, f"select 1 from main.{quote(name)}")
                if tables & {each[5] for each in steps if each[1] == OPEN_VIRTUAL}:
                    found.add(name)
        return found

    def _owner(self, table: str) -> str:
        lower = table.lower()
        owners = [name for name in self.created if lower.startswith(f"{name}_".lower())]
        if table not in self.shadows or not owners:
            return table
        owner = max(owners, key=len)
        # SQLite goes by the name, which the indexed table may have too
        is_content = lower == f"{owner}_content".lower()
        return table if is_content and CONTENT.search(self.created[owner]) else owner


_cache: dict[tuple[object, ...], tuple[str, ...]] = {}


def tables_of_query(conn: sqlite3.Connection, source: QuerySource) -> tuple[str, ...]:
    """The tables that a visitor must be allowed to see, to see the rows of *source*.

    They are the stored ones, which it read when it was embedded, and those that it
    reads now: releases up to 0.2a0 did not store all of them.
    """
    key = (*_schema(conn), source.sql, source.tables)
    if key not in _cache:
        if len(_cache) >= CACHED_QUERIES:
            _cache.clear()
        _cache[key] = tuple(sorted({*source.tables, *_current_tables(conn, source)}))
    return _cache[key]


def _schema(conn: sqlite3.Connection) -> tuple[object, ...]:
    """A key that changes whenever the schema of *conn* does."""
    path = conn.execute("pragma database_list").fetchone()[2]
    version = conn.execute("pragma schema_version").fetchone()[0]
    rows = conn.execute("select count(*), total(length(sql)) from sqlite_master")
    return path or id(conn), version, *rows.fetchone()


def _current_tables(conn: sqlite3.Connection, source: QuerySource) -> set[str]:
    with suppress(SourceError):
        return tables_read(conn, source.sql)
    # It cannot be compiled here, for lack of an attached database, a function or a
    # table.  The stored list may lack tables named like a virtual one, and its content
    virtual, existing = _VirtualTables(conn), tables_and_views(conn).keys()
    found: set[str] = set()
    for name in virtual.created.keys() & set(source.tables):
        beside = {each for each in existing if each.startswith(f"{name}_")}
        found |= virtual.read_by(name) | beside - virtual.shadows
    return found & existing
