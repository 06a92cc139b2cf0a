"""What can be embedded: a table's rows or a query's."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from datasette_embeddings.errors import SourceProblem

ROWID = "rowid"
TITLES = ("title", "name")
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


@dataclass(frozen=True)
class TableSource:
    """Rows of a table or view; *key_columns* identify a row."""

    table: str
    key_columns: tuple[str, ...]
    content_columns: tuple[str, ...]
    title_column: str | None = None
    #: The collection also holds items that came from elsewhere
    is_mixed: bool = False


@dataclass(frozen=True)
class QuerySource:
    """Rows of a query: the first column is the id, the others are the content.

    *tables* are those that SQLite reads to answer it.
    """

    sql: str
    tables: tuple[str, ...] = ()
    is_mixed: bool = False


@dataclass(frozen=True)
class UnreadableSource:
    """What a newer release, or somebody else, noted of where rows come from."""


Source: TypeAlias = TableSource | QuerySource | UnreadableSource


def quote(identifier: str) -> str:
    """*identifier* as SQL takes it, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def table_source(
    conn: sqlite3.Connection,
    table: str,
    *,
    content_columns: Sequence[str] = (),
    key_columns: Sequence[str] = (),
    title_column: str | None = None,
) -> TableSource:
    """The source that *table* is, with what the caller left out filled in.

    Content: every TEXT column that is no key.  Key: the primary key, else rowid.
    Title: a column called title or name.

    :raises SourceProblem: for a table or column that is not there.
    """
    table = _real_name(conn, table)
    columns = columns_of(conn, table)
    names = [column.name for column in columns]
    for name in (*content_columns, *key_columns, title_column):
        if name is not None and name not in (*names, ROWID):
            raise SourceProblem(
                f"No column {name!r} in the table {table!r}: it has "
                f"{', '.join(map(repr, names))}"
            )
    keys = tuple(key_columns) or _primary_key(columns) or _rowid_of(conn, table)
    contents = tuple(content_columns) or tuple(
        column.name
        for column in columns
        if "TEXT" in column.type.upper() and column.name not in keys
    )
    if not contents:
        raise SourceProblem(
            f"The table {table!r} has no TEXT column besides its key; "
            "name what to embed with --column"
        )
    title = title_column or next((name for name in TITLES if name in names), None)
    return TableSource(table, keys, contents, title)


def query_source(conn: sqlite3.Connection, sql: str) -> QuerySource:
    """The source that *sql* is, with the tables it reads.

    :raises SourceProblem: if it is not one query that returns rows.
    """
    tables: set[str] = set()

    def watch(action: int, name: str | None, *rest: str | None) -> int:
        if action == sqlite3.SQLITE_READ and name:
            tables.add(name)
        allowed = action in READ_ACTIONS or (action, name) in VIRTUAL_TABLE_ACTIONS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

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
    return QuerySource(sql, _with_contents(conn, tables))


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
    return tuple(sorted((names - shadows | contents) & set(_table_names(conn))))


def _real_name(conn: sqlite3.Connection, table: str) -> str:
    """*table* as it was created: Datasette's permissions may tell case apart."""
    names = _table_names(conn)
    for name in names:
        if name.lower() == table.lower():
            return name
    raise SourceProblem(
        f"No table {table!r} in this database: it has "
        f"{', '.join(map(repr, names)) or 'no tables'}"
    )


def _rowid_of(conn: sqlite3.Connection, table: str) -> tuple[str, ...]:
    row = conn.execute(
        "select type from sqlite_master where name = ? collate nocase", [table]
    ).fetchone()
    if row and row[0] == "view":
        raise SourceProblem(
            f"{table!r} is a view, and a view has no primary key; "
            "name the column that identifies a row with --id"
        )
    return (ROWID,)


@dataclass(frozen=True)
class Column:
    """A column of a table, as SQLite declares it."""

    name: str
    type: str
    #: 1 for the first column of the primary key, 0 for a column outside of it
    key_place: int


def columns_of(conn: sqlite3.Connection, table: str) -> list[Column]:
    """The columns of *table*; none if it is not there."""
    rows = conn.execute(f"pragma table_info({quote(table)})")
    return [Column(row[1], row[2], row[5]) for row in rows]


def _primary_key(columns: Sequence[Column]) -> tuple[str, ...]:
    keys = [column for column in columns if column.key_place]
    return tuple(key.name for key in sorted(keys, key=lambda key: key.key_place))


def _table_names(conn: sqlite3.Connection) -> list[str]:
    rows = conn.execute(
        """
        select name
        from sqlite_master
        where type in ('table', 'view')
        and name not like 'sqlite\\_%' escape '\\'
        order by name
        """
    )
    return [row[0] for row in rows]
