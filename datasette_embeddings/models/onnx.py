"""The ONNX runtime: any sentence-transformers folder that holds an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.distribution import install_command
from datasette_embeddings.errors import MissingLibraryError, ModelError
from datasette_embeddings.models.base import (
    Candidate,
    EmbeddingModel,
    ModelSpec,
    Unavailable,
    given_or,
    ignore,
    utf8_only,
)
from datasette_embeddings.models.folder import ModelFolder, has_onnx, read_model_folder
from datasette_embeddings.models.hub import commit_of, fetched, folder_of
from datasette_embeddings.models.names import is_repository, llm_id
from datasette_embeddings.vectors import normalize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

    from datasette_embeddings.chunking import TokenSpans
    from datasette_embeddings.vectors import Vector, Vectors

    Mask = NDArray[np.int64]  # (b, n)

BUNDLED_FOLDER = Path(__file__).parent / "bundled" / "all-MiniLM-L6-v2"
# What is fetched of a repository: the one file, and all that says how to use it
PATTERNS = ("*.json", "*/config.json", "onnx/model.onnx", "onnx/model.onnx_data")
# Tokens of a batch, padding included: a batch of this size stays in the cache of a
# core (1,024 and 2,048 were as fast as each other, 8,192 a fifth slower)
BATCH_TOKENS = 2_048
TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")


def find(spec: ModelSpec) -> Candidate | Unavailable:
    """The folder of *spec* with an ONNX file in it, the bundled one among them."""
    if spec.config.device not in (None, "cpu"):
        return Unavailable(f"it runs on the processor, not on {spec.config.device}")
    if spec.config.dimensions is not None:
        return Unavailable(
            "it keeps all dimensions; 'dimensions' needs another runtime"
        )
    if spec.model_id == DEFAULT_MODEL and spec.config.path is None:
        # Whoever needs no model may leave it out of a small container
        if not (BUNDLED_FOLDER / "modules.json").is_file():
            return Unavailable(
                "the files of the bundled model were deleted",
                "Its files were deleted: install this package again",
            )
        folder: Path | None = BUNDLED_FOLDER
    else:
        folder = folder_of(spec, PATTERNS)
    if folder is not None and has_onnx(folder):
        return Candidate("onnx", partial(OnnxModel, spec.model_id, folder, spec.config))
    if spec.may_download and spec.config.path is None and is_repository(spec.hub_name):
        return Candidate("onnx", partial(_fetched, spec), downloads=True)
    return Unavailable(
        "expected a folder of that name, or under 'path', or in the hub's cache, with "
        "modules.json, tokenizer.json and onnx/model.onnx: there is none"
    )


def _fetched(spec: ModelSpec) -> OnnxModel:
    folder = fetched(spec, PATTERNS)
    if not has_onnx(folder):
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
        self, model_id: str, folder: Path, settings: ModelConfig = ModelConfig()
    ) -> None:
        self._files = read_model_folder(folder)
        self.max_tokens = self._files.max_tokens
        self.query_prompt = given_or(settings.query_prompt, self._files.query_prompt)
        self.passage_prompt = given_or(
            settings.passage_prompt, self._files.passage_prompt
        )
        self.model_id = llm_id(
            model_id, settings, has_passage_prompt=bool(self.passage_prompt)
        )
        self.revision = commit_of(folder)
        self.normalized = self._files.normalize
        self._tokenizer = _tokenizer(self._files, cut=True)
        self._counter = _tokenizer(self._files, cut=False)
        self._session = _session(self._files.onnx_path, settings.threads)
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._output = self._token_output()
        # A run on nothing tells the size, where a dynamic shape in the file may not
        self.dimensions = len(self._embed([""])[0])

    def embed_passages(
        self, texts: Sequence[str], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        return self._embed(
            [self.passage_prompt + text for text in texts], progress=progress
        )

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self.embed_queries([text])[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed([self.query_prompt + text for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        texts = [self.passage_prompt + text for text in texts]
        return [len(each.ids) for each in self._encode(self._counter, texts)]

    def token_spans(self, texts: Sequence[str]) -> list[TokenSpans]:
        if self._files.lower_case:
            texts = [_lower_in_place(text) for text in texts]
        encodings = self._counter.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.offsets for encoding in encodings]

    def _embed(
        self, texts: Sequence[str], *, progress: Callable[[int], None] = ignore
    ) -> Vectors:
        import numpy as np

        encodings = self._encode(self._tokenizer, texts)
        vectors: Vectors | None = None
        for places in _batches([len(encoding.ids) for encoding in encodings]):
            batch = self._run([encodings[place] for place in places])
            if vectors is None:
                vectors = np.empty((len(texts), batch.shape[1]), dtype=np.float32)
            vectors[places] = batch
            progress(len(places))
        if vectors is None:
            return np.empty((0, self.dimensions), dtype=np.float32)
        return normalize(vectors) if self._files.normalize else vectors

    def _encode(self, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
        if self._files.lower_case:
            texts = [text.lower() for text in texts]
        with utf8_only():
            # The fast one leaves out the character offsets, which nobody asks for
            return tokenizer.encode_batch_fast(list(texts))

    def _run(self, encodings: Sequence[Encoding]) -> Vectors:
        """One vector an encoding, (b, d), of encodings of about the same length."""
        import numpy as np

        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        given = {name: inputs[name] for name in self._inputs}
        try:
            states = self._session.run([self._output], given)[0]  # (b, n, d)
        except Exception as error:  # its exceptions share no base class but this one
            raise ModelError(f"The model {self.model_id!r} fails: {error}") from error
        return pool(states, mask, self._files.pooling)

    def _token_output(self) -> str:
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids"}
        outputs = [each.name for each in self._session.get_outputs()]
        for name in TOKEN_OUTPUTS:
            if name in outputs and not unknown:
                return name
        raise ModelError(
            f"{self._files.onnx_path} takes {', '.join(sorted(self._inputs))} and "
            f"gives {', '.join(outputs)}; expected token ids in and one of "
            f"{', '.join(TOKEN_OUTPUTS)} out"
        )


def pool(states: Vectors, mask: Mask, pooling: str) -> Vectors:
    """The vector of each text from the vectors of its tokens: (b, n, d) -> (b, d)."""
    import numpy as np

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


def _lower_in_place(text: str) -> str:
    """*text* in lower case, each character where it was."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts of about the same length, longest first, a batch at a time."""
    longest_first = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    while start < len(longest_first):
        size = max(1, BATCH_TOKENS // max(1, lengths[longest_first[start]]))
        yield longest_first[start : start + size]
        start += size


def _tokenizer(files: ModelFolder, *, cut: bool) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingLibraryError("tokenizers", "every model of texts") from error
    try:
        tokenizer = Tokenizer.from_file(str(files.tokenizer_path))
    except Exception as error:  # it raises nothing more specific
        raise ModelError(f"{files.tokenizer_path} cannot be read: {error}") from error
    tokenizer.no_padding()
    if cut:
        tokenizer.enable_truncation(files.max_tokens)
    else:
        tokenizer.no_truncation()
    return tokenizer


def _session(path: Path, threads: int | None):  # type: ignore[no-untyped-def]  # noqa: ANN202 - onnxruntime has no types
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
    except Exception as error:  # its exceptions share no base class but this one
        raise ModelError(f"ONNX Runtime cannot load {path}: {error}") from error
