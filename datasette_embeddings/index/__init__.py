"""A collection's vectors as one matrix in memory, exact and always fresh."""

from __future__ import annotations

from datasette_embeddings.index.matrix import Score, VectorIndex, best_first
from datasette_embeddings.index.owner import Index, Indexes, indexes

__all__ = ["Index", "Indexes", "Score", "VectorIndex", "best_first", "indexes"]
