"""Models that do what the real one cannot be made to: fail, count, prompt, see."""

from __future__ import annotations

import hashlib

import numpy as np

from datasette_embeddings.errors import InvalidInputError, ModelError
from datasette_embeddings.models import registry
from datasette_embeddings.models.base import EmbeddingModel, ignore
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable


def runtimes_with(model: EmbeddingModel) -> dict[str, registry.Finder]:
    """All runtimes, and one more that serves *model* and nothing else."""

    def find(asked: ModelSpec) -> Candidate | Unavailable:
        if asked.model_id == model.model_id:
            return Candidate("stand-in", lambda: model)
        return Unavailable("it is not the stand-in")

    return {**registry.RUNTIMES, "stand-in": find}


class StandIn(EmbeddingModel):
    """A model that is none: a text's vector is made from its hash, and costs nothing.

    It stands for a model that fails on some texts, or on all, or answers nonsense.
    """

    model_id = "stand-in"
    dimensions = 4
    max_tokens = 100

    def __init__(self, *, poison=None, is_down=False, prompt=""):
        self.poison = poison
        self.is_down = is_down
        self.passage_prompt = prompt
        self.embedded = []

    def embed_passages(self, texts, *, progress=ignore, on_truncated=ignore):
        if self.is_down or (self.poison and any(self.poison in text for text in texts)):
            raise ModelError("The model cannot take this")
        self.embedded.extend(texts)
        self._report_truncated(texts, on_truncated)
        progress(len(texts))
        return np.stack([self._vector(text) for text in texts])

    def embed_queries(self, texts):
        return np.stack([self._vector(text) for text in texts])

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def token_spans(self, texts):
        return [[(0, len(text))] for text in texts]

    def _vector(self, text):
        if "infinite" in text:
            return np.full(4, np.inf, dtype=np.float32)
        digest = hashlib.sha256((self.passage_prompt + text).encode()).digest()
        vector = np.frombuffer(digest[:4], dtype=np.uint8).astype(np.float32) + 1
        return vector / np.linalg.norm(vector)


class Eyes(StandIn):
    """A stand-in for a model of images, which takes torch."""

    model_id = "eyes"
    supports_images = True

    def image_outcomes(self, images, *, progress=ignore):
        if any(not image.startswith(b"\x89PNG") for image in images):
            raise InvalidInputError("Expected an image")
        progress(len(images))
        return [self._vector(image.hex()) for image in images]
