"""A collection's vectors as one matrix in memory, exact and always fresh."""

from __future__ import annotations

from datasette_embeddings.index.matrix import Keep, Score, VectorIndex, best_first
from datasette_embeddings.index.owner import Index, Indexes, indexes
from datasette_embeddings.index.reading import one_moment

__all__ = [
    "Index",
    "Indexes",
    "Keep",
    "Score",
    "VectorIndex",
    "best_first",
    "indexes",
    "one_moment",
]
