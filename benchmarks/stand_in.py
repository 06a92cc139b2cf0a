"""A model that costs nothing, where what surrounds the model is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from datasette_embeddings.models.base import EmbeddingModel, ignore

if TYPE_CHECKING:
    from datasette_embeddings.chunking import TokenSpans
    from datasette_embeddings.vectors import Vectors


class StandIn(EmbeddingModel):
    """One and the same vector for every text."""

    dimensions = 384
    max_tokens = 256

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def embed_passages(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int], None] = ignore,
        on_truncated: Callable[[int], None] = ignore,
    ) -> Vectors:
        progress(len(texts))
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        vectors[:, 0] = 1
        return vectors

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.embed_passages(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1] * len(texts)

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        return [[(0, len(text))] for text in texts]
