"""A model that embeds passages a few at a time, between the queries of visitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import TypeVar

import numpy as np

from datasette_embeddings.chunking import TokenSpans
from datasette_embeddings.models import registry
from datasette_embeddings.models.base import Callback, EmbeddingModel, Outcome, ignore
from datasette_embeddings.models.names import ModelSettings
from datasette_embeddings.serving.allowed_models import AllowedModel, model_thread
from datasette_embeddings.vectors import Vector, Vectors

Result = TypeVar("Result")
# A query waits for one run at most. On two cores, 8 texts of 30 tokens take 12 ms, and
# one text of 256 tokens takes 20 ms
TEXTS_OF_A_RUN, CHARACTERS_OF_A_RUN = 2, 600
IMAGES_OF_A_RUN = 2


class ModelInTurns(EmbeddingModel):
    """The model *allowed*, for a thread of the server that is not the model's own.

    A local model runs in the thread of the models, in which queries that came
    meanwhile are embedded between two runs.  A remote model runs where it is called.
    With a *passage_prompt* it is put before passages, unless the settings name one.

    :raises UnknownModelError: if visitors may not use the model, or it is not there.
    """

    def __init__(self, allowed: AllowedModel, passage_prompt: str | None) -> None:
        # Also with a prompt: visitors may use it
        model = allowed.load()
        if passage_prompt and passage_prompt != model.passage_prompt:
            models, name = allowed.config.models, allowed.model_id
            models = registry.with_passage_prompt(models, name, passage_prompt)
            model = registry.load(registry.model_spec(name, models))
        self._model = model
        self.__dict__.update(
            {
                name: getattr(model, name)
                for name in EmbeddingModel.__annotations__
                if hasattr(model, name)
            }
        )

    @cached_property
    def settings(self) -> ModelSettings:
        """What a collection of its vectors remembers."""
        return self._model.settings

    def embed_passages(
        self,
        texts: Sequence[str],
        *,
        progress: Callback = ignore,
        on_truncated: Callback = ignore,
    ) -> Vectors:
        """One vector for each text, (n, d), as the model itself gives."""
        if self.is_remote:
            return self._model.embed_passages(
                texts, progress=progress, on_truncated=on_truncated
            )
        found: dict[int, Vector] = {}
        for positions in runs(texts):
            batch, cut = [texts[position] for position in positions], list[int]()
            embed = partial(self._model.embed_passages, batch)
            if on_truncated is not ignore:
                embed = partial(embed, on_truncated=cut.append)
            found.update(zip(positions, self._run(embed), strict=True))
            for position in cut:
                on_truncated(positions[position])
            progress(len(batch))
        if not found:
            return self._model.embed_passages([])
        return np.stack([found[position] for position in range(len(texts))])

    def image_outcomes(
        self, images: Sequence[bytes], *, progress: Callback = ignore
    ) -> Sequence[Outcome]:
        """The vector of each image file, or why it has none."""
        return self._outcomes(self._model.image_outcomes, images, progress)

    def binary_outcomes(
        self, contents: Sequence[bytes], *, progress: Callback = ignore
    ) -> Sequence[Outcome]:
        """As :meth:`image_outcomes`, of files of any kind."""
        return self._outcomes(self._model.binary_outcomes, contents, progress)

    def _outcomes(
        self,
        embed: Callable[[Sequence[bytes]], Sequence[Outcome]],
        contents: Sequence[bytes],
        progress: Callback,
    ) -> Sequence[Outcome]:
        size = len(contents) if self.is_remote else IMAGES_OF_A_RUN
        outcomes = list[Outcome]()
        for start in range(0, len(contents), max(1, size)):
            batch = contents[start : start + size]
            outcomes += self._run(partial(embed, batch))
            progress(len(batch))
        return outcomes

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text before truncation, its passage prompt included."""
        return self._model.count_tokens(texts)

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        """Start and end of each token in characters, for each text without prompt."""
        return self._model.token_spans(texts)

    def _run(self, work: Callable[[], Result]) -> Result:
        return work() if self.is_remote else model_thread.submit(work).result()


def runs(texts: Sequence[str]) -> Iterator[list[int]]:
    """The positions of *texts*, those of about the same length together, run by run."""
    longest_first = sorted(range(len(texts)), key=lambda each: -len(texts[each]))
    start = 0
    while start < len(longest_first):
        longest = max(1, len(texts[longest_first[start]]))
        size = min(TEXTS_OF_A_RUN, max(1, CHARACTERS_OF_A_RUN // longest))
        yield longest_first[start : start + size]
        start += size
