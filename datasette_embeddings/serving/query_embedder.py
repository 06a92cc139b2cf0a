"""Embedding for visitors: queries that come together are embedded in one run."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeAlias

import numpy as np

from datasette_embeddings.errors import ModelError
from datasette_embeddings.images import check_images
from datasette_embeddings.models.names import ModelSpec
from datasette_embeddings.serving.allowed_models import AllowedModel
from datasette_embeddings.vectors import Vector, Vectors

#: A query, and the vector for which its request waits
Waiting: TypeAlias = "tuple[str, Future[Vector]]"
# Queries of one run, and passages after which waiting queries get their turn
LARGEST_BATCH = 32


class QueryEmbedder:
    """Embeds queries; one run embeds all that came during the run before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[ModelSpec, list[Waiting]] = defaultdict(list)

    async def vector(self, model: AllowedModel, text: str) -> Vector:
        """The vector of *text* as a query, computed outside of the event loop.

        A query whose request is cancelled before a run is not embedded.
        """
        loaded = model.loaded()
        known = None if loaded is None else loaded.queries.get(text)
        if known is not None:
            return known
        vector: Future[Vector] = Future()
        with self._lock:
            self._waiting[model.spec].append((text, vector))
        # One run for each query: the first takes all that wait, the others the rest
        model.threads.submit(self._embed_waiting, model)
        return await asyncio.wrap_future(vector)

    def _embed_waiting(self, model: AllowedModel) -> None:
        with self._lock:
            waiting = self._waiting[model.spec]
            batch = waiting[:LARGEST_BATCH]
            del waiting[:LARGEST_BATCH]
        batch = [each for each in batch if each[1].set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            loaded = model.load()
            known = {text: loaded.queries.get(text) for text, _vector in batch}
            vectors = {text: each for text, each in known.items() if each is not None}
            new = [text for text in known if text not in vectors]
            rows = loaded.embed_queries(new) if new else ()
            for text, row in zip(new, rows, strict=True):
                # A copy: a row alone would keep the whole batch in memory
                vectors[text] = loaded.queries.put(text, row.copy())
        except Exception as error:  # every request that waits must get it
            for _text, vector in batch:
                vector.set_exception(error)
            return
        for text, future in batch:
            future.set_result(vectors[text])


query_embedder = QueryEmbedder()


async def query_vectors(model: AllowedModel, texts: Sequence[str]) -> list[Vector]:
    """The vectors of *texts* as queries.

    A batch at a time, so that the queries of other visitors get their turn.
    """
    rows: list[Vector] = []
    for start in range(0, len(texts), LARGEST_BATCH):
        batch = texts[start : start + LARGEST_BATCH]
        rows += await asyncio.gather(
            *(query_embedder.vector(model, text) for text in batch)
        )
    return rows


async def passage_vectors(model: AllowedModel, texts: Sequence[str]) -> Vectors:
    """The vectors of *texts* as passages, (n, d); queries get their turn in between."""

    def embed(batch: Sequence[str]) -> Vectors:
        return model.load().embed_passages(batch)

    batches = [
        texts[start : start + LARGEST_BATCH]
        for start in range(0, len(texts), LARGEST_BATCH)
    ]
    return np.concatenate([await model.run(partial(embed, each)) for each in batches])


async def image_vectors(model: AllowedModel, images: Sequence[bytes]) -> Vectors:
    """The vectors of *images*, (n, d); they are checked before any is decoded."""

    def embed() -> Vectors:
        loaded = model.load()
        if not loaded.supports_images:
            raise ModelError(f"The model {model.model_id!r} takes texts, not images")
        check_images(images, model.config.max_image_pixels)
        return loaded.embed_images(images)

    return await model.run(embed)
