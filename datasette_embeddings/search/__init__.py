"""Text, vector or item to matches: the one use case behind every door."""

from __future__ import annotations

from datasette_embeddings.search.matches import (
    Match,
    matches,
    search_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.nearest import (
    Hit,
    Options,
    checked_limit,
    checked_query,
    index_state,
    nearest_to_item,
    nearest_to_vector,
)

__all__ = [
    "Hit",
    "Match",
    "Options",
    "checked_limit",
    "checked_query",
    "index_state",
    "matches",
    "nearest_to_item",
    "nearest_to_vector",
    "search_text",
    "search_vector",
    "similar_items",
]
