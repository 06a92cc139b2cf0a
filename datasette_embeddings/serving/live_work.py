"""Brings a live collection up to date: by a sync, or by the rows that changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from collections.abc import Collection as Container
from contextlib import suppress
from dataclasses import dataclass, field, replace

from datasette_embeddings.config import CollectionConfig, Config
from datasette_embeddings.databases import folder_of
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.ingest.changed_rows import embed_changes
from datasette_embeddings.ingest.refreshing import refresh
from datasette_embeddings.ingest.report import FAILURES_SHOWN, IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.ingest.sync import SyncOutcome, sync
from datasette_embeddings.serving.allowed_models import AllowedModel
from datasette_embeddings.serving.in_turns import ModelInTurns
from datasette_embeddings.sources.definitions import Source, TableSource
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.change_rows import (
    changes_due,
    require_sync,
    retry_failed,
)
from datasette_embeddings.store.change_triggers import (
    is_trackable,
    may_miss_rows,
    moved_triggers,
    stored_triggers,
)
from datasette_embeddings.store.changes import (
    count_changes,
    has_recorded_all,
    is_as_stored,
    is_tracked,
    track,
    untrack,
)
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import (
    StoredCollection,
    collections,
    current,
    find_collection,
)
from datasette_embeddings.store.metadata_index import index_metadata
from datasette_embeddings.store.schema import transaction

# Rows of one transaction: searches see them after half a second at most
ROWS_OF_A_RUN = 64


class StoppedError(Exception):
    """The server ends within a sync; what was committed is kept.

    It is no error of a model, which would be asked for each text alone.
    """


@dataclass
class LiveWork:
    """Brings live collections up to date through *conn*, until *is_stopping*."""

    conn: sqlite3.Connection
    config: Config
    is_stopping: Callable[[], bool]
    _models: dict[str, AllowedModel] = field(default_factory=dict)

    def outcomes(self, name: str) -> Iterator[SyncOutcome]:
        """Bring the collection *name* up to date; what came of each of its sources."""
        drop_moved_triggers(self.conn, name)
        yield from sync(self.conn, self.config.collections, self._work, only=[name])

    def _work(
        self, name: str, source: Source, declared: CollectionConfig | None
    ) -> Report:
        declared = declared or CollectionConfig()
        existing = find_collection(self.conn, name)
        model = self._model(existing, declared)
        if not isinstance(source, TableSource) or not is_trackable(self.conn, source):
            return self._ingest(name, source, declared, model)
        if existing is None or existing.attached(source) is None:
            existing = create_collection(
                self.conn, name, model.settings, source, words=declared.words
            )
        # First, so that what changes during the sync is embedded after it
        track(existing, source)
        report = Report()
        if count_changes(existing).needs_sync or not is_as_stored(existing, source):
            report = self._ingest(name, source, declared, model)
        is_full = True
        # What came during the last run waits for the next look, with what follows it
        while is_full and not self.is_stopping():
            due = len(changes_due(existing, source, limit=ROWS_OF_A_RUN))
            is_full, existing = due == ROWS_OF_A_RUN, current(existing)
            changed = embed_changes(existing, source, model, limit=ROWS_OF_A_RUN)
            failures = (*report.failures, *changed.failures)[:FAILURES_SHOWN]
            failed = report.failed + changed.failed
            report = replace(report, failed=failed, failures=failures)
        return report

    def _ingest(
        self, name: str, source: Source, declared: CollectionConfig, model: ModelInTurns
    ) -> Report:
        options = IngestOptions(
            prune=True,
            similarities=declared.similarities,
            words=declared.words,
            progress=self._check_stopping,
        )
        report = ingest(self.conn, name, source, model, options=options)
        found = find_collection(self.conn, name)
        if declared.metadata_index and found is not None:
            index_metadata(found, declared.metadata_index)
        return report

    def _check_stopping(self, _count: int) -> None:
        if self.is_stopping():
            raise StoppedError

    def _model(
        self, existing: StoredCollection | None, declared: CollectionConfig
    ) -> ModelInTurns:
        """The model as visitors may use it; it is loaded only while rows are due."""
        name = declared.model or (existing and existing.model_id)
        name = name or self.config.default_model
        if name not in self._models:
            home = folder_of(self.conn)
            self._models[name] = AllowedModel(name, self.config, home)
        prompt = None if existing is None else existing.settings.passage_prompt
        return ModelInTurns(self._models[name], prompt)


def is_followed_by_rows(
    collection: StoredCollection, declared: CollectionConfig
) -> bool:
    """Whether every change of its sources is recorded, and nothing else is due.

    Not so if its source is *declared* otherwise than it is stored.
    """
    sources = [each.source for each in collection.current_sources]
    if not declared.is_of_searches:
        try:
            source = source_from_config(collection.conn, declared, collection.sources)
        except EmbeddingsError:
            return False
        if source is None or not is_as_stored(collection, source):
            return False
    return bool(sources) and all(
        has_recorded_all(collection, source) for source in sources
    )


def has_due_changes(collection: StoredCollection) -> bool:
    """Whether rows changed that can be embedded now."""
    return any(
        isinstance(each.source, TableSource)
        and changes_due(collection, each.source, limit=1)
        for each in collection.current_sources
    )


def untrack_others(conn: sqlite3.Connection, live: Container[str]) -> None:
    """Remove the triggers of the collections that are not *live*."""
    tracked = {
        collection_id for collection_id, _source in stored_triggers(conn).values()
    }
    for each in collections(conn) if tracked else ():
        if each.id in tracked and each.name not in live:
            untrack(each)


def drop_moved_triggers(conn: sqlite3.Connection, name: str) -> None:
    """Delete the triggers of the collection *name* that went with a renamed table.

    After SQLite's ``legacy_alter_table`` they still read the old name of the table, so
    that no row of it could be written.
    """
    existing = find_collection(conn, name)
    if existing is None:
        return
    tables = {
        (existing.id, each.id): each.source.table
        for each in existing.current_sources
        if isinstance(each.source, TableSource)
    }
    if found := moved_triggers(conn, tables):
        with transaction(conn):
            for each in found:
                conn.execute(f"drop trigger if exists {each}")


def resume(conn: sqlite3.Connection, live: Container[str]) -> None:
    """Have the *live* collections brought up to date with what no trigger tells.

    A server that was killed may have left what is made of the vectors out of date. And
    with the settings of this one, rows may not fail that failed.
    """
    for each in collections(conn):
        if each.name in live:
            retry_failed(each)
            _require_missed(each)
            # The next change tells why
            with suppress(EmbeddingsError):
                refresh(each)


def _require_missed(collection: StoredCollection) -> None:
    """Have those sources compared once of which triggers may have missed rows.

    Of the rows that failed in a comparison, no change may be recorded.
    """
    conn, has_failed = collection.conn, collection.count_failures() > 0
    for each in collection.current_sources:
        source = each.source
        if not isinstance(source, TableSource) or not is_tracked(collection, source):
            continue
        if has_failed or may_miss_rows(conn, source):
            with transaction(conn):
                require_sync(collection, each.id)
