"""A source into a collection: what is new or changed is embedded, the rest is kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datasette_embeddings import similarities, sources, store
from datasette_embeddings.errors import InvalidInput, ModelProblem
from datasette_embeddings.ingest.comparing import (
    compare,
    drops_metadata,
    noted_source,
)
from datasette_embeddings.ingest.embedding import Embedded, embed_documents
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.models.base import EmbeddingModel

if TYPE_CHECKING:
    from datasette_embeddings.chunks import Document
    from datasette_embeddings.vectors import Vector

__all__ = ["IngestOptions", "Report", "ingest"]

# Documents that a dry run embeds to tell how long all of them would take
SAMPLE = 24
FAILURES_SHOWN = 10


def ingest(
    conn: sqlite3.Connection,
    name: str,
    source: sources.ReadableSource,
    model: EmbeddingModel,
    *,
    options: IngestOptions = IngestOptions(),
) -> Report:
    """Bring the collection called *name* up to date with *source*.

    Each window of rows is one transaction: whatever stops the run, all windows before
    are kept and the next run goes on from there.

    :raises ModelMismatch: if the collection holds vectors of another model.
    :raises IdentityMismatch: if it was embedded with another prompt, say.
    :raises InvalidInput: if it was made from other tables.
    :raises SourceProblem: if the source cannot be read at all.
    :raises UnknownCollection: if somebody deletes or swaps it meanwhile.
    :raises ModelProblem: if the model can do nothing at all.
    """
    _check_model(source, model)
    with (
        sources.documents(conn, source, limit=options.limit) as documents,
        store.staged(conn, documents) as staging,
    ):
        run = _Run(conn, source, model, options, staging)
        if options.dry_run:
            return run.supposed(name)
        collection = run.collection(name)
        report = run.embed(collection)
    _relate(conn, name, collection, options)
    if options.rebuild and options.limit is None:
        store.finish_rebuild(conn, collection, name)
    return report


def _relate(
    conn: sqlite3.Connection,
    name: str,
    collection: store.Collection,
    options: IngestOptions,
) -> None:
    """Bring the similarities of *collection* up to date, if it is to have any.

    What is to take the place of another has those that the other has.
    """
    wanted = options.similarities
    existing = store.find_collection(conn, name)
    if wanted is None and existing is not None:
        wanted = store.similarity_settings(conn, existing)
    if wanted is not None:
        # Chunks and dimensions may have come with this run
        similarities.build(
            conn,
            store.current(conn, collection),
            wanted,
            start=options.start,
            progress=options.progress,
        )


def _check_model(source: sources.ReadableSource, model: EmbeddingModel) -> None:
    if source.images and not model.supports_images:
        raise InvalidInput(
            f"The model {model.model_id!r} takes texts, not images; choose one that "
            "takes images with --model"
        )
    if source.images and source.chunking is not None:
        raise InvalidInput("Images have no text to split")
    if source.chunking is not None:
        source.chunking.checked_size(model.passage_tokens)


@dataclass(frozen=True)
class _Run:
    """One source on its way into one collection."""

    conn: sqlite3.Connection
    source: sources.ReadableSource
    model: EmbeddingModel
    options: IngestOptions
    staging: store.Staging

    @property
    def store_content(self) -> bool:
        """A table's content stays where it is; other rows may not be found again."""
        is_table = isinstance(self.source, sources.TableSource)
        return self.source.store_content or not is_table

    def collection(self, name: str) -> store.Collection:
        """The collection to write to."""
        make = store.begin_rebuild if self.options.rebuild else store.create_collection
        return make(self.conn, name, self.model.identity, self.source)

    def counted(self) -> Report:
        """How many rows are in each state by now."""
        counts = self.staging.counts()
        counts["failed"] = counts.get("failed", 0) + counts.get("unread", 0)
        failures = tuple(self.staging.failures(FAILURES_SHOWN))
        return Report(**counts, failures=failures)  # type: ignore[arg-type]  # the counts are named as its fields

    def embed(self, collection: store.Collection) -> Report:
        """Bring *collection* up to date."""
        store.forget_other_kind(self.conn, collection, images=self.source.images)
        compare(self.staging, collection, self.source)
        total, wanted = sum(self.staging.counts().values()), self.staging.wanted()
        self.options.start(total)
        self.options.progress(total - wanted)
        store.apply_small_changes(
            self.conn,
            collection,
            self.staging,
            is_chunked=self.source.chunking is not None,
            store_content=self.store_content,
        )
        chunks, truncated = 0, 0
        for window in self.staging.windows():
            embedded = self._embed_window(collection, window)
            chunks += embedded.chunks
            truncated += embedded.truncated
        return replace(
            self._finished(collection),
            chunks=None if self.source.chunking is None else chunks,
            truncated=truncated,
        )

    def _embed_window(
        self, collection: store.Collection, window: Sequence[Document]
    ) -> Embedded:
        def known(hashes: Sequence[bytes]) -> Mapping[bytes, Vector]:
            dimensions = self.model.dimensions or collection.dimensions
            if dimensions is None:
                # The first vectors that there are tell
                return {}
            return store.vectors_of_hashes(
                self.conn,
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
        except ModelProblem as problem:
            raise ModelProblem(
                f"{problem}. What was committed is kept; run it again to go on"
            ) from problem
        for dimensions in {each.vectors.shape[1] for each in embedded.documents}:
            store.check_dimensions(collection, dimensions)
        with store.transaction(self.conn):
            store.check_exists(self.conn, collection)
            store.write_documents(
                self.conn,
                collection,
                embedded.documents,
                store_content=self.store_content,
                keep_metadata=not drops_metadata(collection, self.source),
            )
        self.staging.fail(embedded.failures)
        return embedded

    def _finished(self, collection: store.Collection) -> Report:
        """What is left to do when all windows are written, and the report."""
        is_whole = self.options.limit is None
        store.record_failures(self.conn, collection, is_complete=is_whole)
        report = self.counted()
        if not is_whole:
            return report
        strangers = store.gone_documents(self.conn, collection)
        gone = [each for each in strangers if each.startswith(self.source.id_prefix)]
        # What could not be read may be what seems to be gone
        prunes = self.prunes and not report.unread
        if prunes:
            store.delete_gone(self.conn, collection, gone)
        left = len(strangers) - (len(gone) if prunes else 0)
        source = noted_source(
            self.conn,
            collection,
            self.source,
            is_clean=not (left or report.failed),
        )
        store.finish_sync(self.conn, collection, source)
        return replace(report, gone=len(gone), pruned=prunes)

    @property
    def prunes(self) -> bool:
        """Whether what is gone is to be deleted; a rebuild holds nothing else."""
        return self.options.prune or self.options.rebuild

    def supposed(self, name: str) -> Report:
        """What a run would do, and about how long it would take; nothing is written."""
        store.check_name(name)
        existing = None
        if not self.options.rebuild:
            existing = store.find_collection(self.conn, name)
        if existing is not None:
            store.check_fits(
                self.conn, existing, self.model.identity, source=self.source
            )
        compare(self.staging, existing, self.source)
        report = replace(self.counted(), is_dry_run=True, estimated_s=self._estimated())
        if existing is None or self.options.limit is not None:
            return report
        gone = store.gone_documents(self.conn, existing, prefix=self.source.id_prefix)
        prunes = self.prunes and not report.unread
        return replace(report, gone=len(gone), pruned=prunes)

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
