"""The triggers that record which rows of a source table change.

Each source has its own.  They record nothing that they could fail to write: a key that
has no short text is recorded as a change of the whole source.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping

from datasette_embeddings.databases import quote
from datasette_embeddings.sources.definitions import ROWID, Source, TableSource
from datasette_embeddings.sources.row_keys import key_sql
from datasette_embeddings.store.schema import columns_of

CHANGES = "_embedding_changes"
#: The key of the row about the source as a whole
WHOLE = "*"
# The names by which a statement may set a rowid
ROWIDS = ("rowid", "oid", "_rowid_")
# Python reads no number of 5,000 digits
_TRIGGER = re.compile(rf"{CHANGES}_([0-9]{{1,19}})_([0-9]{{1,19}})_[a-z_]+")
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
    columns = _columns(conn, source.table)
    own = {each.lower() for each in source.key_columns}
    if own == {ROWID} and ROWID not in columns:
        return True
    return own == {name for name, (is_key, _generated) in columns.items() if is_key}


def may_miss_rows(conn: sqlite3.Connection, source: TableSource) -> bool:
    """Whether rows of *source* can change and no trigger is told.

    VACUUM changes rowids, and "or replace" deletes rows by indexes that no trigger can
    look up.
    """
    columns = _columns(conn, source.table)
    has_rowids = [each.lower() for each in source.key_columns] == [ROWID]
    return has_rowids or None in _all_unique_indexes(conn, source, columns)


def triggers(
    conn: sqlite3.Connection, collection_id: int, source_id: int, source: TableSource
) -> Mapping[str, str]:
    """The SQL of each trigger by its name, as SQLite stores it."""
    table, ids = quote(source.table), (collection_id, source_id)
    columns = _columns(conn, source.table)
    key = {e: f"({_key_sql(source, e)})" for e in ("old", "new", "other")}
    old, new = (f"{record_sql(*ids, key[each])};" for each in ("old", "new"))
    other_key = f"where {key['new']} is not {key['old']}"
    moved = f"{record_sql(*ids, key['new'], other_key)};"
    read = _columns_read(source, columns)
    update = f"update of {', '.join(map(quote, read))}" if read else "update"
    bodies = {
        "inserted": f"after insert on {table} begin {new} end",
        "updated": f"after {update} on {table} begin {old} {moved} end",
        "deleted": f"after delete on {table} begin {old} end",
    }
    # A statement with "or replace" deletes the rows that are in its way, and no trigger
    # is told
    inserted, updated, names = "", "", dict[str, None]()
    for index in _unique_indexes(conn, source, columns):
        same = " and ".join(
            f"other.{quote(name)} = new.{quote(name)} collate {quote(collation)}"
            for name, collation in index
        )
        rows = f"from {table} as other where {same}"
        inserted += f"{record_sql(*ids, key['other'], rows)}; "
        rows = f"{rows} and {key['other']} is not {key['old']}"
        updated += f"{record_sql(*ids, key['other'], rows)}; "
        names |= dict.fromkeys(quote(name) for name, _collation in index)
    if names:
        of = f"of {', '.join(names)} on {table}"
        bodies["replaced_by_insert"] = f"before insert on {table} begin {inserted}end"
        bodies["replaced_by_update"] = f"before update {of} begin {updated}end"
    start = f"{CHANGES}_{int(collection_id)}_{int(source_id)}"
    return {
        f"{start}_{name}": f"CREATE TRIGGER {start}_{name} {body}"
        for name, body in bodies.items()
    }


def _key_sql(source: TableSource, row: str) -> str:
    return f"coalesce({key_sql(source.key_columns, row)}, '{WHOLE}')"


def _columns(conn: sqlite3.Connection, table: str) -> dict[str, tuple[bool, bool]]:
    """The columns of *table*, in lower case: of the primary key, and generated."""
    rows = conn.execute(f"pragma main.table_xinfo({quote(table)})").fetchall()
    return {str(row[1]).lower(): (row[5] > 0, row[6] > 1) for row in rows}


def _columns_read(
    source: TableSource, columns: Mapping[str, tuple[bool, bool]]
) -> list[str]:
    """The columns whose changes matter: those that are stored of a row, and its key.

    None are all columns: a statement does not name the generated ones that it changes.
    """
    title = () if source.title_column is None else (source.title_column,)
    used = *source.key_columns, *source.content_columns, *source.metadata_columns
    found = [e for e in dict.fromkeys([*used, *title]) if e.lower() in columns]
    if any(columns[each.lower()][1] for each in found):
        return []
    # A statement may set the key by a name of the rowid
    return [*found, *ROWIDS]


def _unique_indexes(
    conn: sqlite3.Connection,
    source: TableSource,
    columns: Mapping[str, tuple[bool, bool]],
) -> list[list[tuple[str, str]]]:
    """The columns and collations of each unique index that is not that of the key."""
    found, key = [], {each.lower() for each in source.key_columns}
    for own in _all_unique_indexes(conn, source, columns):
        if own is not None and {name.lower() for name, _collation in own} != key:
            found.append(own)
    # SQLite's order is that of their creation, the last one first
    return sorted(found)


def _all_unique_indexes(
    conn: sqlite3.Connection,
    source: TableSource,
    columns: Mapping[str, tuple[bool, bool]],
) -> Iterator[list[tuple[str, str]] | None]:
    """The columns and collations of each unique index.

    None is for one that no trigger can look up: of a part of the rows, of expressions,
    or of generated columns.
    """
    indexes = conn.execute(f"pragma main.index_list({quote(source.table)})").fetchall()
    for _number, name, is_unique, _origin, is_partial, *_rest in indexes:
        if is_unique:
            rows = conn.execute(f"pragma main.index_xinfo({quote(name)})").fetchall()
            own = [(row[2], row[4]) for row in rows if row[5]]
            names = {column and column.lower() for column, _collation in own}
            is_plain = all(each in columns and not columns[each][1] for each in names)
            yield own if is_plain and not is_partial else None


def record_sql(
    collection_id: int, source_id: int, key: str, rows: str = "where true"
) -> str:
    """SQL that records a change of the row with *key*, or of several *rows*.

    The conflict clause of the statement that fires a trigger rules over its own, such
    as "insert or ignore", but not over "do update".
    """
    values = f"{int(collection_id)}, {int(source_id)}, {key}, {_NOW}, random()"
    return f"""
      insert into {CHANGES} (collection_id, source_id, key, changed, version)
      select {values}
      {rows}
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
            conn.execute(f"drop trigger if exists {name}")


