"""The thread in which models run, and the questions that it answers together."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from datasette_embeddings.config import Config
from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.image_decoding import check_images
from datasette_embeddings.models.registry import loaded_model, model_spec
from datasette_embeddings.models.vector_cache import queries
from datasette_embeddings.serving.allowed_models import load_allowed

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel, ModelSpec
    from datasette_embeddings.vectors import Vector, Vectors

Result = TypeVar("Result")

# One run of a model already uses every core
model_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embeddings")
# A model elsewhere needs none of them, and nobody else shall wait while it is slow
network_threads = ThreadPoolExecutor(4, thread_name_prefix="embeddings-network")
# Questions that one run answers, and passages after which the next question is heard
LARGEST_BATCH = 32


@dataclass(frozen=True)
class _Question:
    text: str
    vector: Future[Vector] = field(default_factory=Future)


class QueryEmbedder:
    """Questions to models; one run answers all that came during the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[ModelSpec, list[_Question]] = defaultdict(list)

    async def vector(self, model_id: str, text: str, config: Config) -> Vector:
        """The vector of *text* as a question, worked out beside the event loop.

        Whoever is cancelled before a run takes the question leaves nothing behind.
        """
        model = loaded_model(model_id, config.models)
        known = None if model is None else queries.get(model, text)
        if known is not None:
            return known
        question = _Question(text)
        with self._lock:
            self._waiting[model_spec(model_id, config.models)].append(question)
        # One run for each question that came: the first takes all, the others the rest
        _threads(model_id, config).submit(self._answer, model_id, config)
        return await asyncio.wrap_future(question.vector)

    def _answer(self, model_id: str, config: Config) -> None:
        asked_for = model_spec(model_id, config.models)
        with self._lock:
            taken = self._waiting[asked_for][:LARGEST_BATCH]
            del self._waiting[asked_for][:LARGEST_BATCH]
        asked = [each for each in taken if each.vector.set_running_or_notify_cancel()]
        if not asked:
            return
        try:
            texts = list(dict.fromkeys(each.text for each in asked))
            vectors = _vectors(load_allowed(model_id, config), texts)
        except Exception as problem:  # whatever it is, those who wait must hear it
            for each in asked:
                each.vector.set_exception(problem)
            return
        for each in asked:
            each.vector.set_result(vectors[each.text])


def _vectors(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Vector]:
    """The vector of each text, remembered from now on."""
    known = {text: queries.get(model, text) for text in texts}
    vectors = {text: vector for text, vector in known.items() if vector is not None}
    new = [text for text in texts if text not in vectors]
    if new:
        for text, vector in zip(new, model.embed_queries(new), strict=True):
            # A copy: a row alone would keep the whole batch in memory
            vectors[text] = queries.put(model, text, vector.copy())
    return vectors


query_embedder = QueryEmbedder()


async def passage_vectors(
    model_id: str, texts: Sequence[str], config: Config
) -> Vectors:
    """The vectors of *texts* as passages, (n, d); questions are heard in between."""
    import numpy as np

    def embedded(some: Sequence[str]) -> Vectors:
        return load_allowed(model_id, config).embed_passages(some)

    portions = [
        texts[start : start + LARGEST_BATCH]
        for start in range(0, len(texts), LARGEST_BATCH)
    ]
    return np.concatenate(
        [
            await in_model_thread(partial(embedded, some), of=(model_id, config))
            for some in portions
        ]
    )


async def image_vectors(
    model_id: str, images: Sequence[bytes], config: Config
) -> Vectors:
    """The vectors of *images*, (n, d).

    :raises ModelError: if the model takes no images.
    :raises InvalidInputError: for what is no image, or for more pixels than are
        allowed,
        before any of them is decoded.
    """

    def embedded() -> Vectors:
        model = load_allowed(model_id, config)
        if not model.supports_images:
            raise ModelError(f"The model {model_id!r} takes texts, not images")
        check_images(images, config.max_image_pixels)
        return model.embed_images(images)

    return await in_model_thread(embedded, of=(model_id, config))


async def in_model_thread(
    work: Callable[[], Result], *, of: tuple[str, Config] | None = None
) -> Result:
    """What *work* gives, done where models run, or where that one *of* them does."""
    threads = model_thread if of is None else _threads(*of)
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _threads(model_id: str, config: Config) -> ThreadPoolExecutor:
    """Where that model runs; it is loaded where all are."""
    model = loaded_model(model_id, config.models)
    return model_thread if model is None or not model.is_remote else network_threads
