"""The runtime ``onnx``: any sentence-transformers folder with an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.chunking import TokenSpans
from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.distribution import install_command
from datasette_embeddings.errors import MissingLibraryError, ModelError
from datasette_embeddings.models import files
from datasette_embeddings.models.base import (
    Callback,
    EmbeddingModel,
    check_utf8,
    ignore,
)
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable, llm_id
from datasette_embeddings.vectors import Vectors, normalize

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

BUNDLED_FOLDER = Path(__file__).parent / "bundled" / "all-MiniLM-L6-v2"
# The files of a repository that this runtime needs
PATTERNS = ("*.json", "*/config.json", "onnx/model.onnx", "onnx/model.onnx_data")
# Tokens of a batch, padding included: a batch of this size stays in the cache of a
# core (1,024 and 2,048 were as fast as each other, 8,192 a fifth slower)
BATCH_TOKENS = 2_048
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The folder of *spec* with an ONNX file in it, such as the bundled one."""
    if spec.config.device not in (None, "cpu"):
        return Unavailable(f"it runs on the processor, not on {spec.config.device}")
    if spec.config.dimensions is not None:
        return Unavailable(
            "it keeps all dimensions; 'dimensions' needs another runtime"
        )
    if spec.model_id == DEFAULT_MODEL and spec.config.path is None:
        # It may be left out of a small container that needs no model
        if not (BUNDLED_FOLDER / "modules.json").is_file():
            return Unavailable(
                "the files of the bundled model were deleted",
                "Its files were deleted: install this package again",
            )
        folder: Path | None = BUNDLED_FOLDER
    else:
        folder = files.folder_of(spec, PATTERNS)
    if folder is not None and files.has_onnx(folder):
        return Candidate("onnx", partial(OnnxModel, spec.model_id, folder, spec.config))
    if spec.may_download and spec.is_on_hub:
        return Candidate("onnx", partial(_downloaded, spec), downloads=True)
    return Unavailable(
        "expected a folder of that name, or under 'path', or in the hub's cache, with "
        "modules.json, tokenizer.json and onnx/model.onnx: there is none",
        spec.advice if spec.is_on_hub and folder is None else None,
    )


def _downloaded(spec: ModelSpec) -> OnnxModel:
    folder = files.download(spec, PATTERNS)
    if not files.has_onnx(folder):
        raise ModelError(
            f"The model {spec.model_id!r} has no ONNX file on the hub. Either "
            f"use it as it is: {install_command('sentence-transformers')}; or make one "
            "where that is installed: datasette embeddings models export"
        )
    return OnnxModel(spec.model_id, folder, spec.config)


