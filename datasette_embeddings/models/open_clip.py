"""The runtime ``open_clip``: texts and images in one space.

Vectors are those of its own ``encode_text`` and ``encode_image``.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from datasette_embeddings.errors import EmbeddingsError, InvalidInputError, ModelError
from datasette_embeddings.images import decoded
from datasette_embeddings.models import names
from datasette_embeddings.models import open_clip_weights as weights
from datasette_embeddings.models.base import (
    Callback,
    EmbeddingModel,
    Outcome,
    check_utf8,
    ignore,
)
from datasette_embeddings.models.files import commit_of, folder_of
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable
from datasette_embeddings.models.open_clip_weights import CONFIG_FILE, Checkpoint
from datasette_embeddings.vectors import Vectors

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

RUNTIME = "open_clip"
PREFIX = "open_clip/"
# The tokenizer of CLIP takes a second for a word of 4,000 letters, and four times as
# long for one that is twice as long.  Such words are counted in parts
LONG_WORD = re.compile(r"\S{200}(?=\S)")
# Threads that decode: more hold more images in memory and wait for the same cores
MAX_DECODERS = 4


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The weights of *spec*, if open_clip is installed."""
    folder = folder_of(spec, weights.PATTERNS)
    is_folder = folder is not None and weights.has_weights(folder)
    name = names.OPEN_CLIP_ALIASES.get(spec.name, spec.name)
    # It brings Pillow
    if find_spec("open_clip") is None:
        is_clip = is_folder or name.startswith(PREFIX)
        return names.not_installed("open-clip-torch", is_likely=is_clip)
    if folder is not None and is_folder:
        return Candidate(RUNTIME, partial(OpenClipModel, spec, folder))
    if spec.config.path is not None:
        return Unavailable(
            f"expected {CONFIG_FILE} and weights in the folder {spec.config.path}"
        )
    if name.startswith(PREFIX):
        return _find_checkpoint(spec, *name.split("/", 2)[1:])
    is_requested = spec.config.runtime == RUNTIME
    if spec.may_download and is_requested and names.is_repository(name):
        return Candidate(RUNTIME, partial(OpenClipModel, spec, None), downloads=True)
    return Unavailable(
        "expected open_clip/ARCHITECTURE/WEIGHTS such as open_clip/ViT-B-32/openai, or "
        f"a folder of that name, or in the hub's cache, with {CONFIG_FILE} and weights"
    )


def _find_checkpoint(
    spec: ModelSpec, architecture: str, tag: str = ""
) -> Candidate | Unavailable:
    try:
        found = weights.checkpoint(architecture, tag)
        config = weights.import_open_clip().get_model_config(architecture) or {}
    except EmbeddingsError as error:
        reason = str(error)
        return Unavailable(reason, f"{reason[:1].upper()}{reason[1:]}")
    load = partial(OpenClipModel, spec, found)
    part = weights.missing_part(config.get("text_cfg", {}))
    if part is None and weights.cached_weights(found, spec.config.revision) is not None:
        return Candidate(RUNTIME, load)
    if spec.may_download:
        return Candidate(RUNTIME, load, downloads=True)
    return Unavailable(
        f"the files of {part or found.repository} are not here", spec.advice
    )


class OpenClipModel(EmbeddingModel):
    """A model that open_clip executes."""

    runtime = RUNTIME
    dimensions: int
    max_tokens: int
    normalized = True
    supports_images = True

    def __init__(self, spec: ModelSpec, source: Path | Checkpoint | None) -> None:
        config = spec.config
        self.model_id = spec.model_id
        self._set_prompts(config)
        with weights.reporting(spec, "cannot be loaded"):
            self.device = config.device or weights.best_device()
            parts = weights.load(spec, source, self.device)
            self._model, self._fit, self._to_tensor, self._tokenizer, folder = parts
            # That of OpenAI's CLIP, and not one of transformers
            self._is_clip_tokenizer = hasattr(self._tokenizer, "encode")
            self.max_tokens = int(self._tokenizer.context_length)
            self.logit_scale = self._model.logit_scale.exp().max().item()
            self.revision = commit_of(folder)
        self._set_batches_and_threads(config)
        # The processors are busy with one run, and a GPU has memory for one
        self._lock = threading.Lock()
        # A tokenizer of transformers changes while it truncates
        self._tokenizing = threading.Lock()
        with weights.reporting(spec, "does not work"):
            self.dimensions = self._run_texts([""]).shape[1]
        if config.dimensions not in (None, self.dimensions):
            raise ModelError(
                f"Expected the {self.dimensions} dimensions of {self.model_id!r}, all "
                f"of which are needed; found {config.dimensions} under 'dimensions'"
            )

    def _embed_texts(self, texts: Sequence[str], progress: Callback) -> Vectors:
        return self._batched(texts, self._run_texts, progress=progress)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        texts = [self.passage_prompt + text for text in texts]
        with self._tokenizing:
            if self._is_clip_tokenizer:
                # One token more at each end
                return [
                    len(self._tokenizer.encode(LONG_WORD.sub(r"\g<0> ", text))) + 2
                    for text in texts
                ]
            return [
                len(ids) for ids in self._tokenizer.tokenizer(list(texts)).input_ids
            ]

    def image_outcomes(
        self, images: Sequence[bytes], *, progress: Callback = ignore
    ) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for decoded_images in self._decoded_batches(images):
            whole = [each for each in decoded_images if not isinstance(each, str)]
            vectors = iter(self._batched(whole, self._run_images))
            outcomes += [
                each if isinstance(each, str) else next(vectors)
                for each in decoded_images
            ]
            progress(len(decoded_images))
        return outcomes

    def _decoded_batches(self, images: Sequence[bytes]) -> Iterator[list[Image | str]]:
        """The images of each batch, or why one has none.

        While the model runs one batch, the next is decoded.
        """
        size = self.batch_size
        with ThreadPoolExecutor(min(MAX_DECODERS, os.cpu_count() or 1)) as pool:
            upcoming: list[Future[Image | str]] = []
            for start in range(0, len(images) + size, size):
                batch = upcoming
                upcoming = [
                    pool.submit(self._decode, image)
                    for image in images[start : start + size]
                ]
                if batch:
                    yield [each.result() for each in batch]

    def _decode(self, image: bytes) -> Image | str:
        try:
            return decoded(image, self._fit)
        except InvalidInputError as error:
            return str(error)
        except MemoryError:
            return "There is not enough memory to decode this image"

    def _run_texts(self, texts: Sequence[str]) -> Vectors:
        check_utf8(texts)
        with self._tokenizing:
            tokens = self._tokenizer(list(texts))
        return self._run(self._model.encode_text, tokens)

    def _run_images(self, images: Sequence[Image]) -> Vectors:
        import torch

        batch = torch.stack([self._to_tensor(image) for image in images])
        return self._run(self._model.encode_image, batch)

    def _run(self, encode: Callable[..., torch.Tensor], batch: torch.Tensor) -> Vectors:
        import torch

        with self._lock, torch.inference_mode():
            found = encode(batch.to(self.device), normalize=True)
            vectors: Vectors = found.float().cpu().numpy()
        return vectors
