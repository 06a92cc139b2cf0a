"""The recorded changes of rows: reading those that are due, and forgetting them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from datasette_embeddings.sources.definitions import Source, TableSource
from datasette_embeddings.sources.row_keys import RowKey, row_key, text_encoding
from datasette_embeddings.store import schema
from datasette_embeddings.store.attaching import writing
from datasette_embeddings.store.change_triggers import CHANGES, WHOLE, record_sql
from datasette_embeddings.store.collections import StoredCollection, find_collection

# Seconds until a row that failed is tried again: twice as many each time
FIRST_PAUSE, MOST_DOUBLED, LONGEST_PAUSE = 60, 6, 3_600
#: SQL for whether a row is to be embedded by the time :now
IS_DUE = f"""
    coalesce(
      error is null
      or tried > :now
      or tried <= :now - min(
        {LONGEST_PAUSE}, {FIRST_PAUSE} << min(attempts - 1, {MOST_DOUBLED})
      ),
      1
    )
"""


@dataclass(frozen=True)
class Change:
    """A row that changed: its key, as it is written there, and which change it is."""

    text: str
    version: object
    #: None if the key was not written by a trigger
    key: RowKey | None


def changes_due(
    collection: StoredCollection, source: TableSource, *, limit: int | None = None
) -> list[Change]:
    """At most *limit* changes of *source* that can be embedded now, the oldest first.

    None is for all changes, also those that are to wait, and that of the whole.
    """
    attached = collection.attached(source)
    if attached is None or not schema.columns_of(collection.conn, CHANGES):
        return []
    condition = "true" if limit is None else f"key <> '{WHOLE}' and {IS_DUE}"
    rows = collection.conn.execute(
        f"""
        select key, version
        from {CHANGES}
        where collection_id = :id
        and source_id = :source_id
        and {condition}
        order by changed, key
        limit :limit
        """,
        {
            "id": collection.id,
            "source_id": attached.id,
            "now": time.time(),
            "limit": -1 if limit is None else limit,
        },
    ).fetchall()
    count, encoding = len(source.key_columns), text_encoding(collection.conn)
    return [
        Change(key, version, row_key(key, count, encoding)) for key, version in rows
    ]


def changes_of(conn: sqlite3.Connection, name: str, source: Source) -> list[Change]:
    """All changes of *source* that are recorded for the collection called *name*."""
    found = find_collection(conn, name)
    if found is None or not isinstance(source, TableSource):
        return []
    return changes_due(found, source)


def settle(
    collection: StoredCollection,
    source: Source,
    covered: Iterable[Change],
    *,
    failed: Container[str],
    finds_deleted: bool,
) -> None:
    """Forget changes that a sync has *covered*, except those of items that *failed*.

    Unless it *finds_deleted* rows, all changes of single rows are kept.
    """
    attached, prefix = collection.attached(source), source.id_prefix
    if attached is None:
        return
    done = [
        each
        for each in covered
        if each.text == WHOLE
        or (
            finds_deleted
            and (each.key is None or prefix + each.key.item_id not in failed)
        )
    ]
    if done:
        with writing(collection, attached.id) as found:
            forget_changes(found, attached.id, done)


def forget_changes(
    collection: StoredCollection, source_id: int, changes: Iterable[Change]
) -> None:
    """Delete those of *changes* that are as they were read; part of a transaction.

    A row that changed again meanwhile stays.
    """
    keys = [(collection.id, source_id, each.text, each.version) for each in changes]
    is_same = "(collection_id, source_id, key) = (?, ?, ?) and version is ?"
    collection.conn.executemany(
        f"delete from {CHANGES} where {is_same} and key <> '{WHOLE}'", keys
    )
    collection.conn.executemany(
        f"update {CHANGES} set changed = null where {is_same} and key = '{WHOLE}'", keys
    )


def fail_changes(
    collection: StoredCollection, source_id: int, errors: Sequence[tuple[Change, str]]
) -> None:
    """Store why rows could not be embedded, if they are as they were read.

    Part of a transaction.
    """
    collection.conn.executemany(
        f"""
        update {CHANGES}
        set error = ?, attempts = coalesce(attempts, 0) + 1, tried = ?
        where (collection_id, source_id, key) = (?, ?, ?)
        and version is ?
        """,
        (
            (error, time.time(), collection.id, source_id, each.text, each.version)
            for each, error in errors
        ),
    )


def require_sync(collection: StoredCollection, source_id: int) -> None:
    """Have all rows of a source compared once; part of a transaction."""
    collection.conn.execute(record_sql(collection.id, source_id, "?"), [WHOLE])


def retry_failed(collection: StoredCollection) -> None:
    """Let the rows of *collection* that failed be tried again now."""
    if schema.columns_of(collection.conn, CHANGES):
        with schema.transaction(collection.conn):
            collection.conn.execute(
                f"""
                update {CHANGES}
                set tried = null
                where collection_id = ?
                and error is not null
                """,
                [collection.id],
            )
