"""Brings every collection of a database up to date with each of its sources."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Collection as Container
from dataclasses import dataclass

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.errors import (
    DatabaseError,
    EmbeddingsError,
    InvalidInputError,
    SourceUnavailableError,
    UnknownCollectionError,
)
from datasette_embeddings.ingest.report import Report
from datasette_embeddings.sources import definitions
from datasette_embeddings.sources.definitions import Source, TableSource
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.sources.queries import with_current_tables
from datasette_embeddings.store.collections import StoredCollection, collections

#: Brings a collection up to date with a source: its name, the source, its declaration
Work = Callable[[str, Source, "CollectionConfig | None"], Report]


@dataclass(frozen=True)
class SyncOutcome:
    """The result for one source of a collection: a report, or why there is none."""

    collection: str
    report: Report | None = None
    #: Why its rows cannot be read again
    skipped: str | None = None
    error: EmbeddingsError | None = None
    #: The prefix of the source, if the collection has several
    prefix: str | None = None


def sync(
    conn: sqlite3.Connection,
    declared: Mapping[str, CollectionConfig],
    work: Work,
    *,
    only: Container[str] = (),
) -> Iterator[SyncOutcome]:
    """The outcome of each source of each collection, *declared* or stored.

    An error in one of them does not stop the others, unless it is the database that
    cannot be written.
    """
    stored = {each.name: each for each in collections(conn)}
    names = list(dict.fromkeys([*declared, *stored]))
    for name in only:
        if name not in names:
            raise UnknownCollectionError(name, names)
    for name in names:
        if not only or name in only:
            config, existing = declared.get(name), stored.get(name)
            if config is not None and existing is not None and config.is_of_searches:
                config = None
            yield from _outcomes(conn, name, config, existing, work)


def _outcomes(
    conn: sqlite3.Connection,
    name: str,
    config: CollectionConfig | None,
    existing: StoredCollection | None,
    work: Work,
) -> Iterator[SyncOutcome]:
    """The outcome of the declared source, then of those with other prefixes."""
    current = () if existing is None else existing.current_sources
    stored = {each.prefix: each.source for each in current}
    prefixes = dict.fromkeys([*([config.prefix] if config else []), *stored])
    if not prefixes and existing is not None:
        yield SyncOutcome(name, skipped=_why_unavailable(existing))
    for prefix in prefixes:
        shown = prefix if len(prefixes) > 1 else None
        try:
            if config is not None and config.prefix == prefix:
                known = () if existing is None else existing.sources
                source = source_from_config(conn, config, known)
                if source is None:
                    raise InvalidInputError(
                        "Expected table, sql, input or files for the collection "
                        f"{name!r}"
                    )
            else:
                source = current_source(conn, stored[prefix])
            yield SyncOutcome(name, work(name, source, config), prefix=shown)
        except SourceUnavailableError as reason:
            yield SyncOutcome(name, skipped=str(reason), prefix=shown)
        except DatabaseError:
            raise
        except EmbeddingsError as error:
            yield SyncOutcome(name, error=error, prefix=shown)


def stored_sources(collection: StoredCollection) -> list[Source]:
    """The sources of *collection* that can be read again, by prefix.

    :raises SourceUnavailableError: if there is none, with the reason.
    """
    sources, reasons = list[Source](), list[str]()
    for each in collection.current_sources:
        try:
            sources.append(current_source(collection.conn, each.source))
        except SourceUnavailableError as reason:
            reasons.append(str(reason))
    if not sources:
        raise SourceUnavailableError("; ".join(reasons) or _why_unavailable(collection))
    return sources


def _why_unavailable(collection: StoredCollection) -> str:
    if collection.sources:
        return "its rows came from standard input; pipe them to embed again"
    return "Python code or another program stored its items, which have no source"


def current_source(conn: sqlite3.Connection, source: Source) -> Source:
    """The stored *source* as it can be read now.

    :raises SourceUnavailableError: if its rows cannot be read again.
    """
    if isinstance(source, definitions.UnreadableSource):
        raise SourceUnavailableError("this release cannot read its stored source")
    if isinstance(source, TableSource) and not source.content_columns:
        raise SourceUnavailableError(
            "its vectors were imported, and no content came with them"
        )
    if isinstance(source, definitions.QuerySource):
        return with_current_tables(conn, source)
    return source
