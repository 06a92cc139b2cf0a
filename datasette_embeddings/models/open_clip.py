"""The open_clip runtime: texts and images in one space.

Vectors are those of its own ``encode_text`` and ``encode_image``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasette_embeddings.distribution import install_command
from datasette_embeddings.errors import EmbeddingsError, InvalidInputError, ModelError
from datasette_embeddings.models import open_clip_texts
from datasette_embeddings.models.ahead import Ahead
from datasette_embeddings.models.base import (
    Candidate,
    EmbeddingModel,
    ModelSpec,
    Outcome,
    Unavailable,
    given_or,
    ignore,
    utf8_only,
)
from datasette_embeddings.models.batches import free_memory, in_batches
from datasette_embeddings.models.hub import commit_of, fetched, folder_of
from datasette_embeddings.models.names import OPEN_CLIP_ALIASES, is_repository
from datasette_embeddings.models.open_clip_loading import (
    best_device,
    load,
    saying_what_failed,
)
from datasette_embeddings.models.open_clip_weights import (
    CONFIG_FILE,
    SAFE_WEIGHTS,
    WEIGHTS,
    Checkpoint,
    cached_weights,
    checkpoint,
    has_weights,
    missing_part,
)
from datasette_embeddings.models.pictures import decoded

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from datasette_embeddings.chunking import TokenSpans
    from datasette_embeddings.vectors import Vector, Vectors

RUNTIME = "open_clip"
PREFIX = "open_clip/"
# What of a repository is fetched: its layout, weights, and a tokenizer if it has one
PATTERNS = ("*.json", "*.txt", "*.model", SAFE_WEIGHTS)
# More feed a processor no better; a GPU wants more to do
BATCH_SIZE, GPU_BATCH_SIZE = 32, 256
# Threads that decode: more hold more pictures in memory and wait for the same cores
MOST_DECODERS = 4
LIBRARIES = {"open_clip": "open-clip-torch", "PIL": "pillow"}


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The weights of *spec*, if open_clip is installed to read them."""
    folder = folder_of(spec, PATTERNS)
    is_folder = folder is not None and has_weights(folder)
    name = OPEN_CLIP_ALIASES.get(spec.name, spec.name)
    missing = [LIBRARIES[name] for name in LIBRARIES if find_spec(name) is None]
    if missing:
        is_ours = is_folder or name.startswith(PREFIX)
        install = install_command(*missing)
        return Unavailable(
            f"not installed: {', '.join(missing)}; {install}",
            f"Install its library with: {install}" if is_ours else None,
        )
    if folder is not None and is_folder:
        return Candidate(RUNTIME, partial(OpenClipModel, spec, folder))
    if spec.config.path is not None:
        return Unavailable(
            f"expected {CONFIG_FILE} and weights in the folder {spec.config.path}"
        )
    if name.startswith(PREFIX):
        return _found_by_tag(spec, name.removeprefix(PREFIX))
    is_asked_for = spec.config.runtime == RUNTIME
    if spec.may_download and is_asked_for and is_repository(name):
        return Candidate(RUNTIME, partial(_fetched, spec), downloads=True)
    return Unavailable(
        "expected open_clip/ARCHITECTURE/WEIGHTS such as open_clip/ViT-B-32/openai, or "
        f"a folder of that name, or in the hub's cache, with {CONFIG_FILE} and weights"
    )


def _found_by_tag(spec: ModelSpec, name: str) -> Candidate | Unavailable:
    architecture, _slash, tag = name.partition("/")
    try:
        weights = checkpoint(architecture, tag)
    except EmbeddingsError as error:
        said = str(error)
        return Unavailable(said, f"{said[:1].upper()}{said[1:]}")
    make = partial(OpenClipModel, spec, weights)
    part = missing_part(architecture)
    if part is None and cached_weights(weights, spec.config.revision) is not None:
        return Candidate(RUNTIME, make)
    if spec.may_download:
        return Candidate(RUNTIME, make, downloads=True)
    return Unavailable(
        f"the files of {part or weights.repository} are not here",
        f"Download it with: datasette embeddings models fetch {spec.model_id}",
    )


def _fetched(spec: ModelSpec) -> OpenClipModel:
    folder = fetched(spec, PATTERNS)
    if not has_weights(folder):
        folder = fetched(spec, (WEIGHTS,))
    if not has_weights(folder):
        raise ModelError(
            f"Expected {CONFIG_FILE} and {SAFE_WEIGHTS} or {WEIGHTS} in the repository "
            f"{spec.name!r}; it is none that open_clip can read"
        )
    return OpenClipModel(spec, folder)


