"""Recently embedded texts: the same text costs no second model run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel
    from datasette_embeddings.vectors import Vector

# 1,024 vectors of 384 dimensions are 1.6 MB, their texts 4 MB at most
SIZE = 1_024
LONGEST_TEXT = 4_096


class VectorCache:
    """The vectors of the last *size* texts, by model; safe to use from threads.

    It does not keep a model in memory.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._vectors: OrderedDict[
            tuple[ReferenceType[EmbeddingModel], str], Vector
        ] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, model: EmbeddingModel, text: str) -> Vector | None:
        """The vector of *text*, read-only because it is shared, or None."""
        with self._lock:
            vector = self._vectors.get((ref(model), text))
            if vector is not None:
                self._vectors.move_to_end((ref(model), text))
            return vector

    def put(self, model: EmbeddingModel, text: str, vector: Vector) -> Vector:
        """Keep *vector*, unless *text* is too long, and return it read-only."""
        vector.setflags(write=False)
        if len(text) <= LONGEST_TEXT:
            with self._lock:
                self._vectors[ref(model), text] = vector
                if len(self._vectors) > self._size:
                    self._vectors.popitem(last=False)
        return vector


queries, passages = VectorCache(), VectorCache()


def query_vector(model: EmbeddingModel, text: str) -> Vector:
    """The vector of *text* as a query, read-only because it is shared."""
    known = queries.get(model, text)
    return queries.put(model, text, model.embed_query(text)) if known is None else known


def passage_vector(model: EmbeddingModel, text: str) -> Vector:
    """The vector of *text* as a passage, read-only because it is shared."""
    known = passages.get(model, text)
    if known is not None:
        return known
    return passages.put(model, text, model.embed_passages([text])[0])
