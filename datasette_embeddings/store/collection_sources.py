"""The sources of collections, as ``_embedding_sources`` stores them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import Enum

from datasette_embeddings.sources.definitions import (
    QuerySource,
    Source,
    TableSource,
    source_from_json,
)
from datasette_embeddings.store.schema import (
    OLD_SOURCE_ID,
    SOURCES,
    timestamp_sql,
)


class SourceState(Enum):
    """Whether a sync reads a source."""

    #: It is read; a collection has one such source for each prefix
    CURRENT = "current"
    #: Another source has replaced it, but some of its items are left
    REPLACED = "replaced"
    #: A pipe, which cannot be read again: only its rules are kept
    PIPED = "piped"


@dataclass(frozen=True)
class CollectionSource:
    """Where items of a collection whose ids begin with *prefix* come from."""

    id: int
    prefix: str
    source: Source
    #: When a run last read all of it, in Unix seconds
    synced: int | None = None
    state: SourceState = SourceState.CURRENT


def sources_by_collection(
    conn: sqlite3.Connection,
) -> dict[int, list[CollectionSource]]:
    """The sources of each collection, by its id.

    An unknown state, of a newer release, counts as REPLACED: its permission is
    required, and it is not read.
    """
    found: dict[int, list[CollectionSource]] = {}
    rows = conn.execute(
        f"""
        select id, collection_id, prefix, source, state, {timestamp_sql("synced")}
        from {SOURCES}
        order by prefix, id
        """
    )
    states = {state.value: state for state in SourceState}
    for source_id, collection_id, prefix, text, state, synced in rows:
        if not isinstance(prefix, str):
            # Written by another program: it is not read, and its items are not shown
            prefix, text, state = "", None, None
        each = CollectionSource(
            source_id,
            prefix,
            source_from_json(text),
            synced,
            states.get(state, SourceState.REPLACED),
        )
        found.setdefault(collection_id, []).append(each)
    return found


def old_source(text: str | None, synced: int | None) -> tuple[CollectionSource, ...]:
    """The source that 0.2a0 stored, until the first write moves it."""
    if text is None:
        return ()
    source = source_from_json(text)
    return (
        CollectionSource(
            OLD_SOURCE_ID, source.id_prefix, source, synced, state_of(source)
        ),
    )


def state_of(source: Source) -> SourceState:
    """The state of a source that brings items now."""
    return SourceState.PIPED if source.is_standard_input else SourceState.CURRENT


def source_tables(source: Source | None) -> tuple[str, ...]:
    """The tables of this database that decide who may see the rows of *source*.

    For rows from outside of the database it is the table ``embeddings``.
    """
    if isinstance(source, TableSource):
        return (source.table,)
    if isinstance(source, QuerySource) and source.tables:
        return (*source.tables, "embeddings") if source.attached else source.tables
    return ("embeddings",)
