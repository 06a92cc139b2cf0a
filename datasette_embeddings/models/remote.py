"""What remote models share: models of which only the vectors are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from datasette_embeddings.chunking import TokenSpans
from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import ModelError, shortened
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.onnx import BUNDLED_FOLDER, read_tokenizer, token_spans
from datasette_embeddings.vectors import Vector, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Shorter keys are names of keys
SHORTEST_SECRET = 8
# What precedes a key in addresses and headers, and how some keys begin
LIKE_A_KEY = re.compile(
    r"((?:key|token|secret)[\"']?\s*[=:]\s*[\"']?|bearer\s+|\bsk-|\bAIza)[\w.~+/-]{6,}",
    re.IGNORECASE,
)


class RemoteModel(EmbeddingModel):
    """A model that reports neither its dimensions, nor its limit, nor its tokens.

    Tokens are counted with the tokenizer of the bundled model, which is close enough.
    """

    is_remote = True
    max_tokens = None

    def __init__(self, model_id: str, config: ModelConfig) -> None:
        self.model_id = model_id
        self.dimensions = config.dimensions
        self._set_prompts(config)
        self._secret = config.api_key

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        texts = [self.passage_prompt + text for text in texts]
        return [len(spans) for spans in self.token_spans(texts)]

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        return token_spans(_fallback_tokenizer(), texts)

    def _checked(self, vectors: Sequence[Vector], expected: int) -> Vectors:
        """*vectors* as an array, (n, d), if they are valid and *expected* in number."""
        if len(vectors) != expected:
            raise self._error(f"gave {len(vectors)} vectors for {expected} contents")
        if not vectors:
            return np.empty((0, self.dimensions or 0), dtype=np.float32)
        if any(vector.ndim != 1 or not len(vector) for vector in vectors):
            raise self._error("gave something that is no vector")
        known = self.dimensions or len(vectors[0])
        for vector in vectors:
            if len(vector) != known:
                raise self._error(
                    f"gave a vector of {len(vector)} dimensions where {known} were "
                    "expected"
                )
        found = np.stack(vectors)
        if not np.isfinite(found).all():
            raise self._error("gave a vector with numbers that are not finite")
        if self.dimensions is None:
            self.dimensions = known
            self.settings = replace(self.settings, dimensions=known)
        return found

    def _error(self, what: str) -> ModelError:
        return ModelError(f"The model {self.model_id!r} {what}")


def quoted(message: str, secret: str | None) -> str:
    """The beginning of another program's *message*, in one line and without keys."""
    line = " ".join(message.split())
    if secret and len(secret) >= SHORTEST_SECRET:
        line = line.replace(secret, "***")
    # Also keys that are not configured, such as those of a plugin
    line = LIKE_A_KEY.sub(r"\1***", line)
    return shortened("".join(char for char in line if char.isprintable()))


@cache
def _fallback_tokenizer() -> Tokenizer:
    path = BUNDLED_FOLDER / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            "Tokens are counted by the tokenizer of the bundled model, which was "
            "removed; install this package again, or embed without --chunk"
        )
    return read_tokenizer(path)
