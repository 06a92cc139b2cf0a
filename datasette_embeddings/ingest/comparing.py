"""What of a source is new or has changed, and what else its collection holds."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from datasette_embeddings import sources, store


def compare(
    staging: store.Staging,
    collection: store.Collection | None,
    source: sources.ReadableSource,
) -> None:
    """Tell of each staged row of *source* what it is to *collection*.

    Where documents are now split in another way, all of them have changed.
    """
    known = collection and collection.source
    staging.compare(
        collection,
        is_chunked=source.chunking is not None,
        everything_changed=isinstance(known, sources.SourceRules)
        and known.chunking != source.chunking,
        clears_metadata=drops_metadata(collection, source),
    )


def drops_metadata(
    collection: store.Collection | None, source: sources.ReadableSource
) -> bool:
    """Whether *collection* was made with metadata that *source* does not want."""
    known = collection and collection.source
    had = isinstance(known, sources.SourceRules) and bool(known.metadata_columns)
    return had and not source.metadata_columns


def noted_source(
    conn: sqlite3.Connection,
    collection: store.Collection,
    source: sources.ReadableSource,
    *,
    is_clean: bool,
) -> sources.Source | None:
    """What to note of where *collection* comes from; None leaves what is noted.

    Who may see a collection depends on it: rows of elsewhere must not be shown to
    whoever may see those of *source*.  Where there were any, they count until a run
    *is_clean*, which means that it read every row and deleted all others.
    """
    known = collection.source
    if isinstance(known, sources.UnreadableSource):
        return source if is_clean else None
    tables = set(store.source_tables(known)) - {"embeddings"}
    mine = set(store.source_tables(source)) - {"embeddings"}
    was_mixed = known is None or known.is_mixed or tables != mine
    foreign_metadata = not source.metadata_columns and store.has_metadata(
        conn, collection
    )
    if not was_mixed or (is_clean and not foreign_metadata):
        return source
    if tables and not mine:
        # A file in place of a table: its rows stay as secret as they were
        return None
    return replace(source, is_mixed=True)
