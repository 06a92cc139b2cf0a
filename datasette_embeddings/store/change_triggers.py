"""The triggers that record which rows of a source table change.

Each source has its own.  They record nothing that they could fail to write: a key that
has no short text is recorded as a change of the whole source.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

from datasette_embeddings.databases import quote
from datasette_embeddings.sources.definitions import ROWID, Source, TableSource
from datasette_embeddings.sources.row_keys import key_sql

CHANGES = "_embedding_changes"
#: The key of the row about the source as a whole
WHOLE = "*"
# The names by which a statement may set a rowid
ROWIDS = ("rowid", "oid", "_rowid_")
_TRIGGER = re.compile(rf"{CHANGES}_([0-9]+)_([0-9]+)_[a-z]+")
_NOW = "(julianday('now') - 2440587.5) * 86400.0"


def is_trackable(conn: sqlite3.Connection, source: Source) -> bool:
    """Whether triggers can record which rows of *source* change.

    It has to be a table, not a view or a virtual table, and its rows are found by its
    primary key.
    """
    if not isinstance(source, TableSource) or not source.content_columns:
        return False
    row = conn.execute(
        """
        select sql
        from sqlite_master
        where type = 'table'
        and lower(name) = lower(?)
        """,
        [source.table],
    ).fetchone()
    if row is None or str(row[0]).lower().startswith("create virtual"):
        return False
    names, keys = _columns(conn, source.table)
    own = {each.lower() for each in source.key_columns}
    if own == {ROWID} and ROWID not in names:
        return True
    return own == keys


def _columns(conn: sqlite3.Connection, table: str) -> tuple[set[str], set[str]]:
    """The names of the columns of *table*, and those of its primary key, in lower case.

    The names of hidden columns are included, those of generated ones.
    """
    rows = conn.execute(f"pragma main.table_xinfo({quote(table)})").fetchall()
    names = {str(row[1]).lower() for row in rows}
    return names, {str(row[1]).lower() for row in rows if row[5]}


def trigger_names(collection_id: int, source_id: int) -> list[str]:
    start = f"{CHANGES}_{int(collection_id)}_{int(source_id)}"
    return [f"{start}_{each}" for each in ("inserted", "updated", "deleted")]


def triggers(
    conn: sqlite3.Connection, collection_id: int, source_id: int, source: TableSource
) -> Mapping[str, str]:
    """The SQL of each trigger by its name, as SQLite stores it."""
    table = quote(source.table)
    old, new = (
        record_sql(
            collection_id,
            source_id,
            f"coalesce({key_sql(source.key_columns, row)}, '{WHOLE}')",
        )
        for row in ("old", "new")
    )
    read = ", ".join(map(quote, _columns_read(conn, source)))
    updated = f"update of {read}" if read else "update"
    bodies = (
        f"after insert on {table} begin {new}; end",
        # Its key may have changed
        f"after {updated} on {table} begin {old}; {new}; end",
        f"after delete on {table} begin {old}; end",
    )
    names = trigger_names(collection_id, source_id)
    return {
        name: f"CREATE TRIGGER {name} {body}"
        for name, body in zip(names, bodies, strict=True)
    }


def _columns_read(conn: sqlite3.Connection, source: TableSource) -> list[str]:
    """The columns whose changes matter: those that are stored of a row, and its key.

    None are all columns: a statement does not name the generated ones that it changes.
    """
    title = () if source.title_column is None else (source.title_column,)
    used = *source.key_columns, *source.content_columns, *source.metadata_columns
    rows = conn.execute(f"pragma main.table_xinfo({quote(source.table)})").fetchall()
    is_generated = {str(row[1]).lower(): row[6] > 1 for row in rows}
    found = dict.fromkeys([*used, *title])
    if any(is_generated.get(each.lower()) for each in found):
        return []
    # A statement may set the key by a name of the rowid
    return [e for e in found if e.lower() in is_generated] + list(ROWIDS)


def record_sql(collection_id: int, source_id: int, key: str) -> str:
    """SQL that records a change of the row with *key*.

    The conflict clause of the statement that fires a trigger rules over its own, such
    as "insert or ignore", but not over "do update".
    """
    return f"""
      insert into {CHANGES} (collection_id, source_id, key, changed, version)
      values ({int(collection_id)}, {int(source_id)}, {key}, {_NOW}, random())
      on conflict (collection_id, source_id, key) do update
      set changed = coalesce(changed, excluded.changed),
          version = excluded.version,
          error = null,
          attempts = 0,
          tried = null"""


def drop_triggers(conn: sqlite3.Connection, collection_id: int) -> None:
    """Delete all triggers of a collection; part of a transaction."""
    for name, ids in stored_triggers(conn).items():
        if ids[0] == collection_id:
            conn.execute(f"drop trigger if exists {quote(name)}")


def drop_stale_triggers(conn: sqlite3.Connection) -> None:
    """Delete the triggers of sources that no longer exist; part of a transaction."""
    found = stored_triggers(conn)
    if not found:
        return
    known = set(
        conn.execute(
            """
            select collection_id, id
            from _embedding_sources
            where state = 'current'
            """
        )
    )
    for name, ids in found.items():
        if ids not in known:
            conn.execute(f"drop trigger if exists {quote(name)}")


def stored_triggers(conn: sqlite3.Connection) -> Mapping[str, tuple[int, int]]:
    """The triggers that record changes: the ids of collection and source of each."""
    rows = conn.execute(
        f"""
        select name
        from sqlite_master
        where type = 'trigger'
        and name glob '{CHANGES}_[0-9]*'
        """
    )
    matches = (_TRIGGER.fullmatch(name) for (name,) in rows)
    return {each[0]: (int(each[1]), int(each[2])) for each in matches if each}
