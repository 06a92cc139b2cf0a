"""Query vectors that were asked for lately: the same text costs no second model run."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel
    from datasette_embeddings.vectors import Vector

# 1,024 vectors of 384 dimensions are 1.6 MB, their texts 4 MB at most
REMEMBERED = 1_024
LONGEST_REMEMBERED = 4_096


def query_vector(model: EmbeddingModel, text: str) -> Vector:
    """The vector of *text* as a question, read-only because it is shared."""
    remembered = len(text) <= LONGEST_REMEMBERED
    run = _query_vector if remembered else _query_vector.__wrapped__
    return run(model, text)


def passage_vector(model: EmbeddingModel, text: str) -> Vector:
    """The vector of *text* as a passage, read-only because it is shared."""
    remembered = len(text) <= LONGEST_REMEMBERED
    run = _passage_vector if remembered else _passage_vector.__wrapped__
    return run(model, text)


@lru_cache(maxsize=REMEMBERED)
def _query_vector(model: EmbeddingModel, text: str) -> Vector:
    vector = model.embed_query(text)
    vector.setflags(write=False)
    return vector


@lru_cache(maxsize=REMEMBERED)
def _passage_vector(model: EmbeddingModel, text: str) -> Vector:
    vector: Vector = model.embed_passages([text])[0]
    vector.setflags(write=False)
    return vector
