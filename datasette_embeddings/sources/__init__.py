"""Where documents come from, and the way back from an item to its row."""

from __future__ import annotations

from datasette_embeddings.sources.definitions import (
    ROWID,
    QuerySource,
    Source,
    TableSource,
    UnreadableSource,
    query_source,
    quote,
    table_source,
)
from datasette_embeddings.sources.reading import (
    ReadableSource,
    Snapshot,
    SourceRow,
    snapshot,
    source_rows,
)
from datasette_embeddings.sources.shadow import shadow_models, shadow_vectors

__all__ = [
    "ROWID",
    "QuerySource",
    "ReadableSource",
    "Snapshot",
    "Source",
    "SourceRow",
    "TableSource",
    "UnreadableSource",
    "query_source",
    "quote",
    "shadow_models",
    "shadow_vectors",
    "snapshot",
    "source_rows",
    "table_source",
]
