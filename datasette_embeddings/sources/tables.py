"""A table or view as a source, with what the caller left out filled in."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.content import columns_of_template
from datasette_embeddings.sources.definitions import (
    ROWID,
    SourceRules,
    TableSource,
    quote,
)

TITLES = ("title", "name")


def table_source(
    conn: sqlite3.Connection,
    table: str,
    *,
    content_columns: Sequence[str] = (),
    key_columns: Sequence[str] = (),
    title_column: str | None = None,
    rules: SourceRules = SourceRules(),
) -> TableSource:
    """The source that *table* is, with what the caller left out filled in.

    Content: the columns that the template names; without one every TEXT column that is
    neither key nor metadata, or the one BLOB column where images are wanted.  Key: the
    primary key, else rowid.  Title: a column called title or name.

    :raises SourceError: for a table or column that is not there.
    """
    table = _real_name(conn, table)
    columns = columns_of(conn, table)
    names = [column.name for column in columns]
    if rules.template is not None:
        content_columns = columns_of_template(rules.template, names)
    asked_for = (*content_columns, *key_columns, *rules.metadata_columns, title_column)
    for name in asked_for:
        if name is not None and name not in (*names, ROWID):
            raise SourceError(
                f"No column {name!r} in the table {table!r}: it has "
                f"{', '.join(map(repr, names))}"
            )
    keys = tuple(key_columns) or _primary_key(columns) or _rowid_of(conn, table)
    contents = tuple(content_columns)
    if not contents:
        free = [
            column
            for column in columns
            if column.name not in (*keys, *rules.metadata_columns)
        ]
        contents = (_images_of if rules.images else _texts_of)(table, free)
    title = title_column or next((name for name in TITLES if name in names), None)
    return TableSource(table, keys, contents, title, **vars(rules))


def _texts_of(table: str, columns: Sequence[Column]) -> tuple[str, ...]:
    texts = [column.name for column in columns if "TEXT" in column.type.upper()]
    if not texts:
        raise SourceError(
            f"The table {table!r} has no TEXT column besides its key; "
            "name what to embed with --column"
        )
    return tuple(texts)


def _images_of(table: str, columns: Sequence[Column]) -> tuple[str]:
    images = [column.name for column in columns if "BLOB" in column.type.upper()]
    if len(images) != 1:
        found = " and ".join(map(repr, images)) or "none"
        raise SourceError(
            f"Expected one BLOB column with images in the table {table!r}, found "
            f"{found}; name the column to embed with --column"
        )
    return (images[0],)


def _real_name(conn: sqlite3.Connection, table: str) -> str:
    """*table* as it was created: Datasette's permissions may tell case apart."""
    names = table_names(conn)
    for name in names:
        if name.lower() == table.lower():
            return name
    # Ours, and those of migrations, are of no use here
    own = [name for name in names if not name.startswith("_")]
    raise SourceError(
        f"No table {table!r} in this database: it has "
        f"{', '.join(map(repr, own)) or 'no tables'}"
    )


def _rowid_of(conn: sqlite3.Connection, table: str) -> tuple[str, ...]:
    row = conn.execute(
        "select type from sqlite_master where name = ? collate nocase", [table]
    ).fetchone()
    if row and row[0] == "view":
        raise SourceError(
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


def table_names(conn: sqlite3.Connection) -> list[str]:
    """Every table and view of the main database but SQLite's own."""
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