class OpenClipModel(EmbeddingModel):
    """A model that open_clip executes."""

    runtime = RUNTIME
    dimensions: int
    max_tokens: int
    normalized = True
    supports_images = True

    def __init__(self, spec: ModelSpec, place: Path | Checkpoint) -> None:
        settings = spec.config
        self.model_id = spec.model_id
        self.query_prompt = given_or(settings.query_prompt, "")
        self.passage_prompt = given_or(settings.passage_prompt, "")
        self.device = settings.device or best_device()
        with saying_what_failed(spec, "cannot be loaded"):
            parts = load(spec, place, self.device)
            self._model, self._preparation, self._tokenizer, folder = parts
            self.revision = commit_of(folder)
            self.max_tokens = int(self._tokenizer.context_length)
        default = BATCH_SIZE if self.device == "cpu" else GPU_BATCH_SIZE
        self._batch_size = settings.batch_size or default
        # The processors are busy with one run, and a GPU has memory for one
        self._lock = threading.Lock()
        # One of transformers' changes itself whenever it cuts or does not
        self._tokenizing = threading.Lock()
        if settings.threads is not None:
            import torch

            torch.set_num_threads(settings.threads)
        with saying_what_failed(spec, "does not work"):
            self.dimensions = self._run_texts([""]).shape[1]
        if settings.dimensions not in (None, self.dimensions):
            raise ModelError(
                f"Expected the {self.dimensions} dimensions of {self.model_id!r}, all "
                f"of which are needed; found {settings.dimensions} under 'dimensions'"
            )

    def embed_passages(
        self, texts: Sequence[str], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        return self._embed(
            [self.passage_prompt + text for text in texts], self._run_texts, progress
        )

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self.embed_queries([text])[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        texts = [self.query_prompt + text for text in texts]
        return self._embed(texts, self._run_texts, ignore)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        texts = [self.passage_prompt + text for text in texts]
        with self._tokenizing:
            return open_clip_texts.count(self._tokenizer, texts)

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        with self._tokenizing:
            return open_clip_texts.spans(self._tokenizer, texts)

    def embed_images(
        self, images: Sequence[bytes], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        import numpy as np

        outcomes = self.image_outcomes(images, progress=progress)
        for outcome in outcomes:
            if isinstance(outcome, str):
                raise InvalidInputError(outcome)
        if not outcomes:
            return np.empty((0, self.dimensions), dtype=np.float32)
        return np.stack(outcomes)

    def image_outcomes(
        self, images: Sequence[bytes], *, progress: Callable[[int], None] = ignore
    ) -> Sequence[Outcome]:
        """While the model runs, the images of its next batch are decoded."""
        threads = max(1, min(MOST_DECODERS, os.cpu_count() or 1, len(images)))
        problems: dict[int, str] = {}
        numbered = list(enumerate(images))

        def fitted(image: tuple[int, bytes]) -> Image | None:
            place, content = image
            try:
                return decoded(content, self._preparation.fit)
            except InvalidInputError as error:
                problems[place] = str(error)
                return None
            except MemoryError:
                problems[place] = "There is not enough memory to decode this image"
                return None

        with Ahead(numbered, fitted, threads=threads) as ahead:
            vectors = self._embed(ahead, self._run_images, progress)
        return [problems.get(place, vectors[place]) for place in range(len(images))]

    def _embed(
        self,
        contents: Sequence[Any],
        run: Callable[[Sequence[Any]], Vectors],
        progress: Callable[[int], None],
    ) -> Vectors:
        try:
            return in_batches(
                contents,
                self._batch_size,
                run,
                dimensions=self.dimensions,
                progress=progress,
                free=free_memory,
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelError(f"The model {self.model_id!r} fails: {error}") from error

    def _run_texts(self, texts: Sequence[str]) -> Vectors:
        with utf8_only():
            "".join(texts).encode()
        with self._tokenizing:
            tokens = self._tokenizer(list(texts))
        return self._run(self._model.encode_text, tokens)

    def _run_images(self, images: Sequence[Image | None]) -> Vectors:
        """The vectors of *images*, not a number where there is none."""
        import numpy as np
        import torch

        vectors = np.full((len(images), self.dimensions), np.nan, dtype=np.float32)
        pictures = [image for image in images if image is not None]
        if pictures:
            batch = torch.stack(list(map(self._preparation.tensor, pictures)))
            there = [image is not None for image in images]
            vectors[there] = self._run(self._model.encode_image, batch)
        return vectors

    def _run(self, encode: Callable[..., torch.Tensor], batch: torch.Tensor) -> Vectors:
        import torch

        with self._lock, torch.inference_mode():
            found = encode(batch.to(self.device), normalize=True)
            vectors: Vectors = found.float().cpu().numpy()
        return vectors
