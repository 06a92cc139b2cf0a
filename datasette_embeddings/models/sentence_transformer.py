"""The runtime ``sentence-transformers``: any of its models, on a processor or a GPU.

Vectors are those of its ``encode_document`` and ``encode_query`` with the prompts in
the model's files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from datasette_embeddings.chunking import TokenSpans
from datasette_embeddings.errors import MissingLibraryError, ModelError
from datasette_embeddings.models import names
from datasette_embeddings.models.base import (
    Callback,
    EmbeddingModel,
    check_utf8,
    ignore,
)
from datasette_embeddings.models.files import NO_LIMIT, commit_of, folder_of, prompts_of
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable
from datasette_embeddings.vectors import Vectors

RUNTIME = "sentence-transformers"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The files of *spec*, if the library is installed."""
    folder = folder_of(spec)
    is_complete = folder is not None and has_weights(folder)
    if find_spec("sentence_transformers") is None:
        return names.not_installed("sentence-transformers", is_likely=is_complete)
    if is_complete:
        return Candidate(RUNTIME, partial(SentenceTransformerModel, spec, folder))
    if not spec.is_on_hub:
        return Unavailable("expected a folder with weights, or a name on the hub")
    if not spec.may_download:
        return Unavailable("its files are not here", spec.advice)
    return Candidate(
        RUNTIME, partial(SentenceTransformerModel, spec, None), downloads=True
    )


def has_weights(folder: Path) -> bool:
    """Whether *folder* holds a model for torch."""
    has_config = any(
        (folder / name).is_file() for name in ("modules.json", "config.json")
    )
    return has_config and any(any(folder.rglob(pattern)) for pattern in WEIGHTS)


class SentenceTransformerModel(EmbeddingModel):
    """A model that sentence-transformers executes."""

    runtime = RUNTIME
    dimensions: int

    def __init__(self, spec: ModelSpec, folder: Path | None) -> None:
        config = spec.config
        self.encoder = _loaded(spec, folder)
        self._lock = threading.Lock()
        folder = folder or folder_of(spec)
        self.revision = None if folder is None else commit_of(folder)
        self.device = str(self.encoder.device)
        # As the ONNX runtime reads them: the library's own choice prefers the empty
        # prompt that it saves itself to E5's
        self._set_prompts(config, *(("", "") if folder is None else prompts_of(folder)))
        self.model_id = names.llm_id(
            spec.model_id, config, has_passage_prompt=bool(self.passage_prompt)
        )
        self.normalized = any(
            type(module).__name__ == "Normalize" for module in self.encoder
        )
        whole = self.encoder.get_embedding_dimension()
        if whole is None:
            raise ModelError(f"The model {self.model_id!r} has no vector for a text")
        self.dimensions = whole if config.dimensions is None else config.dimensions
        if self.dimensions > whole:
            raise ModelError(
                f"Expected at most the {whole} dimensions of {spec.model_id!r}, "
                f"found {self.dimensions}"
            )
        self.max_tokens = _max_tokens(self.encoder)
        self._set_batches_and_threads(config)

    def _embed_passages(self, texts: Sequence[str], progress: Callback) -> Vectors:
        encode = partial(self.encoder.encode_document, prompt=self.passage_prompt)
        return self._embed(texts, encode, progress)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        encode = partial(self.encoder.encode_query, prompt=self.query_prompt)
        return self._embed(texts, encode, ignore)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        prompted = [self.passage_prompt + text for text in texts]
        return [len(ids) for ids in self._tokenized(prompted)["input_ids"]]

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        if not getattr(self.encoder.tokenizer, "is_fast", False):
            return super().token_spans(texts)
        found = self._tokenized(
            texts, add_special_tokens=False, return_offsets_mapping=True
        )
        return list(found["offset_mapping"])

    def _tokenized(self, texts: Sequence[str], **options: bool) -> Mapping[str, Any]:
        if not texts:
            return {"input_ids": [], "offset_mapping": []}
        check_utf8(texts)
        with self._lock:
            encoded: Mapping[str, Any] = self.encoder.tokenizer(
                list(texts), truncation=False, verbose=False, **options
            )
        return encoded

    def _embed(
        self, texts: Sequence[str], encode: Callable[..., Vectors], progress: Callback
    ) -> Vectors:
        """One vector for each text; the longest first, so that memory runs out soon."""
        check_utf8(texts)

        def embed(batch: Sequence[str]) -> Vectors:
            return encode(
                list(batch),
                batch_size=len(batch),
                show_progress_bar=False,
                truncate_dim=self.dimensions,
                normalize_embeddings=self.normalized,
            )

        with self._lock:
            return self._batched(texts, embed, length=len, progress=progress)


def _loaded(spec: ModelSpec, folder: Path | None) -> Any:  # noqa: ANN401 - imported late
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingLibraryError("sentence-transformers", "this model") from error
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return SentenceTransformer(
            spec.hub_name if folder is None else str(folder),
            device=spec.config.device,
            revision=spec.config.revision if folder is None else None,
            trust_remote_code=spec.config.trust_remote_code,
            local_files_only=folder is not None,
        )
    except Exception as error:  # the files of a model can cause any
        line = " ".join(str(error).split())
        hint = ""
        if "trust_remote_code" in line:
            hint = (
                " It brings code of its own: if you trust it, set "
                "'trust_remote_code: true' for it under models in the configuration"
            )
        raise ModelError(
            f"The model {spec.model_id!r} cannot be loaded: {line.rstrip('.')}.{hint}"
        ) from error


def _max_tokens(model: Any) -> int | None:  # noqa: ANN401 - imported late
    """How many tokens *model* reads; None if there is no limit."""
    stated = model.max_seq_length or getattr(model.tokenizer, "model_max_length", None)
    # Some state infinity, and some tokenizers 10**30
    return stated if isinstance(stated, int) and stated < NO_LIMIT else None
