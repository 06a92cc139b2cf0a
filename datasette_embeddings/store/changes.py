"""Rows of source tables that changed since they were embedded.

Triggers on the source table write the key of each row that any program inserts, updates
or deletes into ``_embedding_changes``, in the transaction that writes the row, so that
a change cannot be lost.  A row of that table whose key is ``*`` is about the source as
a whole: the source is tracked, and if ``changed`` is not null, all of its rows have to
be compared once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

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
from datasette_embeddings.store.change_rows import IS_DUE
from datasette_embeddings.store.change_triggers import (
    CHANGES,
    WHOLE,
    drop_stale_triggers,
    drop_triggers,
    is_trackable,
    record_sql,
    trigger_names,
    triggers,
)
from datasette_embeddings.store.collections import StoredCollection, current

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
        found = current(collection)
        drop_stale_triggers(collection.conn)
        attached = _attached(found, source)
        for name in trigger_names(found.id, attached.id):
            found.conn.execute(f"drop trigger if exists {name}")
        for sql in triggers(found.conn, found.id, attached.id, source).values():
            found.conn.execute(sql)
        found.conn.execute(record_sql(found.id, attached.id, "?"), [WHOLE])


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
    conn = collection.conn
    attached = collection.attached(source)
    if attached is None or not isinstance(source, TableSource):
        return False
    stored = conn.execute(
        f"""
        select name, sql
        from sqlite_master
        where type = 'trigger'
        and name glob '{CHANGES}_{collection.id}_{attached.id}_*'
        """
    ).fetchall()
    if not stored or dict(stored) != triggers(conn, collection.id, attached.id, source):
        return False
    if not is_as_stored(collection, source):
        return False
    return bool(schema.columns_of(conn, CHANGES)) and (
        _version(collection, attached.id, WHOLE) is not None
    )


def _version(collection: StoredCollection, source_id: int, key: str) -> object:
    row = collection.conn.execute(
        f"""
        select version
        from {CHANGES}
        where (collection_id, source_id, key) = (?, ?, ?)
        """,
        [collection.id, source_id, key],
    ).fetchone()
    return row and row[0]


def count_changes(collection: StoredCollection) -> Behind:
    """How far *collection* is behind; nothing if no source of it is tracked."""
    conn, now = collection.conn, time.time()
    if not schema.columns_of(conn, CHANGES):
        return Behind()
    rows, since, due, whole, failed = conn.execute(
        f"""
        select
          count(case when key <> '{WHOLE}' then 1 end),
          min(changed),
          count(case when key <> '{WHOLE}' and {IS_DUE} then 1 end),
          count(case when key = '{WHOLE}' then changed end),
          count(error)
        from {CHANGES}
        where collection_id = :id
        """,
        {"now": now, "id": collection.id},
    ).fetchone()
    since = since if isinstance(since, float) else None
    failures = tuple(_failures(collection)) if failed else ()
    return Behind(rows, since, due, bool(whole), failed, failures)


def _failures(collection: StoredCollection) -> Iterable[Failure]:
    sources = {each.id: each for each in collection.sources}
    rows = collection.conn.execute(
        f"""
        select source_id, key, error
        from {CHANGES}
        where collection_id = ?
        and error is not null
        order by changed, key
        limit ?
        """,
        [collection.id, FAILURES_SHOWN],
    ).fetchall()
    encoding = text_encoding(collection.conn)
    for source_id, text, error in rows:
        attached = sources.get(source_id)
        source = None if attached is None else attached.source
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


def is_as_stored(collection: StoredCollection, source: Source) -> bool:
    """Whether *source* is the one that *collection* was made from, with its rules."""
    attached = collection.attached(source)
    return attached is not None and (
        attached.source == source_from_json(source.to_json())
    )
