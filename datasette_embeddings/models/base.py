"""What every embedding model offers, whichever runtime executes it."""

from __future__ import annotations

import gc
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeAlias, TypeVar

import numpy as np

from datasette_embeddings.chunking import TokenSpans
from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import InvalidInputError, ModelError
from datasette_embeddings.models.names import ModelSettings
from datasette_embeddings.vectors import Vector, VectorCache, Vectors

#: The vector of a content, or the reason why it has none
Outcome: TypeAlias = "Vector | str"
#: Called with a number
Callback: TypeAlias = Callable[[int], object]
Content = TypeVar("Content")
# Of models that torch runs: larger ones are no faster on a processor, but on a GPU
BATCH_SIZE, GPU_BATCH_SIZE = 32, 256
# torch.OutOfMemoryError and ONNX Runtime's errors have only their messages in common
OUT_OF_MEMORY = ("out of memory", "failed to allocate memory", "can't allocate memory")


def ignore(_count: int) -> None:
    """Default callback; does nothing."""


def check_utf8(texts: Sequence[str]) -> None:
    """Raise :class:`InvalidInputError` for a text that UTF-8 cannot hold."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"Expected text that UTF-8 can hold, without lone surrogates: {error}"
        ) from error


class EmbeddingModel(ABC):
    """A loaded model; safe to call from several threads at once."""

    model_id: str
    #: None until the first vector, for models that do not report it
    dimensions: int | None
    #: Longer texts are truncated; includes special tokens. None if unknown
    max_tokens: int | None
    #: Put before each text to embed; never part of stored content
    passage_prompt: str = ""
    query_prompt: str = ""
    #: The commit on the hub, if known
    revision: str | None = None
    #: Whether each vector has length 1
    normalized: bool | None = None
    runtime: str = ""
    device: str = "cpu"
    #: How many texts or images one run takes
    batch_size: int
    supports_text: bool = True
    supports_images: bool = False
    #: It takes the bytes of files; of which kinds, only it knows
    supports_binary: bool = False
    #: What its training multiplied cosines by before a softmax; None if unknown
    logit_scale: float | None = None
    #: It may send texts to another machine, and cost money
    is_remote: bool = False
    #: When it was last requested, on the monotonic clock
    used: float = 0.0

    def embed_passages(
        self,
        texts: Sequence[str],
        *,
        progress: Callback = ignore,
        on_truncated: Callback = ignore,
    ) -> Vectors:
        """One vector for each text, (n, d).

        *progress* is called with the number of texts embedded since its last call, and
        *on_truncated* with the position of each text that the model did not read whole.
        """
        vectors = self._embed_passages(texts, progress)
        self._report_truncated(texts, on_truncated)
        return vectors

    def _embed_passages(self, texts: Sequence[str], progress: Callback) -> Vectors:
        prompted = [self.passage_prompt + text for text in texts]
        return self._embed_texts(prompted, progress)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """One vector for each query text, (n, d)."""
        prompted = [self.query_prompt + text for text in texts]
        return self._embed_texts(prompted, ignore)

    def _embed_texts(self, texts: Sequence[str], progress: Callback) -> Vectors:
        """One vector for each text, which begins with its prompt."""
        raise NotImplementedError

    def embed_query(self, text: str) -> Vector:
        """The vector of a query text, (d,)."""
        vector: Vector = self.embed_queries([text])[0]
        return vector

    @cached_property
    def queries(self) -> VectorCache:
        """The vectors of recent query texts."""
        return VectorCache()

    @cached_property
    def passages(self) -> VectorCache:
        """The vectors of recent passages that were embedded one by one."""
        return VectorCache()

    def query_vector(self, text: str) -> Vector:
        """The vector of a query text, read-only because it is remembered."""
        known = self.queries.get(text)
        if known is not None:
            return known
        return self.queries.put(text, self.embed_query(text))

    def passage_vector(self, text: str) -> Vector:
        """The vector of a passage, read-only because it is remembered."""
        known = self.passages.get(text)
        if known is not None:
            return known
        return self.passages.put(text, self.embed_passages([text])[0])

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text before truncation, its passage prompt included."""

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        """Start and end of each token in characters, for each text without prompt.

        :raises ModelError: if the model's tokenizer does not report them.
        """
        raise ModelError(
            f"The tokenizer of {self.model_id!r} does not report the positions of "
            "tokens, so its texts cannot be split; leave out --chunk"
        )

    def image_outcomes(
        self, images: Sequence[bytes], *, progress: Callback = ignore
    ) -> Sequence[Outcome]:
        """The vector of each image file, or why it has none.

        A model that cannot tell which image fails raises an error for all of them.

        :raises ModelError: if the model takes no images.
        """
        raise ModelError(
            f"The model {self.model_id!r} takes texts, not images; use a collection "
            "whose model takes images"
        )

    def binary_outcomes(
        self, contents: Sequence[bytes], *, progress: Callback = ignore
    ) -> Sequence[Outcome]:
        """As :meth:`image_outcomes`, of files of any kind."""
        raise ModelError(f"The model {self.model_id!r} takes no files of any kind")

    def embed_images(
        self, images: Sequence[bytes], *, progress: Callback = ignore
    ) -> Vectors:
        """One vector for each image file, (n, d).

        :raises InvalidInputError: if one of them has none.
        :raises ModelError: if the model takes no images.
        """
        outcomes = self.image_outcomes(images, progress=progress)
        for outcome in outcomes:
            if isinstance(outcome, str):
                raise InvalidInputError(outcome)
        if not outcomes:
            return np.empty((0, self.dimensions or 0), dtype=np.float32)
        return np.stack(outcomes)

    @cached_property
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

    @cached_property
    def passage_tokens(self) -> int | None:
        """How many tokens of a passage the model reads, without prompt; or None."""
        if self.max_tokens is None:
            return None
        return self.max_tokens - self.count_tokens([""])[0]

    def _report_truncated(self, texts: Sequence[str], on_truncated: Callback) -> None:
        """Count the tokens of *texts*, where the library does not report truncation."""
        if on_truncated is not ignore and self.max_tokens is not None:
            for position, length in enumerate(self.count_tokens(texts)):
                if length > self.max_tokens:
                    on_truncated(position)

    def _batched(
        self,
        contents: Sequence[Content],
        run: Callable[[Sequence[Content]], Vectors],
        *,
        length: Callable[[Content], int] | None = None,
        progress: Callback = ignore,
    ) -> Vectors:
        """What *run* gives for *contents*, (n, d); see :func:`in_batches`."""
        if not contents:
            return np.empty((0, self.dimensions or 0), dtype=np.float32)
        try:
            return in_batches(
                contents, self.batch_size, run, length=length, progress=progress
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelError(f"The model {self.model_id!r} fails: {error}") from error

    def _set_batches_and_threads(self, config: ModelConfig) -> None:
        """Take those of *config*, or else what suits torch on the model's device."""
        default = BATCH_SIZE if self.device.startswith("cpu") else GPU_BATCH_SIZE
        self.batch_size = config.batch_size or default
        if config.threads is not None:
            import torch

            torch.set_num_threads(config.threads)

    def _set_prompts(
        self, config: ModelConfig, query_prompt: str = "", passage_prompt: str = ""
    ) -> None:
        """Take the prompts of *config*, even empty ones, or else those given here."""
        given = config.query_prompt, config.passage_prompt
        self.query_prompt = query_prompt if given[0] is None else given[0]
        self.passage_prompt = passage_prompt if given[1] is None else given[1]


def in_batches(
    contents: Sequence[Content],
    size: int,
    embed: Callable[[Sequence[Content]], Vectors],
    *,
    length: Callable[[Content], int] | None = None,
    progress: Callback = ignore,
) -> Vectors:
    """One vector for each of *contents*, (n, d), *size* at a time.

    With a *length*, the longest come first, together with others of about their length,
    because a model pads the shorter ones.  When memory runs out, the batch is halved,
    and stays so.
    """
    order = list(range(len(contents)))
    if length is not None:
        order.sort(key=lambda position: -length(contents[position]))
    parts: list[Vectors] = []
    start = 0
    while start < len(contents):
        batch = [contents[position] for position in order[start : start + size]]
        try:
            parts.append(embed(batch))
            start += len(batch)
            progress(len(batch))
            continue
        except Exception as error:  # plugins and runtimes raise many
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    f"There is not enough memory to embed a single one: {error}"
                ) from error
        # Outside of the except block, where the error keeps the failed run's arrays
        size = len(batch) // 2
        free_memory()
    sorted_vectors = np.concatenate(parts)
    vectors = np.empty_like(sorted_vectors)
    vectors[order] = sorted_vectors
    return vectors


def is_out_of_memory(error: Exception) -> bool:
    """Whether *error* reports that the machine or its device ran out of memory."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(
        each in message for each in OUT_OF_MEMORY
    )


def free_memory() -> None:
    """Return unused memory, and torch's cache on a GPU, to the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
