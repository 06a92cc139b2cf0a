"""Where documents come from, and the way back from an item to its row."""

from __future__ import annotations

from datasette_embeddings.sources.definitions import (
    ROWID,
    QuerySource,
    TableSource,
    query_source,
    table_source,
)
from datasette_embeddings.sources.reading import (
    Snapshot,
    SourceRow,
    snapshot,
    source_rows,
)
from datasette_embeddings.sources.shadow import shadow_models, shadow_vectors

__all__ = [
    "ROWID",
    "QuerySource",
    "Snapshot",
    "SourceRow",
    "TableSource",
    "query_source",
    "shadow_models",
    "shadow_vectors",
    "snapshot",
    "source_rows",
    "table_source",
]
