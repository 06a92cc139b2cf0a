"""Every collection of a database brought up to date with each of its sources."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.errors import (
    DatabaseError,
    EmbeddingsError,
    InvalidInputError,
    UnknownCollectionError,
)
from datasette_embeddings.ingest.report import Report
from datasette_embeddings.sources.definitions import (
    QuerySource,
    Source,
    TableSource,
    UnreadableSource,
)
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.sources.queries import with_current_tables
from datasette_embeddings.store import collections

#: Brings a collection up to date with a source: name, source and model id, None for
#: its own
Work = Callable[[str, Source, "str | None"], Report]


@dataclass(frozen=True)
class SyncOutcome:
    """The result for one source of a collection: a report, or why there is none."""

    collection: str
    report: Report | None = None
    #: Its rows cannot be read again
    skipped: str | None = None
    problem: EmbeddingsError | None = None
    #: The prefix of the source, if the collection has several
    prefix: str | None = None


def sync(
    conn: sqlite3.Connection,
    declared: Mapping[str, CollectionConfig],
    work: Work,
    *,
    only: Collection[str] = (),
) -> Iterator[SyncOutcome]:
    """The outcome of each source of each collection, *declared* or remembered.

    A problem with one of them does not stop the others.

    :raises UnknownCollectionError: if one of *only* is neither.
    :raises DatabaseError: if the database itself cannot be written.
    """
    remembered = {each.name: each for each in collections.collections(conn)}
    names = list(dict.fromkeys([*declared, *remembered]))
    for name in only:
        if name not in names:
            raise UnknownCollectionError(name, names)
    for name in names:
        if not only or name in only:
            yield from _outcomes(
                conn, name, declared.get(name), remembered.get(name), work
            )


def _outcomes(
    conn: sqlite3.Connection,
    name: str,
    config: CollectionConfig | None,
    existing: collections.Collection | None,
    work: Work,
) -> Iterator[SyncOutcome]:
    """The outcome of the declared source, then of those with other prefixes."""
    prefixes = dict.fromkeys([config.prefix] if config else [])
    known = () if existing is None else existing.current_sources
    prefixes |= dict.fromkeys(each.prefix for each in known)
    if not prefixes and existing is not None:
        yield SyncOutcome(name, skipped=_why_not(existing))
    for prefix in prefixes:
        found = next((each for each in known if each.prefix == prefix), None)
        is_declared = config is not None and config.prefix == prefix
        shown = prefix if len(prefixes) > 1 else None
        try:
            source = (
                _declared_source(conn, name, config)
                if config is not None and is_declared
                else readable_source(conn, found.source if found else None)
            )
            if isinstance(source, str):
                yield SyncOutcome(name, skipped=source, prefix=shown)
                continue
            model_id = None if config is None else config.model
            yield SyncOutcome(name, work(name, source, model_id), prefix=shown)
        except DatabaseError:
            raise
        except EmbeddingsError as problem:
            yield SyncOutcome(name, problem=problem, prefix=shown)


def _declared_source(
    conn: sqlite3.Connection, name: str, config: CollectionConfig
) -> Source:
    source = source_from_config(conn, config)
    if source is None:
        raise InvalidInputError(
            f"Expected table, sql, input or files for the collection {name!r}"
        )
    return source


def _why_not(collection: collections.Collection) -> str:
    """Why nothing of *collection* can be read again."""
    if collection.sources:
        return "its rows came from standard input; pipe them to embed again"
    return "it was not made here, and where its rows come from is not known"


def remembered_sources(collection: collections.Collection) -> list[Source]:
    """The sources of *collection* that can be read again, by prefix.

    :raises InvalidInputError: if there is none, with the reason.
    """
    conn, sources = collection.conn, collection.current_sources
    found = [readable_source(conn, each.source) for each in sources]
    readable = [each for each in found if not isinstance(each, str)]
    if readable:
        return readable
    reasons = [each for each in found if isinstance(each, str)]
    raise InvalidInputError("; ".join(reasons) or _why_not(collection))


def readable_source(conn: sqlite3.Connection, source: Source | None) -> Source | str:
    """*source* as it is now, or why it cannot be read again."""
    if source is None or isinstance(source, UnreadableSource):
        return "what is noted of its source cannot be read by this release"
    if isinstance(source, TableSource) and not source.content_columns:
        return "its vectors were imported, and no content came with them"
    if isinstance(source, QuerySource):
        return with_current_tables(conn, source)
    return source
