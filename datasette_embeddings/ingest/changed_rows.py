"""Embeds the rows of a tracked table that changed, without reading the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from datasette_embeddings.documents import Document, Failure
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.embed import check_model
from datasette_embeddings.ingest.plugins import check_plugins
from datasette_embeddings.ingest.refreshing import refresh
from datasette_embeddings.ingest.report import FAILURES_SHOWN, Report
from datasette_embeddings.ingest.run import embedded_window, save_index
from datasette_embeddings.ingest.words import index_staged_words
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.sources.content import RowReader
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.row_keys import rows_of_key
from datasette_embeddings.store.attaching import counting_truncated, writing
from datasette_embeddings.store.change_rows import (
    Change,
    changes_due,
    fail_changes,
    forget_changes,
    require_sync,
)
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.deleting import delete_owned
from datasette_embeddings.store.diff import EMPTY, FAILED
from datasette_embeddings.store.documents import write_documents
from datasette_embeddings.store.origins import Ownership, ownership_of
from datasette_embeddings.store.schema import one_moment
from datasette_embeddings.store.staged_changes import forget_failures, record_failures
from datasette_embeddings.store.staging import (
    WINDOW_BYTES,
    WINDOW_CHARACTERS,
    Staging,
    staged,
)

#: Changes that are embedded together
CHANGES_AT_ONCE = 256


@dataclass
class _Batch:
    """Changes, as they were read in one moment, and the rows that they are about."""

    #: By the id of the item
    changes: dict[str, list[Change]] = field(default_factory=dict)
    #: Whose key cannot be read
    unknown: list[Change] = field(default_factory=list)
    names: Sequence[str] = ()
    rows: list[Sequence[object]] = field(default_factory=list)

    def of(self, ids: Sequence[str]) -> list[Change]:
        """The changes of the items with these *ids*."""
        return [change for each in ids for change in self.changes.get(each, ())]


def embed_changes(
    collection: StoredCollection,
    source: TableSource,
    model: EmbeddingModel,
    *,
    limit: int = CHANGES_AT_ONCE,
) -> Report:
    """Bring the items of at most *limit* changed rows of *source* up to date.

    The rows that changed first come first. Only they are read. What the model makes of
    them is written in the transaction that deletes their changes, unless a row changed
    again meanwhile: then its change stays.  What is made of all vectors is refreshed
    when no change is left.

    :raises ModelError: if the model fails on everything. What was committed stays.
    """
    collection = current(collection)
    check_model(source, model)
    if source.uses_plugin:
        check_plugins(source)
    collection.check_can_add(model.settings)
    attached = collection.attached(source)
    if attached is None:
        raise InvalidInputError(
            f"The collection {collection.name!r} has no items of {source.description} "
            "yet; sync it first"
        )
    batch = _read(collection, source, limit)
    if not (batch.changes or batch.unknown):
        return Report()
    with _staged(collection, source, batch) as staging:
        run = _Run(collection, source, model, batch, staging, attached.id)
        report = run.write()
    if not changes_due(collection, source, limit=1):
        refresh(current(collection))
        save_index(collection)
    return report


def embed_all_changes(
    collection: StoredCollection, source: TableSource, model: EmbeddingModel
) -> Report:
    """Embed all changes of *source* that are due; what came of them together."""
    total, failures = Counter[str](), list[Failure]()
    chunks: int | None = None
    while changes_due(collection, source, limit=1):
        report = embed_changes(collection, source, model)
        total.update({name: getattr(report, name) for name in _COUNTS})
        failures += report.failures
        if report.chunks is not None:
            chunks = (chunks or 0) + report.chunks
    counts: dict[str, Any] = dict(total)
    shown = tuple(failures[:FAILURES_SHOWN])
    return Report(**counts, pruned=True, chunks=chunks, failures=shown)


_COUNTS = (
    *("new", "changed", "metadata", "unchanged", "empty", "failed", "gone"),
    "truncated",
)


def _read(collection: StoredCollection, source: TableSource, limit: int) -> _Batch:
    """At most *limit* changes that can be embedded now, and their rows."""
    batch, filled = _Batch(), 0.0
    seen = set[tuple[object, ...]]()
    count = len(source.key_columns)
    with one_moment(collection.conn):
        changes = changes_due(collection, source, limit=limit)
        batch.unknown = [each for each in changes if each.key is None]
        for change in changes:
            if change.key is None:
                continue
            batch.names, rows = rows_of_key(collection.conn, source, change.key)
            item_id = source.id_prefix + change.key.item_id
            batch.changes.setdefault(item_id, []).append(change)
            for row in rows:
                # Two keys may have one id
                own = tuple((type(each), each) for each in row[:count])
                if own not in seen:
                    seen.add(own)
                    batch.rows.append(row)
                    filled += sum(map(_part_of_window, row))
            if filled >= 1:
                break
    return batch


def _part_of_window(value: object) -> float:
    if isinstance(value, bytes):
        return len(value) / WINDOW_BYTES
    return len(value) / WINDOW_CHARACTERS if isinstance(value, str) else 0.0


@contextmanager
def _staged(
    collection: StoredCollection, source: TableSource, batch: _Batch
) -> Iterator[Staging]:
    """The documents of the rows of *batch*, staged."""
    documents: Iterator[Document | Failure] = iter(())
    if batch.rows:
        reader = RowReader(source, batch.names)
        documents = reader.documents(enumerate(batch.rows, 1))
    with staged(collection.conn, documents) as staging:
        yield staging


@dataclass(frozen=True)
class _Run:
    """Changed rows on their way into a collection."""

    collection: StoredCollection
    source: TableSource
    model: EmbeddingModel
    batch: _Batch
    staging: Staging
    source_id: int

    def write(self) -> Report:
        """Bring the items of the rows up to date."""
        ownership = ownership_of(self.collection, self.source)
        self.staging.compare(self.collection, ownership)
        written, chunks, truncated = list[str](), 0, 0
        for window in self.staging.windows(uses_plugin=self.source.uses_plugin):
            embedded = embedded_window(
                self.collection, window, self.source, self.model, ownership
            )
            ids = [each.document.id for each in embedded.documents]
            with (
                writing(self.collection, self.source_id) as found,
                counting_truncated(found, ids),
            ):
                write_documents(
                    self.collection,
                    embedded.documents,
                    store_content=ownership.stores_content,
                    ownership=ownership,
                )
                forget_failures(found, self.source_id, ids)
                forget_changes(found, self.source_id, self.batch.of(ids))
            if embedded.failures:
                self.staging.fail(embedded.failures)
            written += ids
            chunks += sum(len(each.chunks or ()) for each in embedded.documents)
            truncated += embedded.truncated
        index_staged_words(self.collection, self.staging)
        record_failures(self.collection, self.source_id, is_complete=False)
        gone = self._finish(ownership, written)
        counts = self.staging.counts()
        counts["unchanged"] += counts.pop("adopted", 0)
        counts["failed"] += counts["unread"]
        states: dict[str, Any] = counts
        is_split = chunks > 0 or (ownership.is_chunked and not ownership.is_auto)
        return Report(
            **states,
            gone=gone,
            pruned=True,
            truncated=truncated,
            chunks=chunks if is_split else None,
            failures=tuple(self.staging.failures(FAILURES_SHOWN)),
        )

    def _finish(self, ownership: Ownership, written: Sequence[str]) -> int:
        """Write what needs no model, and forget all changes but those that failed.

        Returns how many documents were deleted because their rows were.
        """
        states = self.staging.states()
        errors = {e: str(error) for e, state, error in states if state == FAILED}
        staged_ids = {each for each, _state, _error in states}
        gone = [each for each in self.batch.changes if each not in staged_ids]
        empty = [each for each, state, _error in states if state == EMPTY]
        failed = self._failed(errors)
        done = [
            each
            for each in self.batch.changes
            if each not in errors and each not in written
        ]
        with (
            writing(self.collection, self.source_id) as found,
            counting_truncated(found, [*empty, *gone]),
        ):
            delete_owned(found, ownership.is_own_sql, empty)
            deleted = delete_owned(found, ownership.is_own_sql, gone)
            forget_failures(found, self.source_id, done)
            forget_changes(found, self.source_id, self.batch.of(done))
            fail_changes(found, self.source_id, failed)
            if self.batch.unknown:
                # It is not known which row it was
                forget_changes(found, self.source_id, self.batch.unknown)
                require_sync(found, self.source_id)
        return deleted

    def _failed(self, errors: Mapping[str, str]) -> list[tuple[Change, str]]:
        return [
            (change, error)
            for each, error in errors.items()
            for change in self.batch.of([each])
        ]
