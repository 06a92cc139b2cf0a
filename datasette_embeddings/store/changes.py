"""Rows of source tables that changed since they were embedded.

Triggers on the source table write the key of each row that any program inserts, updates
or deletes into ``_embedding_changes``, in the transaction that writes the row, so that
a change cannot be lost.  A row of that table whose key is ``*`` is about the source as
a whole: the source is tracked, and if ``changed`` is not null, all of its rows have to
be compared once.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass

from datasette_embeddings.databases import declared_columns
from datasette_embeddings.documents import Failure
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.migrations import CHANGES_TABLES
from datasette_embeddings.sources.definitions import (
    CollectionSource,
    Source,
    TableSource,
    source_from_json,
)
from datasette_embeddings.sources.row_keys import row_key, text_encoding
from datasette_embeddings.store import schema
from datasette_embeddings.store.attaching import move_old_sources
from datasette_embeddings.store.change_rows import IS_DUE
from datasette_embeddings.store.change_triggers import (
    CHANGES,
    WHOLE,
    drop_stale_changes,
    drop_triggers,
    is_trackable,
    record_sql,
    stored_triggers,
    triggers,
)
from datasette_embeddings.store.collections import StoredCollection, current

# Of the table of changes, which the triggers rely on
KEY = ["collection_id", "source_id", "key"]
#: Failing rows that are shown
FAILURES_SHOWN = 10


@dataclass(frozen=True)
class Behind:
    """How far a collection is behind its tracked sources."""

    #: Rows that changed since they were embedded, also those that fail
    rows: int = 0
    #: When the first of them changed, in Unix seconds; None if there is none
    since: float | None = None
    #: Of the rows, those that can be embedded now
    due: int = 0
    #: All rows of a source have to be compared once, by a sync
    needs_sync: bool = False
    #: Of the rows, those that fail, and the first of them
    failed: int = 0
    failures: tuple[Failure, ...] = ()


def track(collection: StoredCollection, source: Source) -> None:
    """Record from now on which rows of *source*, one of *collection*, change.

    If they were not recorded until now, all of them have to be compared once.

    :raises InvalidInputError: if no trigger can do it.
    """
    if is_tracked(collection, source):
        return
    if not isinstance(source, TableSource) or not is_trackable(collection.conn, source):
        raise InvalidInputError(
            f"Expected a table whose rows are identified by its primary key, found "
            f"{source.description}"
        )
    schema.create_tables(collection.conn, [CHANGES], CHANGES_TABLES)
    with schema.transaction(collection.conn):
        if _primary_key(collection.conn) != KEY:
            # A copy of it; other sources are tracked again as this one is
            collection.conn.execute(f"drop table {CHANGES}")
            for sql in CHANGES_TABLES:
                collection.conn.execute(sql)
        move_old_sources(collection.conn)
        found = current(collection)
        drop_stale_changes(found.conn)
        source_id = _attached(found, source).id
        wanted = triggers(found.conn, found.id, source_id, source)
        for name, ids in stored_triggers(found.conn).items():
            if ids == (found.id, source_id):
                found.conn.execute(f"drop trigger {name}")
        for sql in wanted.values():
            found.conn.execute(sql)
        found.conn.execute(record_sql(found.id, source_id, "?"), [WHOLE])


def untrack(collection: StoredCollection) -> None:
    """Record no more changes of the sources of *collection*, and forget them."""
    with schema.transaction(collection.conn):
        drop_triggers(collection.conn, collection.id)
        if schema.columns_of(collection.conn, CHANGES):
            collection.conn.execute(
                f"delete from {CHANGES} where collection_id = ?", [collection.id]
            )


def is_tracked(collection: StoredCollection, source: Source) -> bool:
    """Whether the changes of *source*, as the collection stores it, are recorded."""
    attached = collection.attached(source)
    return (
        attached is not None
        and isinstance(source, TableSource)
        and is_as_stored(collection, source)
        and _is_recorded(collection, attached.id, source)
    )


def has_recorded_all(collection: StoredCollection, source: Source) -> bool:
    """Whether no row of *source* has to be embedded but those that are recorded."""
    attached = collection.attached(source)
    if attached is None or not is_tracked(collection, source):
        return False
    row = collection.conn.execute(
        f"""
        select changed
        from {CHANGES}
        where (collection_id, source_id, key) = (?, ?, ?)
        """,
        [collection.id, attached.id, WHOLE],
    ).fetchone()
    return bool(row == (None,))


def is_as_stored(collection: StoredCollection, source: Source) -> bool:
    """Whether *source* has the rules by which a run has read all of it."""
    attached = collection.attached(source)
    return attached is not None and (
        attached.source == source_from_json(source.to_json())
    )


def count_lost(collection: StoredCollection) -> int:
    """Of how many sources the changes were recorded, and are no longer.

    Where only the table is missing, no row of the source can be written.
    """
    found = _tracked_ids(collection)
    return sum(
        each.id in found
        and isinstance(each.source, TableSource)
        and not _is_recorded(collection, each.id, each.source)
        for each in collection.current_sources
    )


def repair_tracking(collection: StoredCollection) -> None:
    """Record the changes of those sources again of which they are no longer recorded.

    All of their rows have to be compared once.
    """
    found = _tracked_ids(collection)
    for each in collection.current_sources:
        if each.id not in found or not isinstance(each.source, TableSource):
            continue
        if is_trackable(collection.conn, each.source):
            track(collection, each.source)
        else:
            # Its table was replaced by a view, or deleted
            untrack(collection)


def _tracked_ids(collection: StoredCollection) -> set[int]:
    """The sources that have triggers, or were tracked and have none."""
    conn = collection.conn
    stored = stored_triggers(conn).values()
    found = {source_id for each, source_id in stored if each == collection.id}
    if schema.columns_of(conn, CHANGES):
        rows = conn.execute(
            f"select source_id from {CHANGES} where collection_id = ? and key = ?",
            [collection.id, WHOLE],
        )
        found.update(source_id for (source_id,) in rows)
    return found


def _is_recorded(
    collection: StoredCollection, source_id: int, source: TableSource
) -> bool:
    """Whether the triggers of a source are as they should be, and can write."""
    conn = collection.conn
    if _primary_key(conn) != KEY:
        return False
    stored = conn.execute(
        f"""
        select name, sql
        from sqlite_master
        where type = 'trigger'
        and name glob '{CHANGES}_{int(collection.id)}_{int(source_id)}_*'
        """
    ).fetchall()
    if not stored or dict(stored) != triggers(conn, collection.id, source_id, source):
        return False
    row = conn.execute(
        f"select 1 from {CHANGES} where (collection_id, source_id, key) = (?, ?, ?)",
        [collection.id, source_id, WHOLE],
    ).fetchone()
    return row is not None


def _primary_key(conn: sqlite3.Connection) -> list[str]:
    columns = declared_columns(conn, CHANGES)
    keys = sorted((each.key_position, each.name) for each in columns)
    return [name for position, name in keys if position]


def count_changes(collection: StoredCollection) -> Behind:
    """How far *collection* is behind; nothing if no source of it is tracked."""
    ids = schema.listed(each.id for each in collection.current_sources)
    if not schema.columns_of(collection.conn, CHANGES):
        return Behind()
    own = f"from {CHANGES} where collection_id = :id and source_id in ({ids})"
    # Each is found in an index, whether there are ten rows or a million
    rows, sources, whole, failed, waiting, since = collection.conn.execute(
        f"""
        select
          (select count(*) {own}),
          (select count(*) {own} and key = '{WHOLE}'),
          (select count(changed) {own} and key = '{WHOLE}'),
          (select count(*) {own} and error is not null),
          (select count(*) {own} and error is not null and not {IS_DUE}),
          (select min(changed) {own})
        """,
        {"now": time.time(), "id": collection.id},
    ).fetchone()
    rows -= sources
    return Behind(
        rows,
        since if isinstance(since, float) else None,
        due=rows - waiting,
        needs_sync=bool(whole),
        failed=failed,
        failures=tuple(_failures(collection)) if failed else (),
    )


def _failures(collection: StoredCollection) -> Iterable[Failure]:
    sources = {each.id: each for each in collection.current_sources}
    rows = collection.conn.execute(
        f"""
        select source_id, key, error
        from {CHANGES}
        where collection_id = ?
        and source_id in ({schema.listed(sources)})
        and error is not null
        order by changed, key
        limit ?
        """,
        [collection.id, FAILURES_SHOWN],
    ).fetchall()
    encoding = text_encoding(collection.conn)
    for source_id, text, error in rows:
        source = sources[source_id].source
        if isinstance(source, TableSource):
            key = row_key(text, len(source.key_columns), encoding)
            item_id = str(text) if key is None else source.id_prefix + key.item_id
            yield Failure(item_id, str(error))


def _attached(collection: StoredCollection, source: Source) -> CollectionSource:
    attached = collection.attached(source)
    if attached is None:
        raise InvalidInputError(
            f"The collection {collection.name!r} has no items of {source.description} "
            "yet; sync it first"
        )
    return attached
