"""The runtime of the network: whatever answers ``/v1/embeddings`` as OpenAI does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.base import Candidate, ModelSpec, Unavailable, ignore
from datasette_embeddings.models.endpoint import Endpoint
from datasette_embeddings.models.outside import OutsideModel

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors

# Texts and characters of one request: OpenAI takes 2,048 texts and 300,000 tokens
DEFAULT_BATCH_SIZE = 100
MOST_CHARACTERS = 250_000
# Of an answer: no model has 16,000 dimensions, which take 350 KB written as digits
MOST_BYTES_A_TEXT = 400_000
MOST_BYTES_BESIDE = 100_000


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The endpoint that the settings of *spec* name; it is not asked."""
    if spec.config.url is None:
        return Unavailable("expected 'url' under models in the configuration")
    return Candidate(
        "http", partial(HttpModel, spec.model_id, spec.config), is_remote=True
    )


# What reading an answer may raise that is not as it should be
MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
)


class HttpModel(OutsideModel):
    """A model behind an address on the network."""

    runtime = "http"

    def __init__(self, model_id: str, settings: ModelConfig) -> None:
        super().__init__(model_id, settings)
        self._endpoint = Endpoint(settings)
        self._batch_size = settings.batch_size or DEFAULT_BATCH_SIZE
        self._timeout_s = settings.timeout
        self._asked: dict[str, object] = {
            "model": settings.model or model_id,
            # A quarter of the size of digits, and read in no time
            "encoding_format": "base64",
        }
        if settings.dimensions is not None:
            self._asked["dimensions"] = settings.dimensions

    def _embed_texts(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int], None] = ignore,
        is_urgent: bool = False,
    ) -> Vectors:
        import numpy as np

        if not texts:
            return self._checked([], 0)
        parts = []
        for some in _portions(texts, self._batch_size):
            answer = self._endpoint.answer(
                {**self._asked, "input": some},
                most_bytes=MOST_BYTES_BESIDE + MOST_BYTES_A_TEXT * len(some),
                within_s=self._timeout_s if is_urgent else None,
            )
            parts.append(self._checked(self._vectors(answer), len(some)))
            progress(len(some))
        return np.concatenate(parts)

    def _vectors(self, answer: bytes) -> list[Vector]:
        """The vectors in *answer*, in the order of what was asked."""
        try:
            found = json.loads(answer)["data"]
            vectors = {
                each.get("index", place): _vector(each["embedding"])
                for place, each in enumerate(found)
            }
        except MALFORMED as error:
            beginning = self._quoted(answer[:200].decode("utf-8", "replace"))
            raise ModelError(
                f"{self._endpoint.name} gave an answer that is not as OpenAI's: "
                f"expected JSON with data, each with index and embedding; found "
                f"{beginning!r}"
            ) from error
        if set(vectors) != set(range(len(found))):
            raise self._problem("gave vectors whose index is missing or there twice")
        return [vectors[place] for place in range(len(found))]

    def close(self) -> None:
        """Close all connections."""
        self._endpoint.close()


def _portions(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """*texts* in their order, as many as one request may have."""
    portion: list[str] = []
    characters = 0
    for text in texts:
        characters += len(text)
        if portion and (len(portion) == size or characters > MOST_CHARACTERS):
            yield portion
            portion, characters = [], len(text)
        portion.append(text)
    if portion:
        yield portion


def _vector(embedding: Any) -> Vector:  # noqa: ANN401 - whatever JSON holds
    """The numbers of one embedding, which are a list, or float32 in base64."""
    import numpy as np

    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    with np.errstate(over="ignore"):
        return np.array(embedding, dtype=np.float32)
