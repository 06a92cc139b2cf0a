"""The tables of llm and of this package: their columns, and the types of values."""

from __future__ import annotations

import re

#: The columns that each table must have: two of llm, then our own
REQUIRED_COLUMNS = {
    "collections": ("id", "name", "model"),
    "embeddings": (
        *("collection_id", "id", "embedding", "content", "content_blob"),
        *("content_hash", "metadata", "updated"),
    ),
    "_embedding_collections": (
        *("collection_id", "name", "model", "source", "synced", "state"),
        *("similarities", "model_revision", "query_prompt", "passage_prompt"),
        "normalized",
    ),
    "_embedding_sources": (
        *("id", "collection_id", "prefix", "source", "state", "synced"),
    ),
    "_embedding_origins": (
        *("collection_id", "id", "source_id", "content_hash", "updated"),
    ),
    "_embedding_chunks": (
        *("collection_id", "id", "document_id", "document_hash", "position"),
        *("start", "end"),
    ),
    "_embedding_failures": ("collection_id", "id", "error", "attempts", "last_tried"),
    "_embedding_changes": (
        *("collection_id", "source_id", "key", "changed", "version", "error"),
        *("attempts", "tried"),
    ),
    "_embedding_words": (
        *("id", "collection_id", "document_id", "reversed_title", "content_hash"),
        "text",
    ),
    "_embedding_vocabulary": ("collection_id", "word", "documents"),
    "_embedding_compact": ("collection_id", "facts", "center", "mean", "left_out"),
    "_embedding_compact_rows": (
        *("collection_id", "block", "rowids", "numbers", "signs"),
    ),
    "similarities": ("collection_id", "id", "other_id", "score"),
    "_embedding_similarity_marks": ("collection_id", "id", "state", "lowest"),
    "embedding_clusters": ("collection_id", "id", "cluster", "distance", "state"),
    "embedding_cluster_names": (
        *("collection_id", "cluster", "name", "summary", "words", "central", "center"),
    ),
    "embedding_coordinates": ("collection_id", "id", "x", "y", "tile", "state"),
}
#: Every table whose rows belong to all collections of a database at once
RAW_TABLES = tuple(REQUIRED_COLUMNS)
LLM_TABLES = RAW_TABLES[:2]
#: Those that are not of llm: their rows belong to a collection by its id
OUR_TABLES = RAW_TABLES[2:]
#: Those that are made again from what is stored, with the words of each document
DERIVED_TABLES = (
    *("_embedding_words", "_embedding_vocabulary"),
    *("_embedding_compact", "_embedding_compact_rows"),
)
#: How the name of each collection's FTS5 table begins, and those of its shadow tables
WORDS_OF_COLLECTION = "_embedding_words_"
#: How the name of the table begins that has the indexed metadata of a collection
METADATA_OF_COLLECTION = "_embedding_metadata_"
#: The name of a table of this package or llm's
RAW_NAME = re.compile(
    "|".join([*RAW_TABLES, f"{WORDS_OF_COLLECTION}.*", f"{METADATA_OF_COLLECTION}.*"]),
    re.IGNORECASE,
)
# The types of values in each column: other programs may have written anything there
COLUMN_TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "_embedding_chunks": {
        **dict.fromkeys(("id", "document_id"), ("text",)),
        "document_hash": ("blob",),
        **dict.fromkeys(("position", "start", "end"), ("integer",)),
    },
    "_embedding_failures": {
        **dict.fromkeys(("id", "error"), ("text",)),
        **dict.fromkeys(("attempts", "last_tried"), ("integer",)),
    },
    "similarities": {"id": ("text",), "other_id": ("text",), "score": ("real",)},
    "embeddings": {
        "id": ("text",),
        **dict.fromkeys(("content", "metadata"), ("text", "null")),
        **dict.fromkeys(("content_blob", "content_hash"), ("blob", "null")),
        "updated": ("integer",),
    },
    "_embedding_similarity_marks": {
        "id": ("text",),
        "state": ("text", "null"),
        "lowest": ("real", "null"),
    },
    "embedding_clusters": {
        "id": ("text",),
        "cluster": ("integer", "null"),
        "distance": ("real", "null"),
        "state": ("text", "null"),
    },
    "embedding_cluster_names": {
        "cluster": ("integer",),
        **dict.fromkeys(("name", "summary", "words", "central"), ("text", "null")),
        "center": ("blob", "null"),
    },
    "embedding_coordinates": {
        "id": ("text",),
        **dict.fromkeys(("x", "y"), ("real",)),
        "tile": ("integer",),
        "state": ("text", "null"),
    },
}
