"""The sources of a collection: adding and replacing them, and writing items of one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.sources.definitions import Source, SourceState
from datasette_embeddings.store.collections import (
    StoredCollection,
    all_collections,
    current,
)
from datasette_embeddings.store.origins import has_items, owner_sql
from datasette_embeddings.store.schema import OLD_SOURCE_ID, transaction


def check_source(
    collection: StoredCollection, source: Source, *, replace_source: bool = False
) -> None:
    """Check that *source* may bring items into *collection*."""
    if source.is_standard_input or replace_source:
        return
    prefix = source.id_prefix
    for each in collection.current_sources:
        is_other = each.prefix == prefix and not each.source.is_same(source)
        if not is_other or not has_items(collection, each.id):
            continue
        beside = f" with the prefix {prefix!r}" if prefix else ""
        raise InvalidInputError(
            f"The items of {collection.name!r}{beside} come from "
            f"{each.source.description}, not from {source.description}: add --replace "
            "to put the new source in place of the old and delete what it does not "
            "have, another --prefix to keep both, or choose another collection name"
        )


def attach_source(
    collection: StoredCollection, source: Source, *, replace_source: bool = False
) -> None:
    """Make *source* the one of its prefix in *collection*, if it may be.

    A replaced source stays, and its permission is required, until its last item was
    deleted or taken over.  A query that now reads other tables is replaced too.  Of a
    pipe the rules are stored, to compare its chunking with that of the next one.
    """
    check_source(collection, source, replace_source=replace_source)
    attached = collection.attached(source)
    if attached and attached.source.permission_tables == source.permission_tables:
        return
    state = SourceState.PIPED if source.is_standard_input else SourceState.CURRENT
    for each in collection.current_sources:
        if each.prefix == source.id_prefix and state is SourceState.CURRENT:
            collection.conn.execute(
                "update _embedding_sources set state = ? where id = ?",
                [SourceState.REPLACED.value, each.id],
            )
    _insert(collection, source.id_prefix, source.to_json(), state)


@contextmanager
def writing(
    known: StoredCollection, source_id: int | None = None
) -> Iterator[StoredCollection]:
    """A transaction that writes to *known*, and the collection as it is by now.

    Nothing is written if it, or the source of *source_id*, has gone meanwhile.
    """
    with transaction(known.conn):
        found = current(known)
        if source_id not in (None, *(each.id for each in found.current_sources)):
            raise InvalidInputError(
                "Another run has put another source in place of this one of "
                f"{known.name!r}; what was committed is kept"
            )
        yield found


def finish_sync(collection: StoredCollection, source: Source | None) -> None:
    """Store that a run has read all of *source*, whose rules apply from now on.

    The sources that it replaced go if they have no items left.
    """
    now, conn = int(time.time()), collection.conn
    with writing(collection):
        # How many were cut is null if it is unknown of one
        conn.execute(
            """
            update _embedding_collections
            set synced = ?,
                truncated = (
                  select case when count(*) = count(truncated) then sum(truncated) end
                  from _embedding_origins
                  where collection_id = _embedding_collections.collection_id
                )
            where collection_id = ?
            """,
            [now, collection.id],
        )
        if source is None:
            return
        attached = collection.attached(source)
        if attached is not None:
            conn.execute(
                "update _embedding_sources set source = ?, synced = ? where id = ?",
                [source.to_json(), now, attached.id],
            )
        replaced = [e for e in collection.sources if e.state is SourceState.REPLACED]
        for each in replaced:
            if each.prefix != source.id_prefix or has_items(collection, each.id):
                continue
            conn.execute("delete from _embedding_sources where id = ?", [each.id])
            for table in ("_embedding_origins", "_embedding_failures"):
                conn.execute(
                    f"delete from {table} where collection_id = ? and source_id = ?",
                    [collection.id, each.id],
                )


@contextmanager
def counting_truncated(
    collection: StoredCollection, document_ids: Sequence[str]
) -> Iterator[None]:
    """Keep the number of documents that were cut, while the block writes some of them.

    Part of a transaction.  It is counted as :func:`finish_sync` does, without the
    others.
    """
    unknown_before, cut_before = _truncated(collection, document_ids)
    yield
    unknown, cut = _truncated(collection, document_ids)
    if collection.dimensions is None or (unknown, cut) != (unknown_before, cut_before):
        collection.conn.execute(
            """
            update _embedding_collections
            set truncated = case when ? = 0 then coalesce(truncated, ?) + ? end
            where collection_id = ?
            """,
            [
                unknown,
                # It is null of an empty collection, too
                0 if collection.dimensions is None else None,
                cut - cut_before,
                collection.id,
            ],
        )


def _truncated(
    collection: StoredCollection, document_ids: Sequence[str]
) -> tuple[int, int]:
    """Of how many items of documents it is unknown whether they were cut, and known."""
    unknown = cut = 0
    for each in document_ids:
        row = collection.conn.execute(
            """
            select count(*) - count(truncated), coalesce(sum(truncated), 0)
            from _embedding_origins
            where collection_id = :collection_id
            and id in (
              select :id
              union
              select id
              from _embedding_chunks
              where collection_id = :collection_id
              and document_id = :id
            )
            """,
            {"collection_id": collection.id, "id": each},
        ).fetchone()
        unknown, cut = unknown + row[0], cut + row[1]
    return unknown, cut


def move_old_sources(conn: sqlite3.Connection) -> None:
    """Move the sources that 0.2a0 stored to their own table, and add origins."""
    for each in all_collections(conn):
        # With others beside it, 0.2a0 wrote it later: only its permission counts
        if [source.id for source in each.sources] != [OLD_SOURCE_ID]:
            continue
        (old,) = each.sources
        [(stored,)] = conn.execute(
            "select source from _embedding_collections where collection_id = ?",
            [each.id],
        )
        source_id = _insert(each, old.prefix, stored, old.state, old.synced)
        conn.execute(
            f"""
            insert or replace into _embedding_origins
              (collection_id, id, source_id, content_hash, updated)
            select collection_id, id, {source_id}, content_hash, updated
            from embeddings
            where collection_id = ?
            and {owner_sql(each)} is not null
            """,
            [each.id],
        )
        conn.execute(
            "update _embedding_collections set source = null where collection_id = ?",
            [each.id],
        )


def _insert(
    collection: StoredCollection,
    prefix: str,
    source: str,
    state: SourceState,
    synced: int | None = None,
) -> int:
    """The id of a new source.

    It is at least the Unix time, so that no id is reused: a run that is still active
    would otherwise write items for another source.
    """
    cursor = collection.conn.execute(
        """
        insert into _embedding_sources
          (id, collection_id, prefix, source, state, synced)
        select max(?, coalesce(max(id), 0) + 1), ?, ?, ?, ?, ?
        from _embedding_sources
        """,
        [int(time.time()), collection.id, prefix, source, state.value, synced],
    )
    return int(cursor.lastrowid or 0)
