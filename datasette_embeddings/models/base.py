"""What every embedding model offers, whatever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import InvalidInputError, ModelError
from datasette_embeddings.models.names import ModelSettings, hub_name

if TYPE_CHECKING:
    from datasette_embeddings.chunking import TokenSpans
    from datasette_embeddings.vectors import Vector, Vectors


#: A content's vector, or why it has none
Outcome: TypeAlias = "Vector | str"


def ignore(_done: int) -> None:
    """Default callback; does nothing."""


@dataclass(frozen=True)
class ModelSpec:
    """A model that somebody asks for, and what the owner says of it."""

    model_id: str
    config: ModelConfig = field(default_factory=ModelConfig)
    #: Its files may be fetched
    may_download: bool = False

    @property
    def name(self) -> str:
        """What its runtime calls it."""
        return self.config.model or self.model_id

    @property
    def hub_name(self) -> str:
        """What the hub calls it."""
        return hub_name(self.name)


@dataclass(frozen=True)
class Candidate:
    """A runtime can serve a model that is spec."""

    runtime: str
    load: Callable[[], EmbeddingModel]
    #: Its files are fetched first
    downloads: bool = False
    #: Somebody else's machine may do the work, and send a bill
    is_remote: bool = False


@dataclass(frozen=True)
class Unavailable:
    """A runtime cannot serve a model that is spec, and why."""

    reason: str
    #: What to do about it, if the model looks like one of this runtime
    way_out: str | None = None


def given_or(given: str | None, own: str) -> str:
    """The prompt that the owner gave, even an empty one, or else the model's own."""
    return own if given is None else given


@contextmanager
def utf8_only() -> Iterator[None]:
    """Within, a text that UTF-8 cannot hold is :class:`InvalidInputError`."""
    try:
        yield
    except (TypeError, UnicodeEncodeError) as error:
        # Tokenizers raise the first
        raise InvalidInputError(
            f"Expected text that UTF-8 can hold, without lone surrogates: {error}"
        ) from error


class EmbeddingModel(ABC):
    """A loaded model; safe to call from many threads at once."""

    model_id: str
    #: None until the first vector tells, where nothing else does
    dimensions: int | None
    #: Longer texts are cut; the two tokens that mark the ends count.  None where nobody
    #: can tell
    max_tokens: int | None
    #: What the model wants in front of a passage, and of a question; never part of
    #: stored content
    passage_prompt: str = ""
    query_prompt: str = ""
    #: The commit of a hub, or a digest of its files; None where nobody can tell
    revision: str | None = None
    #: Whether each of its vectors has length 1
    normalized: bool | None = None
    #: What executes it, and on what
    runtime: str = ""
    device: str = "cpu"
    supports_text: bool = True
    supports_images: bool = False
    #: Somebody else's machine may do the work, and send a bill
    is_remote: bool = False

    @abstractmethod
    def embed_passages(
        self, texts: Sequence[str], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        """One vector a text, (n, d); *progress* hears how many more are done."""

    @abstractmethod
    def embed_query(self, text: str) -> Vector:
        """The vector of a question, (d,)."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """The vector of each question, (n, d), worked out together where that pays."""
        import numpy as np

        return np.stack([self.embed_query(text) for text in texts])

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, uncut, its passage prompt included."""

    @abstractmethod
    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        """Where each token of each text stands, in characters; prompts are left out."""

    def embed_images(
        self, images: Sequence[bytes], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        """One vector an image, (n, d), each of them given as the bytes of its file.

        :raises ModelError: if the model takes no images.
        """
        raise ModelError(
            f"The model {self.model_id!r} takes texts, not images; use a collection "
            "whose model takes images"
        )

    def image_outcomes(
        self, images: Sequence[bytes], *, progress: Callable[[int], None] = ignore
    ) -> Sequence[Outcome]:
        """The vector of each image, or why it has none.

        Where a model cannot tell which image it fails on, it raises for all of them.

        :raises ModelError: if the model takes no images.
        """
        return list(self.embed_images(images, progress=progress))

    @property
    def settings(self) -> ModelSettings:
        """What a collection of its vectors remembers."""
        return ModelSettings(
            self.model_id,
            self.dimensions,
            self.revision,
            self.query_prompt,
            self.passage_prompt,
            self.normalized,
        )

    @property
    def passage_tokens(self) -> int | None:
        """How many tokens of a text the model reads, its own and the prompt apart.

        None where nobody can tell.
        """
        if self.max_tokens is None:
            return None
        return self.max_tokens - self.count_tokens([""])[0]
