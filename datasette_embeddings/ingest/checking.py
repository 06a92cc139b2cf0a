"""What is wrong in a database of collections, and mending it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.ingest.comparing import compare
from datasette_embeddings.ingest.syncing import readable_source, remembered_sources
from datasette_embeddings.similarities.refreshing import count_stale
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store import rebuilding
from datasette_embeddings.store.changes import remove_collection
from datasette_embeddings.store.checks import (
    count_left_behind,
    count_lost_chunks,
    count_odd_rows,
    count_odd_vectors,
    count_orphans,
    remove_odd_rows,
    remove_odd_vectors,
    remove_strays,
)
from datasette_embeddings.store.collections import Collection, collections
from datasette_embeddings.store.gone import count_gone
from datasette_embeddings.store.schema import has_collections
from datasette_embeddings.store.staging import staged


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be, in how many rows, and what mends it."""

    #: None for what belongs to no collection
    collection: str | None
    problem: str
    count: int
    #: What to do about it
    remedy: str


FIX = "check --fix deletes them"
FIX_BY_FIX = "check --fix, which keeps what it cannot repair"
FIX_BY_SYNC = "check --fix, or sync"


def problems(conn: sqlite3.Connection) -> Iterator[Problem]:
    """Everything that is wrong in the database of *conn*; nothing is changed."""
    if not has_collections(conn):
        return
    for problem, count in (
        ("embeddings without a collection", count_orphans(conn)),
        ("facts about a collection that is gone", count_left_behind(conn)),
        ("chunks without an embedding", count_lost_chunks(conn)),
    ):
        if count:
            yield Problem(None, problem, count, FIX)
    for unfinished in rebuilding.unfinished(conn):
        count = unfinished.count_items()
        remedy = "run --rebuild again to complete it; check --fix deletes it"
        yield Problem(unfinished.name, "a rebuild that did not finish", count, remedy)
    for collection in collections(conn):
        yield from _problems_of(collection)


def _problems_of(collection: Collection) -> Iterator[Problem]:
    odd = count_odd_vectors(collection)
    if odd:
        remedy = _unmendable(collection)
        remedy = FIX_BY_SYNC if remedy is None else f"none: {remedy}"
        yield Problem(
            collection.name, "vectors of another length than most", odd, remedy
        )
    odd = count_odd_rows(collection)
    if odd:
        problem = "rows with values of another type"
        yield Problem(collection.name, problem, odd, FIX_BY_FIX)
    stale = count_stale(collection)
    if stale:
        yield Problem(
            collection.name, "documents whose similarities are old", stale, FIX_BY_SYNC
        )
    failed = collection.failures()
    if failed:
        first = f"{failed[0].id}: {failed[0].error}"
        remedy = f"mend the rows, then sync. The first, {first}"
        yield Problem(collection.name, "rows that failed", len(failed), remedy)
    for each in collection.current_sources:
        try:
            source = readable_source(collection.conn, each.source)
            if not isinstance(source, str):
                yield from _stale(collection, source)
        except EmbeddingsError as error:
            yield Problem(
                collection.name, "a source that cannot be read", 1, str(error)
            )


def _unmendable(collection: Collection) -> str | None:
    """Why a vector of *collection* cannot be made again, if it cannot."""
    try:
        remembered_sources(collection)
    except EmbeddingsError as error:
        return str(error)
    return None


def _stale(
    collection: Collection,
    source: Source,
) -> Iterator[Problem]:
    conn = collection.conn
    with (
        reading.documents(conn, source) as documents,
        staged(conn, documents) as staging,
    ):
        ownership = compare(staging, collection, source)
        counts = staging.counts()
        gone = count_gone(collection, ownership.own_ids)
        counts["gone"] = 0 if counts.get("unread") else gone
    for state, problem in (
        ("new", "rows that are not embedded yet"),
        ("changed", "rows that have changed since they were embedded"),
        ("metadata", "rows whose metadata have changed"),
        ("gone", "items whose row is gone"),
    ):
        if counts.get(state):
            yield Problem(collection.name, problem, counts[state], FIX_BY_SYNC)


def remove_what_is_wrong(conn: sqlite3.Connection) -> None:
    """Delete what belongs nowhere; a vector that may be made anew is deleted too."""
    if not has_collections(conn):
        return
    for unfinished in rebuilding.unfinished(conn):
        remove_collection(unfinished)
    for collection in collections(conn):
        is_known = _unmendable(collection) is None
        if is_known:
            remove_odd_vectors(collection)
        remove_odd_rows(collection, is_known=is_known)
    # Last, because a chunk that lost its vector is a stray
    remove_strays(conn)


def remove_what_is_mended(conn: sqlite3.Connection) -> None:
    """Delete the odd rows that a sync has brought again."""
    for collection in collections(conn):
        remove_odd_rows(collection, is_known=False)
