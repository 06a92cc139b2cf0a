"""The tables that a query reads, as SQLite itself reports them.

SQLite asks an authorizer about every table that a statement reads.  A virtual table
reads others when it gives its rows: its shadow tables, and the table whose text a
full-text table indexes.  So a row of each is read, and SQLite reports which tables that
reads; no name is guessed from another.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.definitions import QuerySource, quote
from datasette_embeddings.sources.tables import table_names

READ_ACTIONS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
WRITE_ACTIONS = frozenset(
    {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
)
# What SQLite does when it first prepares a virtual table of the query
VIRTUAL_TABLE_ACTIONS = frozenset(
    {
        (sqlite3.SQLITE_UPDATE, "sqlite_master"),
        (sqlite3.SQLITE_PRAGMA, "data_version"),
    }
)
# The shadow tables of SQLite's own modules, which it does not list before 3.37
SHADOWS = {
    "fts3": ("content", "segments", "segdir", "docsize", "stat"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    "rtree": ("node", "rowid", "parent"),
    "rtree_i32": ("node", "rowid", "parent"),
    "geopoly": ("node", "rowid", "parent"),
}
LISTS_SHADOWS = sqlite3.sqlite_version_info >= (3, 37)
MODULE = re.compile(
    r"""create\s+virtual\s+table\s+
    (?:"(?:[^"]|"")*" | '(?:[^']|'')*' | `(?:[^`]|``)*` | \[[^]]*\] | [^\s"'`\[]+)
    \s*using\s+([^\s(]+)""",
    re.IGNORECASE | re.VERBOSE,
)
# FTS5 takes any beginning of the word
CONTENT = re.compile(r"\bc\w*\s*=", re.IGNORECASE)
# A step of SQLite's program, as "explain" lists it: address, opcode, p1 to p5
Step: TypeAlias = tuple[Any, ...]
# p2 is the first page of a table or an index, p3 the number of its database
OPEN = "OpenRead"
# p4 is the address of the table
OPEN_VIRTUAL = "VOpen"
MAIN = 0
# Queries whose tables are cached
REMEMBERED = 1_000


@dataclass
class Reads:
    """The tables of this database file that a statement reads."""

    names: set[str] = field(default_factory=set)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables by name."""
        return tuple(sorted(self.names))


def tables_read(conn: sqlite3.Connection, sql: str) -> Reads:
    """What the query *sql* reads, directly, by views and by virtual tables.

    Shadow tables that a virtual table reads are left out, because that table stands for
    them.  A shadow table that the query itself names is included.

    :raises SourceError: if it is not one query that returns rows.
    """
    reads = Reads()
    virtual = _VirtualTables(conn)
    # The first use of a virtual table on a connection prepares statements of its own
    with _watched(conn, Reads(), written=virtual.shadows):
        _explain(conn, sql)
    with _watched(conn, reads):
        program = _explain(conn, f"{sql}\n")
    # For "a join b using (id)" SQLite calls the authorizer only for a
    reads.names |= _opened(conn, program) | virtual.opened(program, reads.names)
    asked: set[str] = set()
    while unasked := (reads.names & virtual.created.keys()) - asked:
        asked |= unasked
        for name in unasked:
            reads.names |= virtual.read_by(name)
    reads.names &= set(table_names(conn))
    return reads


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
def _watched(
    conn: sqlite3.Connection, reads: Reads, *, written: Container[str] = ()
) -> Iterator[None]:
    """Within, *conn* may only read, and what it reads is added to *reads*.

    Statements that write to the tables *written* may be compiled.
    """

    def watch(
        action: int,
        name: str | None,
        _column: str | None,
        schema: str | None,
        _by: str | None,
    ) -> int:
        is_of_file = schema in (None, "main", "temp")
        if action == sqlite3.SQLITE_READ and name and is_of_file:
            reads.names.add(name)
        allowed = (
            action in READ_ACTIONS
            or (action, name) in VIRTUAL_TABLE_ACTIONS
            or (action in WRITE_ACTIONS and name in written)
        )
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    conn.set_authorizer(watch)
    try:
        yield
    finally:
        # Python 3.10 cannot remove an authorizer, only replace it
        allow: Callable[..., int] = lambda *_request: sqlite3.SQLITE_OK  # noqa: E731
        conn.set_authorizer(allow if sys.version_info < (3, 11) else None)


class _VirtualTables:
    """The virtual tables of *conn*, and the shadow tables that hold their data."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        #: Name and SQL of each
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
        self.shadows = self._listed() if LISTS_SHADOWS else self._named()

    def _listed(self) -> set[str]:
        rows = self._conn.execute("pragma table_list")
        return {row[1] for row in rows if (row[0], row[2]) == ("main", "shadow")}

    def _named(self) -> set[str]:
        own = {
            f"{name}_{suffix}".lower()
            for name, sql in self.created.items()
            if (module := MODULE.match(sql))
            for suffix in SHADOWS.get(module[1].strip("\"'`[]").lower(), ())
        }
        return {name for name in table_names(self._conn) if name.lower() in own}

    def read_by(self, name: str) -> set[str]:
        """The tables that the virtual table *name* reads for its first row.

        A shadow table is another name for the virtual table that it belongs to.
        """
        reads = Reads()
        # Even if that fails, SQLite has reported the tables
        with _watched(self._conn, reads), suppress(sqlite3.Error):
            sql = f"select * from main.{quote(name)} limit 1"
            self._conn.execute(sql).fetchone()
        return {self._owner(each) for each in reads.names}

    def opened(self, program: Sequence[Step], known: Container[str]) -> set[str]:
        """The virtual tables that *program* opens, besides those that are *known*."""
        tables = {step[5] for step in program if step[1] == OPEN_VIRTUAL}
        found = {name for name in self.created if name in known}
        if len(tables) <= len(found):
            return set()
        for name in self.created.keys() - found:
            # A program identifies a virtual table only by its address
            sql = f"select 1 from main.{quote(name)}"
            watched = _watched(self._conn, Reads(), written=self.shadows)
            with watched, suppress(SourceError):
                steps = _explain(self._conn, sql)
                if tables & {each[5] for each in steps if each[1] == OPEN_VIRTUAL}:
                    found.add(name)
        return found

    def _owner(self, table: str) -> str:
        owners = [
            name
            for name in self.created
            if table.lower().startswith(f"{name}_".lower())
        ]
        if table not in self.shadows or not owners:
            return table
        owner = max(owners, key=len)
        # SQLite goes by the name, which the indexed table may have too
        is_content = table.lower() == f"{owner}_content".lower()
        return table if is_content and CONTENT.search(self.created[owner]) else owner


_remembered: dict[tuple[object, ...], tuple[str, ...]] = {}


def tables_to_ask(conn: sqlite3.Connection, source: QuerySource) -> tuple[str, ...]:
    """The tables whose permissions decide who may see the rows of *source*.

    The stored ones, which it read when it was embedded, and those that it reads now:
    releases up to 0.2a0 did not store all of them.
    """
    key = (*_schema(conn), source.sql, source.tables)
    if key not in _remembered:
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        _remembered[key] = tuple(sorted({*source.tables, *_now(conn, source)}))
    return _remembered[key]


def _schema(conn: sqlite3.Connection) -> tuple[object, ...]:
    """A key that differs whenever the schema of *conn* does."""
    path = conn.execute("pragma database_list").fetchone()[2]
    version = conn.execute("pragma schema_version").fetchone()[0]
    rows = conn.execute("select count(*), total(length(sql)) from sqlite_master")
    return path or id(conn), version, *rows.fetchone()


def _now(conn: sqlite3.Connection, source: QuerySource) -> set[str]:
    with suppress(SourceError):
        return tables_read(conn, source.sql).names
    # It cannot be compiled here, for lack of an attached database, a function or a
    # table.  The stored list may lack tables named like a virtual one, and its content
    virtual = _VirtualTables(conn)
    found: set[str] = set()
    for name in virtual.created.keys() & set(source.tables):
        beside = {each for each in table_names(conn) if each.startswith(f"{name}_")}
        found |= virtual.read_by(name) | beside - virtual.shadows
    return found & set(table_names(conn))
