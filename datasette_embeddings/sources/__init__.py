"""Where documents come from, and the way back from an item to its row."""

from __future__ import annotations

from datasette_embeddings.sources.choosing import chosen_source
from datasette_embeddings.sources.definitions import (
    ROWID,
    STDIN,
    FileSource,
    FolderSource,
    QuerySource,
    ReadableSource,
    Source,
    SourceRules,
    TableSource,
    UnreadableSource,
    described,
    from_note,
    had_other_items,
    is_same_source,
    is_standard_input,
    noted,
    prefix_of,
    quote,
)
from datasette_embeddings.sources.queries import query_source, refreshed
from datasette_embeddings.sources.reading import (
    SourceRow,
    documents,
    image_column,
    image_of_row,
    source_rows,
)
from datasette_embeddings.sources.reads import tables_to_ask
from datasette_embeddings.sources.rows import FORMATS
from datasette_embeddings.sources.selecting import (
    Selection,
    ValueCount,
    counted_values,
    selectable_columns,
    selected_ids,
)
from datasette_embeddings.sources.shadow import (
    has_shadow,
    shadow_models,
    shadow_vectors,
    vector_rows_of_table,
)
from datasette_embeddings.sources.tables import columns_of, table_source

__all__ = [
    "FORMATS",
    "ROWID",
    "STDIN",
    "FileSource",
    "FolderSource",
    "QuerySource",
    "ReadableSource",
    "Selection",
    "Source",
    "SourceRow",
    "SourceRules",
    "TableSource",
    "UnreadableSource",
    "ValueCount",
    "chosen_source",
    "columns_of",
    "counted_values",
    "described",
    "documents",
    "from_note",
    "had_other_items",
    "has_shadow",
    "image_column",
    "image_of_row",
    "is_same_source",
    "is_standard_input",
    "noted",
    "prefix_of",
    "query_source",
    "quote",
    "refreshed",
    "selectable_columns",
    "selected_ids",
    "shadow_models",
    "shadow_vectors",
    "source_rows",
    "table_source",
    "tables_to_ask",
    "vector_rows_of_table",
]
