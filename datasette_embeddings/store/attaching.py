"""Adding a source to a collection, replacing it, and removing it with its last item."""

from __future__ import annotations

import sqlite3
import time

from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.sources.definitions import QuerySource, Source
from datasette_embeddings.store.collection_sources import (
    OLD_SOURCE_ID,
    CollectionSource,
    SourceState,
)
from datasette_embeddings.store.collections import Collection, all_collections
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.schema import FAILURES, ORIGINS


def attached_source(
    existing: Collection | None, source: Source
) -> CollectionSource | None:
    """The stored source of *existing* that is the same as *source*, if there is one."""
    state = _state_of(source)
    sources = [] if existing is None else existing.sources_that_are(state)
    for each in sources:
        if each.prefix == source.id_prefix and each.source.is_same(source):
            return each
    return None


def check_source(
    existing: Collection,
    source: Source,
    *,
    replace_source: bool = False,
) -> None:
    """Check that *source* may bring items into *existing*.

    :raises InvalidInputError: if another source has brought items of that prefix,
        unless
        *replace_source*.
    """
    if source.is_standard_input or replace_source:
        return
    prefix = source.id_prefix
    for each in existing.sources_that_are(SourceState.CURRENT, prefix):
        if each.source.is_same(source) or not _has_items(existing, each):
            continue
        beside = f" with the prefix {prefix!r}" if prefix else ""
        raise InvalidInputError(
            f"The items of {existing.name!r}{beside} come from "
            f"{each.source.description}, not from {source.description}: add --replace "
            "to put the new source in place of the old and delete what it does not "
            "have, another --prefix to keep both, or choose another collection name"
        )


def attach_source(
    collection: Collection,
    source: Source,
    *,
    replace_source: bool = False,
) -> None:
    """Make *source* the one of its prefix in *collection*.

    A replaced source stays, and its permission is required, until its last item was
    deleted or taken over.  A query that now reads other tables is replaced too.

    :raises InvalidInputError: as :func:`check_source`.
    """
    check_source(collection, source, replace_source=replace_source)
    if source.is_standard_input:
        _keep_rules(collection, source)
        return
    prefix = source.id_prefix
    for each in collection.sources_that_are(SourceState.CURRENT, prefix):
        if each.source.is_same(source) and not _reads_others(each, source):
            return
        collection.conn.execute(
            "update _embedding_sources set state = ? where id = ?",
            [SourceState.REPLACED.value, each.id],
        )
    _insert(
        collection.conn, collection.id, prefix, source.to_json(), SourceState.CURRENT
    )


def drop_replaced_sources(collection: Collection, source: Source) -> None:
    """Delete the sources that *source* replaced and that have no items left."""
    for each in collection.sources_that_are(SourceState.REPLACED, source.id_prefix):
        if not _has_items(collection, each):
            collection.conn.execute(
                "delete from _embedding_sources where id = ?", [each.id]
            )
            for table in (ORIGINS, FAILURES):
                collection.conn.execute(
                    f"delete from {table} where collection_id = ? and source_id = ?",
                    [collection.id, each.id],
                )


def check_attached(conn: sqlite3.Connection, source_id: int | None, name: str) -> None:
    """Check, at the start of a transaction, that the source is still current.

    :raises InvalidInputError: if another run replaced it.
    """
    if source_id is None:
        return
    row = conn.execute(
        "select 1 from _embedding_sources where id = ? and state = ?",
        [source_id, SourceState.CURRENT.value],
    ).fetchone()
    if row is None:
        raise InvalidInputError(
            f"Another run has put another source in place of this one of {name!r}; "
            "what was committed is kept"
        )


def note_synced(collection: Collection, source: Source, now: int) -> None:
    """Store that all of *source* was read, with its present rules."""
    attached = attached_source(collection, source)
    if attached is not None:
        collection.conn.execute(
            "update _embedding_sources set source = ?, synced = ? where id = ?",
            [source.to_json(), now, attached.id],
        )


def move_old_sources(conn: sqlite3.Connection) -> None:
    """Move the sources that 0.2a0 stored to their own table, and add origins."""
    rows = conn.execute(
        """
        select collection_id, source
        from _embedding_collections
        where source is not null
        """
    ).fetchall()
    if not rows:
        return
    collections = {each.id: each for each in all_collections(conn)}
    for collection_id, note in rows:
        found = collections.get(collection_id)
        old = [] if found is None else list(found.sources)
        # With others beside it, 0.2a0 wrote it later: only its permission counts
        if found is None or [each.id for each in old] != [OLD_SOURCE_ID]:
            continue
        source_id = _insert(conn, found.id, old[0].prefix, note, old[0].state)
        conn.execute(
            "update _embedding_sources set synced = ? where id = ?",
            [old[0].synced, source_id],
        )
        conn.execute(
            f"""
            insert or replace into _embedding_origins
              (collection_id, id, source_id, content_hash, updated)
            select collection_id, id, {source_id}, content_hash, updated
            from embeddings
            where collection_id = ?
            and {owner_sql(found)} is not null
            """,
            [found.id],
        )
        conn.execute(
            "update _embedding_collections set source = null where collection_id = ?",
            [found.id],
        )


def _state_of(source: Source) -> SourceState:
    is_pipe = source.is_standard_input
    return SourceState.PIPED if is_pipe else SourceState.CURRENT


def _reads_others(known: CollectionSource, source: Source) -> bool:
    """Whether the query reads other tables than the stored ones, as with a new view."""
    return (
        isinstance(source, QuerySource)
        and isinstance(known.source, QuerySource)
        and source.tables != known.source.tables
    )


def _keep_rules(collection: Collection, source: Source) -> None:
    """Store the chunking of a pipe, to compare it with that of the next one."""
    if attached_source(collection, source) is None:
        _insert(
            collection.conn,
            collection.id,
            source.id_prefix,
            source.to_json(),
            SourceState.PIPED,
        )


def _insert(
    conn: sqlite3.Connection,
    collection_id: int,
    prefix: str,
    note: str | None,
    state: SourceState,
) -> int:
    """The id of a new source.

    It is at least the Unix time, so that no id is reused: a run that is still active
    would otherwise write items for another source.
    """
    (source_id,) = conn.execute(
        "select max(?, coalesce(max(id), 0) + 1) from _embedding_sources",
        [int(time.time())],
    ).fetchone()
    conn.execute(
        """
        insert into _embedding_sources (id, collection_id, prefix, source, state)
        values (?, ?, ?, ?, ?)
        """,
        [source_id, collection_id, prefix, note, state.value],
    )
    return int(source_id)


def _has_items(collection: Collection, source: CollectionSource) -> bool:
    row = collection.conn.execute(
        f"""
        select 1
        from embeddings
        where collection_id = ?
        and {owner_sql(collection)} = ?
        limit 1
        """,
        [collection.id, source.id],
    ).fetchone()
    return row is not None
