"""What every embedding model offers, whatever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors


def silent(_done: int) -> None:
    """The progress of somebody who does not want to know."""


class EmbeddingModel(ABC):
    """A loaded model; safe to call from many threads at once."""

    model_id: str
    dimensions: int
    #: Longer texts are cut; the two tokens that mark the ends count
    max_tokens: int
    supports_text: bool = True
    supports_images: bool = False

    @abstractmethod
    def embed_passages(
        self, texts: Sequence[str], *, progress: Callable[[int], None] = silent
    ) -> Vectors:
        """One vector a text, (n, d); *progress* hears how many more are done."""

    @abstractmethod
    def embed_query(self, text: str) -> Vector:
        """The vector of a question, (d,)."""

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, uncut, its passage prompt included."""
