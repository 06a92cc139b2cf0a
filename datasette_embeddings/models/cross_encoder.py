"""Cross-encoders: models that read a query and a text together and score the pair.

ONNX Runtime and sentence-transformers run them, and give the same numbers: those of
the model before any activation, higher for a better match.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from datasette_embeddings.config import ModelConfig
from datasette_embeddings.distribution import install_command
from datasette_embeddings.errors import ModelError, UnknownModelError
from datasette_embeddings.models import files, onnx
from datasette_embeddings.models.base import check_utf8
from datasette_embeddings.models.names import ModelSpec
from datasette_embeddings.models.registry import has_gpu, model_spec
from datasette_embeddings.models.sentence_transformer import (
    RUNTIME,
    WEIGHTS,
    has_weights,
)
from datasette_embeddings.vectors import Vector

Pairs: TypeAlias = Sequence[tuple[str, str]]

# Of a query and of a text: more than any of these models reads
MOST_CHARACTERS = 40_000
WEIGHT_PATTERNS = (*onnx.PATTERNS, "*.txt", "*.model", *WEIGHTS)

# One copy of each model in a process
_loaded: dict[ModelSpec, CrossEncoder] = {}
_loading = threading.Lock()


def load_reranker(
    model_id: str,
    models: Mapping[str, ModelConfig] = MappingProxyType({}),
    *,
    may_download: bool = False,
    on_download: Callable[[ModelSpec], None] = lambda _spec: None,
) -> CrossEncoder:
    """The cross-encoder called *model_id*, an id or a folder, loaded once.

    *models* are the configured ones. *on_download* is called before a download.

    :raises UnknownModelError: if its files or its library are not here.
    :raises ModelError: if its files are not those of a cross-encoder.
    """
    spec = model_spec(model_id, models)
    with _loading:
        model = _loaded.get(spec)
        if model is None:
            folder = files.folder_of(spec, onnx.PATTERNS)
            is_here = folder and (files.onnx_file(folder) or has_weights(folder))
            if not is_here and may_download and spec.is_on_hub:
                on_download(spec)
                folder = _downloaded(spec)
            model = _loaded[spec] = _in_folder(spec, folder)
    return model


def _downloaded(spec: ModelSpec) -> Path:
    if not _prefers_torch(spec):
        folder = files.download(spec, onnx.PATTERNS)
        if files.onnx_file(folder) is not None:
            return folder
    return files.download(spec, WEIGHT_PATTERNS)


def _prefers_torch(spec: ModelSpec) -> bool:
    return spec.config.runtime == RUNTIME or has_gpu(spec.config.device)


def _in_folder(spec: ModelSpec, folder: Path | None) -> CrossEncoder:
    if folder is None:
        advice = "Expected a name on the hub, or a folder with a cross-encoder"
        if spec.is_on_hub:
            advice = f"{spec.advice} --reranker"
        raise UnknownModelError(spec.model_id, advice)
    max_tokens, path = files.read_cross_encoder(folder), files.onnx_file(folder)
    runs_torch = has_weights(folder) and find_spec("sentence_transformers") is not None
    model: CrossEncoder
    if runs_torch and (path is None or _prefers_torch(spec)):
        model = TorchCrossEncoder(spec, folder)
    elif path is not None:
        model = OnnxCrossEncoder(spec, path, folder / "tokenizer.json", max_tokens)
    else:
        way_out = f"Expected onnx/model.onnx or weights in {folder}"
        if has_weights(folder):
            way_out = f"Install its library with: {install_command(RUNTIME)}"
        raise UnknownModelError(spec.model_id, way_out)
    # A model that has no score for a pair, or several, fails now
    _trial = [*model.scores("a", ["b"])]
    return model


class CrossEncoder(ABC):
    """A loaded cross-encoder; safe to call from several threads at once."""

    runtime: str

    def __init__(self, spec: ModelSpec) -> None:
        self.model_id = spec.model_id
        self._lock = threading.Lock()

    def scores(self, query: str, texts: Sequence[str]) -> Iterator[dict[int, float]]:
        """The score of each of *texts* by its position, batch by batch.

        A batch is computed when it is asked for, so that the caller may stop.

        :raises ModelError: if the model fails.
        """
        check_utf8([query, *texts])
        pairs = [(query[:MOST_CHARACTERS], text[:MOST_CHARACTERS]) for text in texts]
        prepared, lengths = self._prepare(pairs)
        for positions in onnx.batches(lengths):
            try:
                with self._lock:
                    found = self._run([prepared[position] for position in positions])
            except Exception as error:  # both runtimes raise many
                raise ModelError(f"{self.model_id!r} fails: {error}") from error
            if found.size != len(positions) or not np.isfinite(found).all():
                raise ModelError(
                    f"Expected one number for each pair from {self.model_id!r}, found "
                    f"an array of the shape {found.shape} for {len(positions)} pairs"
                )
            yield dict(zip(positions, found.ravel().tolist(), strict=True))

    @abstractmethod
    def _prepare(self, pairs: Pairs) -> tuple[Sequence[Any], list[int]]:
        """What the runtime takes for each of *pairs*, and how many tokens each has."""

    @abstractmethod
    def _run(self, batch: Sequence[Any]) -> Vector:
        """One number for each prepared pair of *batch*."""


class OnnxCrossEncoder(CrossEncoder):
    """A cross-encoder that ONNX Runtime executes on the processor."""

    runtime = "onnx"

    def __init__(
        self, spec: ModelSpec, path: Path, tokenizer_path: Path, max_tokens: int
    ) -> None:
        super().__init__(spec)
        self._tokenizer = onnx.read_tokenizer(tokenizer_path)
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        self._session = onnx.session(path, spec.config.threads)

    def _prepare(self, pairs: Pairs) -> tuple[Sequence[Any], list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(pairs))
        return encodings, [len(each.ids) for each in encodings]

    def _run(self, batch: Sequence[Any]) -> Vector:
        shape = len(onnx.INPUTS), len(batch), max(len(each.ids) for each in batch)
        arrays = np.zeros(shape, dtype=np.int64)
        for row, each in enumerate(batch):
            own = each.ids, each.attention_mask, each.type_ids
            arrays[:, row, : len(each.ids)] = own
        given = dict(zip(onnx.INPUTS, arrays, strict=True))
        inputs = {each.name: given[each.name] for each in self._session.get_inputs()}
        return np.asarray(self._session.run(None, inputs)[0])  # (b, 1)


class TorchCrossEncoder(CrossEncoder):
    """A cross-encoder that sentence-transformers executes."""

    runtime = RUNTIME

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        super().__init__(spec)
        import sentence_transformers
        import torch
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._model = sentence_transformers.CrossEncoder(
                str(folder),
                device=spec.config.device,
                trust_remote_code=spec.config.trust_remote_code,
                local_files_only=True,
                activation_fn=torch.nn.Identity(),
            )
        except Exception as error:  # the files of a model can cause any
            raise ModelError(f"{spec.model_id!r} cannot be loaded: {error}") from error

    def _prepare(self, pairs: Pairs) -> tuple[Sequence[Any], list[int]]:
        # About four characters are a token; it decides only how long a batch becomes
        longest = self._model.max_seq_length or files.NO_LIMIT
        characters = [len(query) + len(text) for query, text in pairs]
        return pairs, [min(longest, each // 4) for each in characters]

    def _run(self, batch: Sequence[Any]) -> Vector:
        scores: Vector = self._model.predict(
            list(batch), batch_size=len(batch), show_progress_bar=False
        )
        return scores
