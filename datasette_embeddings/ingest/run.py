"""Embeds the new and changed rows of a source into a collection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasette_embeddings.documents import Document
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.index.cache import LEAST_SAVED, indexes
from datasette_embeddings.ingest.embed import Embedded, check_model, embed_into
from datasette_embeddings.ingest.folders import for_model
from datasette_embeddings.ingest.plugins import check_plugins, with_captions
from datasette_embeddings.ingest.refreshing import check_can_rebuild, derive
from datasette_embeddings.ingest.report import FAILURES_SHOWN, IngestOptions, Report
from datasette_embeddings.ingest.words import index_staged_words, index_words
from datasette_embeddings.models.base import Callback, EmbeddingModel, ignore
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.definitions import FolderSource, Source
from datasette_embeddings.store import collection_writes
from datasette_embeddings.store.attaching import check_source, finish_sync, writing
from datasette_embeddings.store.change_rows import Change, changes_of, settle
from datasette_embeddings.store.collections import (
    StoredCollection,
    current,
    find_collection,
)
from datasette_embeddings.store.diff import LEFT_OUT, WRITTEN
from datasette_embeddings.store.documents import write_documents
from datasette_embeddings.store.origins import Ownership, ownership_of
from datasette_embeddings.store.staged_changes import (
    count_unstaged,
    delete_emptied,
    delete_unstaged,
    record_failures,
)
from datasette_embeddings.store.staging import Staging, staged


def ingest(
    conn: sqlite3.Connection,
    name: str,
    source: Source,
    model: EmbeddingModel,
    *,
    options: IngestOptions = IngestOptions(),
) -> Report:
    """Bring the collection called *name* up to date with *source*.

    Each window of rows is one transaction: if the run is stopped, the windows before
    are kept, and the next run continues there.

    :raises UnknownCollectionError: if another program deletes or swaps it meanwhile.
    """
    if options.rebuild and source.chunking is not None:
        # Chunks of an earlier release have no title in front of them
        source = replace(source, chunking=replace(source.chunking, titled=True))
    if isinstance(source, FolderSource):
        source = for_model(conn, name, source, model, rebuild=options.rebuild)
    check_model(source, model)
    if source.uses_plugin:
        check_plugins(source)
    # Before its rows are read: what changes meanwhile is not among them
    covered = changes_of(conn, name, source) if options.prune else ()
    with (
        reading.documents(conn, source, limit=options.limit) as documents,
        staged(conn, documents) as staging,
    ):
        collection_writes.check_name(name)
        existing = find_collection(conn, name)
        if existing is not None and not options.replace_source:
            _check_deletions(existing, source, options)
        run = _Run(source, model, options, staging, covered)
        if options.dry_run:
            return run.report_without_writing(existing)
        words, replaces = options.words, options.replace_source
        if options.rebuild:
            check_can_rebuild(existing)
            collection = collection_writes.begin_rebuild(
                conn, name, model.settings, source, words=words
            )
        else:
            collection = collection_writes.create_collection(
                conn, name, model.settings, source, replace_source=replaces, words=words
            )
        report = run.write(collection)
    index_words(collection)
    if existing is not None or options.similarities is not None:
        report = replace(report, advice=derive(collection, existing, options))
    if options.rebuild and options.limit is None:
        collection = collection_writes.finish_rebuild(collection, name)
    save_index(collection)
    return report


def embedded_window(
    collection: StoredCollection,
    window: Sequence[Document],
    source: Source,
    model: EmbeddingModel,
    ownership: Ownership,
    *,
    progress: Callback = ignore,
) -> Embedded:
    """*window*, documents of *source*, with vectors and captions for *collection*."""
    embedded = embed_into(
        collection,
        window,
        model,
        chunking=source.chunking,
        takes_over=not ownership.is_other_kind,
        binary=source.binary,
        progress=progress,
    )
    if source.caption is None:
        return embedded
    keeps = ownership.keeps_captions
    return with_captions(collection, embedded, source.caption, keeps=keeps)


def save_index(collection: StoredCollection) -> None:
    """Save the compact index of *collection*, if it has one or is large."""
    collection = current(collection)
    if collection.has_compact or collection.most_items >= LEAST_SAVED:
        indexes.save(collection)


def _check_deletions(
    existing: StoredCollection, source: Source, options: IngestOptions
) -> None:
    """Check that the run will not delete items of another source, or of none."""
    check_source(existing, source)
    if options.rebuild:
        prefix = source.id_prefix
        own = [each.id for each in existing.sources if each.prefix == prefix]
        left_out = count_unstaged(existing, own, of_others=True)
        if left_out:
            raise InvalidInputError(
                f"--rebuild would delete {left_out:,} items of {existing.name!r} that "
                "this source does not have: add --replace to delete them, or choose "
                "another collection name"
            )


@dataclass(frozen=True)
class _Run:
    """One source on its way into one collection."""

    source: Source
    model: EmbeddingModel
    options: IngestOptions
    staging: Staging
    #: Changes of its rows that were recorded before they were read
    covered: Sequence[Change] = ()

    def write(self, collection: StoredCollection) -> Report:
        """Bring *collection* up to date."""
        ownership = ownership_of(collection, self.source)
        self.staging.compare(collection, ownership)
        counts = self.staging.counts()
        # Only those, so that what is left tells how long it will take
        self.options.start(sum(counts[state] for state in WRITTEN))
        if counts["empty"]:
            delete_emptied(collection, ownership)
        chunks, truncated = 0, 0
        for window in self.staging.windows(uses_plugin=self.source.uses_plugin):
            embedded = embedded_window(
                collection,
                window,
                self.source,
                self.model,
                ownership,
                progress=self.options.progress,
            )
            with writing(collection, ownership.source_id):
                write_documents(
                    collection,
                    embedded.documents,
                    store_content=ownership.stores_content,
                    ownership=ownership,
                )
            if embedded.failures:
                self.staging.fail(embedded.failures)
            chunks += sum(len(each.chunks or ()) for each in embedded.documents)
            truncated += embedded.truncated
        index_staged_words(collection, self.staging)
        is_whole = self.options.limit is None
        record_failures(collection, ownership.source_id, is_complete=is_whole)
        report = self._report(collection, ownership, delete_unstaged)
        if is_whole:
            finish_sync(collection, self.source)
        if is_whole and self.options.prune:
            settle(
                collection,
                self.source,
                self.covered,
                failed=self.staging.failed_ids(),
                finds_deleted=not report.unread,
            )
        is_split = chunks > 0 or (ownership.is_chunked and not ownership.is_auto)
        shown_chunks = chunks if is_split else None
        return replace(report, truncated=truncated, chunks=shown_chunks)

    def _report(
        self,
        collection: StoredCollection | None,
        ownership: Ownership,
        delete: Callable[[StoredCollection, Sequence[int]], int],
    ) -> Report:
        """How many rows are in each state by now, and how many were deleted.

        *delete* deletes the documents of sources that have no row, or only counts them.
        """
        counts = self.staging.counts()
        # Items taken over from another source, or from none, are unchanged too
        counts["unchanged"] += counts.pop("adopted", 0)
        counts["failed"] += counts["unread"]
        left_out = self.staging.left_out() if counts.pop(LEFT_OUT, 0) else {}
        states: dict[str, Any] = counts
        report = Report(**states, left_out=left_out)
        if report.failed:
            failures = tuple(self.staging.failures(FAILURES_SHOWN))
            report = replace(report, failures=failures)
        if collection is None or self.options.limit is not None:
            return report
        if report.unread:
            # A row that could not be read may be the one that seems deleted
            return replace(report, gone=count_unstaged(collection, ownership.own_ids))
        # A rebuilt collection has no other items
        report = replace(report, pruned=self.options.prune or self.options.rebuild)
        if collection.dimensions is None:
            # It was empty before the run
            return report
        replaced = delete(collection, ownership.replaced)
        own = [each for each in ownership.own_ids if each not in ownership.replaced]
        gone = (delete if report.pruned else count_unstaged)(collection, own)
        return replace(report, gone=gone, replaced=replaced)

    def report_without_writing(self, existing: StoredCollection | None) -> Report:
        """What a run would do."""
        if self.options.rebuild:
            existing = None
        if existing is not None:
            existing.check_can_add(self.model.settings)
        ownership = ownership_of(existing, self.source)
        self.staging.compare(existing, ownership)
        report = self._report(existing, ownership, count_unstaged)
        return replace(report, is_dry_run=True)
