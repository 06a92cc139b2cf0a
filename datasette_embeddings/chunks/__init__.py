"""What is embedded: documents, and the chunks that a long one is split into."""

from __future__ import annotations

from datasette_embeddings.chunks.documents import Content, Document, Failure
from datasette_embeddings.chunks.splitting import (
    METHODS,
    Chunk,
    Chunking,
    TokenSpans,
    chunk_id,
    split,
)

__all__ = [
    "METHODS",
    "Chunk",
    "Chunking",
    "Content",
    "Document",
    "Failure",
    "TokenSpans",
    "chunk_id",
    "split",
]