class OnnxModel(EmbeddingModel):
    """A model that ONNX Runtime executes on the processor."""

    runtime = "onnx"
    dimensions: int
    max_tokens: int

    def __init__(
        self, model_id: str, folder: Path, config: ModelConfig = ModelConfig()
    ) -> None:
        self._files = files.read_model_folder(folder)
        self.max_tokens = self._files.max_tokens
        self._set_prompts(config, *files.prompts_of(folder))
        self.model_id = llm_id(
            model_id, config, has_passage_prompt=bool(self.passage_prompt)
        )
        self.revision = files.commit_of(folder)
        self.normalized = self._files.normalize
        self._tokenizer = read_tokenizer(self._files.tokenizer_path)
        if self._files.lower_case:
            _lower_first(self._tokenizer)
        self._tokenizer.enable_truncation(self.max_tokens)
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._session = session(self._files.onnx_path, config.threads)
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._output = self._token_output()
        # The shape in the file may be dynamic, so the model is run once
        self.dimensions = len(self._embed(self._encode([""]))[0])

    def embed_passages(
        self,
        texts: Sequence[str],
        *,
        progress: Callback = ignore,
        on_truncated: Callback = ignore,
    ) -> Vectors:
        encodings = self._encode([self.passage_prompt + text for text in texts])
        vectors = self._embed(encodings, progress)
        for position, encoding in enumerate(encodings):
            if len(encoding.ids) == self.max_tokens and encoding.overflowing:
                on_truncated(position)
        return vectors

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(self._encode([self.query_prompt + text for text in texts]))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [
            len(each.ids)
            + sum(len(rest.ids) - self._special_tokens for rest in each.overflowing)
            for each in self._encode([self.passage_prompt + text for text in texts])
        ]

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        return token_spans(self._tokenizer, texts)

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        try:
            # Fast, because it leaves out the character offsets
            return self._tokenizer.encode_batch_fast(list(texts))
        except TypeError:
            check_utf8(texts)
            raise

    def _embed(
        self, encodings: Sequence[Encoding], progress: Callback | None = None
    ) -> Vectors:
        vectors: Vectors | None = None
        for positions in batches([len(encoding.ids) for encoding in encodings]):
            batch = self._run([encodings[position] for position in positions])
            if vectors is None:
                vectors = np.empty((len(encodings), batch.shape[1]), dtype=np.float32)
            vectors[positions] = batch
            if progress is not None:
                progress(len(positions))
        if vectors is None:
            return np.empty((0, self.dimensions), dtype=np.float32)
        return normalize(vectors) if self._files.normalize else vectors

    def _run(self, encodings: Sequence[Encoding]) -> Vectors:
        """One vector an encoding, (b, d), of encodings of about the same length."""
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        values = zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True)
        inputs = {name: value for name, value in values if name in self._inputs}
        try:
            states = self._session.run([self._output], inputs)[0]  # (b, n, d)
        except Exception as error:  # its exceptions have no other base class
            raise ModelError(f"The model {self.model_id!r} fails: {error}") from error
        return pool(states, mask, self._files.pooling)

    def _token_output(self) -> str:
        outputs = [each.name for each in self._session.get_outputs()]
        for name in TOKEN_OUTPUTS:
            if name in outputs and self._inputs <= set(INPUTS):
                return name
        raise ModelError(
            f"{self._files.onnx_path} takes {', '.join(sorted(self._inputs))} and "
            f"gives {', '.join(outputs)}; expected token ids in and one of "
            f"{', '.join(TOKEN_OUTPUTS)} out"
        )


def pool(states: Vectors, mask: NDArray[np.int64], pooling: str) -> Vectors:
    """The vector of each text from the vectors of its tokens: (b, n, d) -> (b, d)."""
    lengths = mask.sum(axis=1)  # (b,)
    rows = np.arange(len(states))
    present = mask[:, :, None].astype(bool)  # (b, n, 1)
    pooled: Vectors
    if pooling == "cls":
        pooled = states[:, 0]
    elif pooling == "lasttoken":
        pooled = states[rows, lengths - 1]
    elif pooling == "max":
        pooled = np.where(present, states, -np.inf).max(axis=1)
    else:
        divisors = lengths if pooling == "mean" else np.sqrt(lengths)
        pooled = (states * present).sum(axis=1) / divisors[:, None]
    return pooled


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in *path*, without padding and truncation."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingLibraryError("tokenizers", "every model of texts") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # it raises nothing more specific
        raise ModelError(f"{path} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def token_spans(tokenizer: Tokenizer, texts: Sequence[str]) -> list[TokenSpans]:
    """Start and end in characters of each token of each text, truncated or not."""
    check_utf8(texts)
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [
        [span for part in (each, *each.overflowing) for span in part.offsets]
        for each in encodings
    ]


def _lower_first(tokenizer: Tokenizer) -> None:
    """Let *tokenizer* make lower case before it does anything else."""
    from tokenizers.normalizers import Lowercase, Sequence

    present = [tokenizer.normalizer] if tokenizer.normalizer else []
    tokenizer.normalizer = Sequence([Lowercase(), *present])


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions of texts of about the same length, longest first, batch by batch."""
    longest_first = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    start = 0
    while start < len(longest_first):
        size = max(1, BATCH_TOKENS // max(1, lengths[longest_first[start]]))
        yield longest_first[start : start + size]
        start += size


def session(path: Path, threads: int | None) -> Any:  # noqa: ANN401 - it has no types
    """ONNX Runtime with the model in *path*."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingLibraryError("onnxruntime", "the bundled model") from error
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    # Newer releases turn int8 weights into operators that round the activations to
    # int8 as well: no faster here, and neighbours' recall drops.  Kept as fp32.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no other base class
        raise ModelError(f"ONNX Runtime cannot load {path}: {error}") from error