def moved_triggers(
    conn: sqlite3.Connection, tables: Mapping[tuple[int, int], str]
) -> list[str]:
    """The names of the triggers that are not on the table of their source.

    *tables* has the table of each source, by the ids of the collection and the source.
    Triggers go with a table that is renamed.
    """
    rows = conn.execute(
        "select name, tbl_name from sqlite_master where type = 'trigger'"
    ).fetchall()
    found = {name: str(table).lower() for name, table in rows}
    return [
        name
        for name, ids in stored_triggers(conn).items()
        if ids in tables and tables[ids].lower() != found.get(name)
    ]


def drop_stale_changes(conn: sqlite3.Connection) -> None:
    """Delete the triggers of sources that are not read, and what they recorded.

    Part of a transaction.
    """
    stored, has_table = stored_triggers(conn), bool(columns_of(conn, CHANGES))
    if not (stored or has_table):
        return
    known = set(conn.execute(_CURRENT))
    for name, ids in stored.items():
        if ids not in known:
            conn.execute(f"drop trigger if exists {name}")
    if has_table:
        is_current = f"(collection_id, source_id) in ({_CURRENT})"
        conn.execute(f"delete from {CHANGES} where not {is_current}")


_CURRENT = """
    select collection_id, id
    from _embedding_sources
    where state = 'current'
    and collection_id in (select id from collections)
"""


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
