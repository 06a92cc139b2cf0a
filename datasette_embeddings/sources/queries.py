"""A query as a source, and the tables that it reads, as SQLite itself reports them.

SQLite asks an authorizer about every table that a statement reads.  A virtual table
reads others when it returns rows: its shadow tables, and the table whose text a
full-text table indexes.  So one row of each is read, and SQLite reports which tables
that reads.
"""

from __future__ import annotations

import os
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
# A step of SQLite's program, as "explain" lists it: address, opcode, p1 to p5
Step: TypeAlias = tuple[Any, ...]
# p2 is the first page of a table or an index, p3 the number of its database
OPEN = "OpenRead"
# p4 is the address of the table
OPEN_VIRTUAL = "VOpen"
MAIN = 0


def query_source(
    conn: sqlite3.Connection,
    sql: str,
    *,
    key_columns: tuple[str, ...] = (),
    content_columns: tuple[str, ...] = (),
    attached: tuple[tuple[str, str], ...] = (),
    rules: Source = Source(),
) -> QuerySource:
    """The source of the rows of *sql*, with the tables that it reads."""
    with attached_databases(conn, attached):
        tables = tuple(sorted(tables_read(conn, sql)))
    return QuerySource(
        sql, tables, key_columns, content_columns, attached, **vars(rules)
    )


def with_current_tables(conn: sqlite3.Connection, source: QuerySource) -> QuerySource:
    """*source* with the tables that it reads now: a view may have changed."""
    current = query_source(conn, source.sql, attached=source.attached)
    return replace(source, tables=current.tables)


@contextmanager
def attached_databases(
    conn: sqlite3.Connection, attached: tuple[tuple[str, str], ...]
) -> Iterator[None]:
    """Within, each of *attached*, alias and stored path, can be read as that alias.

    No transaction may be open at the beginning and the end.
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

    Those include the shadow tables of a virtual table.

    :raises SourceError: if it is not one query that returns rows.
    """
    # The first use of a virtual table on a connection prepares statements of its own
    with _reads(conn, may_prepare_writes=True):
        _explain(conn, sql)
    with _reads(conn) as names:
        program = _explain(conn, f"{sql}\n")
    # For "a join b using (id)" SQLite calls the authorizer only for a
    names |= _opened(conn, program) | _opened_virtual(conn, program, names)
    unasked = names & _virtual_tables(conn)
    while unasked:
        found = _read_by(conn, unasked.pop()) - names
        names |= found
        unasked |= found & _virtual_tables(conn)
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


def _virtual_tables(conn: sqlite3.Connection) -> set[str]:
    sql = "select name from sqlite_master where type = 'table' and rootpage = 0"
    return {name for (name,) in conn.execute(sql)}


def _read_by(conn: sqlite3.Connection, name: str) -> set[str]:
    """The tables that the virtual table *name* reads for its first row.

    With a shadow table, which may be that of another one, comes the virtual table whose
    name it begins with.
    """
    # Even if that fails, SQLite has reported the tables
    with _reads(conn) as names, suppress(sqlite3.Error):
        conn.execute(f"select * from main.{quote(name)} limit 1").fetchone()
    owners = {
        each
        for each in _virtual_tables(conn)
        for table in names
        if table.lower().startswith(f"{each}_".lower())
    }
    return names | owners


def _opened_virtual(
    conn: sqlite3.Connection, program: Sequence[Step], known: Container[str]
) -> set[str]:
    """The virtual tables that *program* opens, besides those that are *known*."""
    addresses = {step[5] for step in program if step[1] == OPEN_VIRTUAL}
    found = {name for name in _virtual_tables(conn) if name in known}
    if len(addresses) <= len(found):
        return set()
    for name in _virtual_tables(conn) - found:
        # A program identifies a virtual table only by its address
        with _reads(conn, may_prepare_writes=True), suppress(SourceError):
            steps = _explain(conn, f"select 1 from main.{quote(name)}")
            if addresses & {each[5] for each in steps if each[1] == OPEN_VIRTUAL}:
                found.add(name)
    return found


def tables_of_query(conn: sqlite3.Connection, source: QuerySource) -> set[str]:
    """The tables that a visitor must be allowed to see, to see the rows of *source*.

    They are the stored ones, which it read when it was embedded, and those that it
    reads now: releases up to 0.2a0 did not store all of them.
    """
    with suppress(SourceError):
        return {*source.tables, *tables_read(conn, source.sql)}
    # It cannot be compiled here, for lack of an attached database, a function or a
    # table.  The stored list may lack tables named like a virtual one, and its content
    existing, found = tables_and_views(conn).keys(), set[str]()
    for name in _virtual_tables(conn) & set(source.tables):
        found |= _read_by(conn, name)
        found |= {each for each in existing if each.startswith(f"{name}_")}
    return {*source.tables, *(found & existing)}
