"""A table or view as a source, with defaults for the settings that were left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from datasette_embeddings.databases import quote
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.content import columns_of_template
from datasette_embeddings.sources.definitions import ROWID, Source, TableSource

TITLES = ("title", "name")


@dataclass(frozen=True)
class Column:
    """A column of a table, as SQLite declares it."""

    name: str
    type: str
    #: 1 for the first column of the primary key, 0 for a column outside of it
    key_position: int


def table_source(
    conn: sqlite3.Connection,
    table: str,
    *,
    content_columns: Sequence[str] = (),
    key_columns: Sequence[str] = (),
    title_column: str | None = None,
    rules: Source = Source(),
) -> TableSource:
    """The source of the rows of *table*.

    Defaults.  Content: the columns that the template names; without one every TEXT
    column that is neither key nor metadata, or for images the one BLOB column.  Key:
    the primary key, else rowid.  Title: a column called title or name.

    :raises SourceError: for a table or column that does not exist.
    """
    table = _real_name(conn, table)
    columns = declared_columns(conn, table)
    names = [column.name for column in columns]
    if rules.template is not None:
        content_columns = columns_of_template(rules.template, names)
    given = (*content_columns, *key_columns, *rules.metadata_columns, title_column)
    for name in given:
        if name is not None and name not in (*names, ROWID):
            raise SourceError(
                f"No column {name!r} in the table {table!r}: it has "
                f"{', '.join(map(repr, names))}"
            )
    if not key_columns:
        keys = sorted((each.key_position, each.name) for each in columns)
        key_columns = [name for position, name in keys if position]
        if not key_columns and _is_view(conn, table):
            raise SourceError(
                f"{table!r} is a view, and a view has no primary key; "
                "name the column that identifies a row with --id"
            )
        key_columns = key_columns or [ROWID]
    if not content_columns:
        taken = (*key_columns, *rules.metadata_columns)
        free = [column for column in columns if column.name not in taken]
        content_columns = _default_content(table, free, images=rules.images)
    title = title_column or next((name for name in TITLES if name in names), None)
    return TableSource(
        table, tuple(key_columns), tuple(content_columns), title, **vars(rules)
    )


def _default_content(
    table: str, columns: Sequence[Column], *, images: bool
) -> list[str]:
    kind = "BLOB" if images else "TEXT"
    found = [column.name for column in columns if kind in column.type.upper()]
    if images and len(found) != 1:
        raise SourceError(
            f"Expected one BLOB column with images in the table {table!r}, found "
            f"{' and '.join(map(repr, found)) or 'none'}; name the column to embed "
            "with --column"
        )
    if not found:
        raise SourceError(
            f"The table {table!r} has no TEXT column besides its key; "
            "name what to embed with --column"
        )
    return found


def _real_name(conn: sqlite3.Connection, table: str) -> str:
    """*table* as it was created: Datasette's permissions may be case-sensitive."""
    names = table_names(conn)
    for name in names:
        if name.lower() == table.lower():
            return name
    # Tables of this package and of migrations hold no content
    others = ", ".join(repr(name) for name in names if not name.startswith("_"))
    raise SourceError(
        f"No table {table!r} in this database: it has {others or 'no tables'}"
    )


def _is_view(conn: sqlite3.Connection, table: str) -> bool:
    sql = "select type from sqlite_master where name = ?"
    return bool(conn.execute(sql, [table]).fetchone() == ("view",))


def declared_columns(conn: sqlite3.Connection, table: str) -> list[Column]:
    """The columns of *table*; none if it does not exist."""
    rows = conn.execute(f"pragma table_info({quote(table)})")
    return [Column(row[1], row[2], row[5]) for row in rows]


def table_names(conn: sqlite3.Connection) -> list[str]:
    """Every table and view of the main database except SQLite's own."""
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
