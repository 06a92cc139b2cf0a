"""Every collection of a database brought up to date: declared ones, remembered ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from datasette_embeddings import sources, store
from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.errors import (
    DatabaseProblem,
    EmbeddingsError,
    InvalidInput,
    UnknownCollection,
)
from datasette_embeddings.ingest.report import Report

#: Brings one collection up to date: its name, source and model id, None for its own
Work = Callable[[str, sources.ReadableSource, "str | None"], Report]


@dataclass(frozen=True)
class SyncOutcome:
    """What became of one collection: a report, or why there is none."""

    collection: str
    report: Report | None = None
    #: Nobody knows where its rows come from, or they cannot be read again
    skipped: str | None = None
    problem: EmbeddingsError | None = None


def sync(
    conn: sqlite3.Connection,
    declared: Mapping[str, CollectionConfig],
    work: Work,
    *,
    only: Collection[str] = (),
) -> Iterator[SyncOutcome]:
    """The outcome of each collection, *declared* or remembered, as they are done.

    A problem with one of them does not stop the others.

    :raises UnknownCollection: if one of *only* is neither.
    :raises DatabaseProblem: if the database itself cannot be written.
    """
    remembered = {each.name: each for each in store.collections(conn)}
    names = list(dict.fromkeys([*declared, *remembered]))
    for name in only:
        if name not in names:
            raise UnknownCollection(name, names)
    for name in names:
        if only and name not in only:
            continue
        try:
            yield _outcome(conn, name, declared.get(name), remembered.get(name), work)
        except DatabaseProblem:
            raise
        except EmbeddingsError as problem:
            yield SyncOutcome(name, problem=problem)


def _outcome(
    conn: sqlite3.Connection,
    name: str,
    config: CollectionConfig | None,
    existing: store.Collection | None,
    work: Work,
) -> SyncOutcome:
    if config is not None:
        source = sources.chosen_source(conn, config)
        if source is None:
            raise InvalidInput(
                f"Expected table, sql, input or files for the collection {name!r}"
            )
        return SyncOutcome(name, work(name, source, config.model))
    assert existing is not None
    remembered = remembered_source(conn, existing)
    if isinstance(remembered, str):
        return SyncOutcome(name, skipped=remembered)
    return SyncOutcome(name, work(name, remembered, None))


def remembered_source(
    conn: sqlite3.Connection, collection: store.Collection
) -> sources.ReadableSource | str:
    """Where the rows of *collection* come from, or why they cannot be read again."""
    source = collection.source
    if source is None:
        return "it was not made here, and where its rows come from is not known"
    if isinstance(source, sources.UnreadableSource):
        return "what is noted of its source cannot be read by this release"
    if isinstance(source, sources.FileSource) and source.path == sources.STDIN:
        return "its rows came from standard input; pipe them to embed again"
    if isinstance(source, sources.TableSource) and not source.content_columns:
        return "its vectors were imported, and no content came with them"
    if isinstance(source, sources.QuerySource):
        source = sources.refreshed(conn, source)
    # Whether it still is mixed is found out anew
    reads_elsewhere = isinstance(source, sources.QuerySource) and bool(source.attached)
    return replace(source, is_mixed=reads_elsewhere)
