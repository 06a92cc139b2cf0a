"""Text, vector or item to matches: the one use case behind every door."""

from __future__ import annotations

from datasette_embeddings.search.images import has_images, has_item_image, item_image
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
from datasette_embeddings.search.related import Pair, related_items, similar_pairs
from datasette_embeddings.search.selecting import selected_items, source_table
from datasette_embeddings.search.snippets import Piece, excerpt, shortened

__all__ = [
    "Hit",
    "Match",
    "Options",
    "Pair",
    "Piece",
    "checked_limit",
    "checked_query",
    "excerpt",
    "has_images",
    "has_item_image",
    "index_state",
    "item_image",
    "matches",
    "nearest_to_item",
    "nearest_to_vector",
    "related_items",
    "search_text",
    "search_vector",
    "selected_items",
    "shortened",
    "similar_items",
    "similar_pairs",
    "source_table",
]
