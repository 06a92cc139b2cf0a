"""What a model that runs elsewhere has: nothing is known of it but its vectors."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import MissingLibraryError, ModelError
from datasette_embeddings.models.base import EmbeddingModel, given_or, ignore, utf8_only
from datasette_embeddings.models.onnx import BUNDLED_FOLDER

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from datasette_embeddings.chunking import TokenSpans
    from datasette_embeddings.vectors import Vector, Vectors

# What is quoted of a message that somebody else wrote
LONGEST_QUOTE = 300
# What is shorter is the name of a key
SHORTEST_SECRET = 8

# What stands before a key in addresses and headers, and how some keys begin
LIKE_A_KEY = re.compile(
    r"((?:key|token|secret)[\"']?\s*[=:]\s*[\"']?|bearer\s+|\bsk-|\bAIza)[\w.~+/-]{6,}",
    re.IGNORECASE,
)


class OutsideModel(EmbeddingModel):
    """A model that tells neither its dimensions, nor its limit, nor its tokens.

    Tokens are counted by the tokenizer of the bundled model: about as many.
    """

    is_remote = True
    max_tokens = None

    def __init__(self, model_id: str, settings: ModelConfig) -> None:
        self.model_id = model_id
        self.dimensions = settings.dimensions
        self.query_prompt = given_or(settings.query_prompt, "")
        self.passage_prompt = given_or(settings.passage_prompt, "")
        self._secret = settings.api_key

    @abstractmethod
    def _embed_texts(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int], None] = ignore,
        is_urgent: bool = False,
    ) -> Vectors:
        """One vector a text, (n, d); *is_urgent* if somebody waits for it."""

    def embed_passages(
        self, texts: Sequence[str], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        prompted = [self.passage_prompt + text for text in texts]
        # One alone comes from SQL, or from a page
        return self._embed_texts(
            prompted, progress=progress, is_urgent=len(prompted) == 1
        )

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self.embed_queries([text])[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed_texts(
            [self.query_prompt + text for text in texts], is_urgent=True
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(each) for each in _tokens([self.passage_prompt + t for t in texts])]

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        return [each.offsets for each in _tokens(texts)]

    def _checked(self, vectors: Sequence[Vector], expected: int) -> Vectors:
        """*vectors* as an array, (n, d), if they are what was asked for.

        :raises ModelError: if they are too many or too few, or of another length
            than before, or no numbers.
        """
        import numpy as np

        if len(vectors) != expected:
            raise self._problem(f"gave {len(vectors)} vectors for {expected} contents")
        if not vectors:
            return np.empty((0, self.dimensions or 0), dtype=np.float32)
        if any(vector.ndim != 1 or not len(vector) for vector in vectors):
            raise self._problem("gave something that is no vector")
        known = self.dimensions or len(vectors[0])
        for vector in vectors:
            if len(vector) != known:
                raise self._problem(
                    f"gave a vector of {len(vector)} dimensions where {known} were "
                    "expected"
                )
        found = np.stack(vectors)
        if not np.isfinite(found).all():
            raise self._problem("gave a vector with numbers that are not finite")
        self.dimensions = known
        return found

    def _problem(self, what: str) -> ModelError:
        return ModelError(f"The model {self.model_id!r} {what}")

    def _quoted(self, message: str) -> str:
        return quoted(message, self._secret)


def quoted(message: str, secret: str | None) -> str:
    """The beginning of somebody else's *message* in one line, without the *secret*."""
    line = " ".join(message.split())
    if secret and len(secret) >= SHORTEST_SECRET:
        line = line.replace(secret, "***")
    # Also one that the settings do not know, because a plugin brought it
    line = LIKE_A_KEY.sub(r"\1***", line)
    line = "".join(char for char in line if char.isprintable())
    return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}…"


def _tokens(texts: Sequence[str]) -> list[Encoding]:
    with utf8_only():
        return _yardstick().encode_batch(list(texts), add_special_tokens=False)


@cache
def _yardstick() -> Tokenizer:
    """What counts the tokens of a model that does not tell them."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingLibraryError("tokenizers", "counting tokens") from error
    path = BUNDLED_FOLDER / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            "Tokens are counted by the tokenizer of the bundled model, which was "
            "removed; install this package again, or embed without --chunk"
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
