"""A source into a collection: what is new or changed is embedded, the rest is kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datasette_embeddings.errors import InvalidInputError, ModelError
from datasette_embeddings.ingest.comparing import compare
from datasette_embeddings.ingest.embedding import Embedded, embed_documents
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.definitions import Source, TableSource
from datasette_embeddings.store.attaching import check_attached, check_source
from datasette_embeddings.store.changes import (
    check_name,
    create_collection,
    finish_sync,
)
from datasette_embeddings.store.collections import Collection, current, find_collection
from datasette_embeddings.store.documents import write_documents
from datasette_embeddings.store.embeddings import vectors_of_hashes
from datasette_embeddings.store.failures import record_failures
from datasette_embeddings.store.gone import count_gone, count_left_out, delete_gone
from datasette_embeddings.store.images import forget_other_kind
from datasette_embeddings.store.rebuilding import begin_rebuild, finish_rebuild
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.similarity_notes import similarity_settings
from datasette_embeddings.store.small_changes import apply_small_changes
from datasette_embeddings.store.staging import Staging, staged
from datasette_embeddings.store.states import Ownership

if TYPE_CHECKING:
    from datasette_embeddings.documents import Document
    from datasette_embeddings.vectors import Vector

# Documents that a dry run embeds to tell how long all of them would take
SAMPLE = 24
FAILURES_SHOWN = 10


def ingest(
    conn: sqlite3.Connection,
    name: str,
    source: Source,
    model: EmbeddingModel,
    *,
    options: IngestOptions = IngestOptions(),
) -> Report:
    """Bring the collection called *name* up to date with *source*.

    Each window of rows is one transaction: whatever stops the run, all windows before
    are kept and the next run goes on from there.

    :raises ModelMismatchError: if the collection holds vectors of another model.
    :raises ModelSettingsMismatchError: if it was embedded with another prompt, say.
    :raises InvalidInputError: if another source has brought its items.
    :raises SourceError: if the source cannot be read at all.
    :raises UnknownCollectionError: if somebody deletes or swaps it meanwhile.
    :raises ModelError: if the model can do nothing at all.
    """
    _check_model(source, model)
    with (
        reading.documents(conn, source, limit=options.limit) as documents,
        staged(conn, documents) as staging,
    ):
        run = _Run(conn, source, model, options, staging)
        if options.dry_run:
            return run.supposed(name)
        run.check(name)
        collection = run.collection(name)
        report = run.embed(collection)
    _relate(name, collection, options)
    if options.rebuild and options.limit is None:
        finish_rebuild(collection, name)
    return report


def _relate(
    name: str,
    collection: Collection,
    options: IngestOptions,
) -> None:
    """Bring the similarities of *collection* up to date, if it is to have any.

    What is to take the place of another has those that the other has.
    """
    wanted = options.similarities
    existing = find_collection(collection.conn, name)
    if wanted is None and existing is not None:
        wanted = similarity_settings(existing)
    if wanted is not None:
        # Chunks and dimensions may have come with this run
        build(
            current(collection),
            wanted,
            start=options.start,
            progress=options.progress,
        )


def _check_model(source: Source, model: EmbeddingModel) -> None:
    if source.images and not model.supports_images:
        raise InvalidInputError(
            f"The model {model.model_id!r} takes texts, not images; choose one that "
            "takes images with --model"
        )
    if source.images and source.chunking is not None:
        raise InvalidInputError("Images have no text to split")
    if source.chunking is not None:
        source.chunking.checked_size(model.passage_tokens)


@dataclass(frozen=True)
class _Run:
    """One source on its way into one collection."""

    conn: sqlite3.Connection
    source: Source
    model: EmbeddingModel
    options: IngestOptions
    staging: Staging

    @property
    def store_content(self) -> bool:
        """A table's content stays where it is; other rows may not be found again."""
        is_table = isinstance(self.source, TableSource)
        return self.source.store_content or not is_table

    def collection(self, name: str) -> Collection:
        """The collection to write to."""
        identity = self.model.settings
        if self.options.rebuild:
            return begin_rebuild(self.conn, name, identity, self.source)
        return create_collection(
            self.conn,
            name,
            identity,
            self.source,
            replace_source=self.options.replace_source,
        )

    def check(self, name: str) -> None:
        """Check that the run deletes nothing that it was not asked to.

        :raises InvalidInputError: if it would delete items of another source, or of
            none.
        """
        existing = find_collection(self.conn, name)
        if existing is None or self.options.replace_source:
            return
        check_source(existing, self.source)
        if not self.options.rebuild:
            return
        ids = [
            each.id for each in existing.sources if each.prefix == self.source.id_prefix
        ]
        left_out = count_left_out(existing, ids)
        if left_out:
            raise InvalidInputError(
                f"--rebuild would delete {left_out:,} items of {name!r} that this "
                "source does not have: add --replace to delete them, or choose another "
                "collection name"
            )

    def counted(self) -> Report:
        """How many rows are in each state by now."""
        counts = self.staging.counts()
        # Items taken over from another source, or from none, are unchanged too
        counts["unchanged"] = counts.get("unchanged", 0) + counts.pop("adopted", 0)
        counts["failed"] = counts.get("failed", 0) + counts.get("unread", 0)
        failures = tuple(self.staging.failures(FAILURES_SHOWN))
        return Report(**counts, failures=failures)  # type: ignore[arg-type]  # the counts are named as its fields

    def embed(self, collection: Collection) -> Report:
        """Bring *collection* up to date."""
        forget_other_kind(collection, self.source)
        ownership = compare(self.staging, collection, self.source)
        total, wanted = sum(self.staging.counts().values()), self.staging.wanted()
        self.options.start(total)
        self.options.progress(total - wanted)
        apply_small_changes(
            collection,
            self.staging,
            ownership,
            is_chunked=self.source.chunking is not None,
            store_content=self.store_content,
        )
        chunks, truncated = 0, 0
        for window in self.staging.windows():
            embedded = self._embed_window(collection, ownership, window)
            chunks += embedded.chunks
            truncated += embedded.truncated
        return replace(
            self._finished(collection, ownership),
            chunks=None if self.source.chunking is None else chunks,
            truncated=truncated,
        )

    def _embed_window(
        self,
        collection: Collection,
        ownership: Ownership,
        window: Sequence[Document],
    ) -> Embedded:
        def known(hashes: Sequence[bytes]) -> Mapping[bytes, Vector]:
            dimensions = self.model.dimensions or collection.dimensions
            if dimensions is None:
                # The first vectors that there are tell
                return {}
            return vectors_of_hashes(
                collection,
                hashes,
                dimensions=dimensions,
                images=self.source.images,
            )

        try:
            embedded = embed_documents(
                window,
                self.model,
                chunking=self.source.chunking,
                known=known,
                progress=self.options.progress,
            )
        except ModelError as problem:
            raise ModelError(
                f"{problem}. What was committed is kept; run it again to go on"
            ) from problem
        for dimensions in {each.vectors.shape[1] for each in embedded.documents}:
            collection.check_dimensions(dimensions)
        with transaction(self.conn):
            collection.check_exists()
            check_attached(self.conn, ownership.source_id, collection.name)
            write_documents(
                collection,
                embedded.documents,
                store_content=self.store_content,
                ownership=ownership,
            )
        self.staging.fail(embedded.failures)
        return embedded

    def _finished(self, collection: Collection, ownership: Ownership) -> Report:
        """What is left to do when all windows are written, and the report."""
        is_whole, source_id = self.options.limit is None, ownership.source_id
        record_failures(collection, source_id, is_complete=is_whole)
        report = self.counted()
        if not is_whole:
            return report
        mine = () if source_id is None else (source_id,)
        # What could not be read may be what seems to be gone
        if report.unread:
            gone = count_gone(collection, ownership.own_ids)
            replaced = 0
        else:
            replaced = delete_gone(collection, ownership.replaced)
            find = delete_gone if self.prunes else count_gone
            gone = find(collection, mine)
        finish_sync(collection, self.source)
        prunes = self.prunes and not report.unread
        return replace(report, gone=gone, pruned=prunes, replaced=replaced)

    @property
    def prunes(self) -> bool:
        """Whether what is gone is to be deleted; a rebuild holds nothing else."""
        return self.options.prune or self.options.rebuild

    def supposed(self, name: str) -> Report:
        """What a run would do, and about how long it would take; nothing is written."""
        check_name(name)
        self.check(name)
        existing = None
        if not self.options.rebuild:
            existing = find_collection(self.conn, name)
        if existing is not None:
            existing.check_can_add(self.model.settings)
        ownership = compare(self.staging, existing, self.source)
        report = replace(self.counted(), is_dry_run=True, estimated_s=self._estimated())
        if existing is None or self.options.limit is not None:
            return report
        counts = {
            each: count_gone(existing, ids)
            for each, ids in (
                ("own", ownership.own_ids),
                ("replaced", ownership.replaced),
            )
        }
        if report.unread:
            return replace(report, gone=counts["own"])
        return replace(
            report,
            gone=counts["own"] - counts["replaced"],
            pruned=self.prunes,
            replaced=counts["replaced"],
        )

    def _estimated(self) -> float:
        """How many seconds the model would take, judged by a few of the documents."""
        sample = self.staging.sample(SAMPLE)
        if not sample:
            return 0.0
        start = time.perf_counter()
        embed_documents(
            sample, self.model, chunking=self.source.chunking, known=lambda _hashes: {}
        )
        return (time.perf_counter() - start) * self.staging.wanted() / len(sample)
