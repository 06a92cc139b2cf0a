"""What is wrong in a database of collections, and its repair."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from datasette_embeddings.clusters import refreshing as clusters
from datasette_embeddings.clusters.building import repair as repair_clusters
from datasette_embeddings.documents import Failure
from datasette_embeddings.errors import EmbeddingsError, SourceUnavailableError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.index.verifying import count_wrong
from datasette_embeddings.ingest.sync import current_source, stored_sources
from datasette_embeddings.ingest.words import index_words, repair_words
from datasette_embeddings.maps import building as maps
from datasette_embeddings.search.addresses import makes_no_address
from datasette_embeddings.similarities.refreshing import count_stale
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store import integrity, words_check
from datasette_embeddings.store.changes import count_lost, repair_tracking
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collection_writes import remove_collection, unfinished
from datasette_embeddings.store.collections import (
    StoredCollection,
    collections,
    current,
)
from datasette_embeddings.store.compact_index import SavedIndex
from datasette_embeddings.store.metadata_index import MetadataIndex, repair_index
from datasette_embeddings.store.origins import ownership_of
from datasette_embeddings.store.staged_changes import count_unstaged
from datasette_embeddings.store.staging import staged

FIX_OR_SYNC = "check --fix, or sync"
NAME = "check --fix, or find them again: datasette embeddings clusters"
URL = "embed with a --base-url of columns or metadata that items have"
# States of source rows that a sync changes
STALE_STATES = {
    "new": "rows that are not embedded yet",
    "changed": "rows that have changed since they were embedded",
    "metadata": "rows whose metadata have changed",
    "gone": "items whose row was deleted",
}


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, in how many rows."""

    #: None for rows that belong to no collection
    collection: str | None
    problem: str
    count: int
    #: What to do about it
    remedy: str


def problems(conn: sqlite3.Connection) -> Iterator[Problem]:
    """Everything that is wrong in the database of *conn*; nothing is changed."""
    for problem, count in integrity.count_strays(conn).items():
        if count:
            yield Problem(None, problem, count, "check --fix deletes them")
    for each in unfinished(conn):
        remedy = "run --rebuild again to complete it; check --fix deletes it"
        problem = "a rebuild that did not finish"
        yield Problem(each.name, problem, each.count_items(), remedy)
    for collection in collections(conn):
        yield from problems_of(collection)


def problems_of(collection: StoredCollection) -> Iterator[Problem]:
    """Everything that is wrong in *collection*."""
    for problem, count, remedy in _possible_problems(collection):
        if count:
            yield Problem(collection.name, problem, count, remedy)


def _possible_problems(collection: StoredCollection) -> Iterator[tuple[str, int, str]]:
    """Each possible problem of *collection*, its count and its remedy."""
    odd = integrity.count_odd_vectors(collection)
    reason = _why_not_repairable(collection) if odd else None
    remedy = "check --fix" if reason is None else f"none: {reason}"
    yield "vectors of another length than most", odd, remedy
    remedy = "check --fix, which keeps what it cannot repair"
    odd_rows = integrity.count_odd_rows(collection)
    yield "rows with values of another type", odd_rows, remedy
    yield from _problems_of_words(collection)
    wrong = count_wrong(collection)
    yield "items that are wrong in the compact index", wrong, "check --fix"
    index = MetadataIndex(collection)
    unindexed = index.count_wrong() or int(index.is_stale())
    yield "items that are wrong in the index of metadata", unindexed, "check --fix"
    lost = count_lost(collection)
    yield "sources whose changes are no longer recorded", lost, "check --fix"
    stale = count_stale(collection)
    yield "documents whose similarities are old", stale, FIX_OR_SYNC
    astray = maps.count_stale(collection)
    yield "documents that are missing or astray on the map", astray, "check --fix"
    unclustered = clusters.count_stale(collection)
    yield "documents whose cluster is old", unclustered, "check --fix"
    unnamed = Clusters(collection).count_unnamed()
    yield "clusters without a name or a center", unnamed, NAME
    failed = collection.failures()
    if failed:
        remedy = f"repair the rows, then sync. The first, {failed[0].id}: "
        yield "rows that failed", len(failed), remedy + failed[0].error
    for each in collection.current_sources:
        try:
            with suppress(SourceUnavailableError):
                source = current_source(collection.conn, each.source)
                yield from _stale_rows(collection, source)
            is_unlinked = makes_no_address(collection, each.source)
            yield "a url that makes no address of an item", int(is_unlinked), URL
        except EmbeddingsError as error:
            yield "a source that cannot be read", 1, str(error)


def _problems_of_words(collection: StoredCollection) -> Iterator[tuple[str, int, str]]:
    damaged = words_check.is_damaged(collection)
    yield "a words index that is damaged", int(damaged), "check --fix"
    outdated = len(words_check.outdated(collection))
    yield "documents with words of other content", outdated, FIX_OR_SYNC
    if words_check.is_lost(collection):
        yield "items without a words index", collection.count_items(), FIX_OR_SYNC
    elif collection.has_words:
        unindexed = words_check.count_unindexed(collection)
        yield "stored texts whose words are not indexed", unindexed, FIX_OR_SYNC


def _why_not_repairable(collection: StoredCollection) -> str | None:
    """Why a vector of *collection* cannot be embedded again, if it cannot."""
    try:
        stored_sources(collection)
    except EmbeddingsError as error:
        return str(error)
    return None


def _stale_rows(
    collection: StoredCollection, source: Source
) -> Iterator[tuple[str, int, str]]:
    conn = collection.conn
    with (
        reading.documents(conn, source) as documents,
        staged(conn, documents) as staging,
    ):
        ownership = ownership_of(collection, source)
        staging.compare(collection, ownership)
        # Those are told of as rows that failed
        staging.fail([Failure(each.id, each.error) for each in collection.failures()])
        counts = staging.counts()
        # A row that could not be read may be the one that seems deleted
        if not counts["unread"]:
            counts["gone"] = count_unstaged(collection, ownership.own_ids)
        unindexed = staging.count_unindexed(collection)
    for state, problem in STALE_STATES.items():
        yield problem, counts[state], FIX_OR_SYNC
    yield "rows whose words are not indexed", unindexed, FIX_OR_SYNC


def complete_collections(conn: sqlite3.Connection) -> None:
    """Index the stored texts of all collections, such as those of llm.

    Of those that are large enough, a compact index is saved.
    """
    for collection in collections(conn):
        index_words(collection)
        indexes.save(current(collection))


def delete_inconsistent_rows(conn: sqlite3.Connection) -> None:
    """Delete rows of no collection, and what a sync can bring again or has brought.

    The words and the vectors of what is left are indexed.
    """
    for each in unfinished(conn):
        remove_collection(each)
    for collection in collections(conn):
        # First: where a table is missing that triggers write, nothing can be written
        repair_index(collection)
        repair_tracking(collection)
        is_repairable = _why_not_repairable(collection) is None
        if is_repairable:
            integrity.remove_odd_vectors(collection)
        integrity.remove_odd_rows(collection, is_known=is_repairable)
    # Late, because a chunk that lost its vector belongs nowhere
    integrity.remove_strays(conn)
    for collection in collections(conn):
        repair_words(collection)
        maps.refresh(collection, checks=True)
        repair_clusters(collection)
        if count_wrong(collection):
            SavedIndex(collection).delete()
        indexes.save(current(collection))
