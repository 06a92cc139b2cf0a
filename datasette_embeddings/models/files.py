"""The files of a model: in a folder or the hub's cache, downloaded, and read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.names import ModelSpec, is_repository

# A repository in the cache: …/models--NAME/snapshots/COMMIT
SNAPSHOTS = "snapshots"
ONNX_FILES = ("onnx/model.onnx", "model.onnx")
# The flags of a pooling config, and the names of its newer "pooling_mode"
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLINGS = frozenset({"cls", "mean", "max", "mean_sqrt_len_tokens", "lasttoken"})
PASSAGE_PROMPTS = ("document", "passage", "corpus")
TRANSFORMER_SETTINGS = "sentence_bert_config.json"
# How transformers calls an architecture with a score
SCORES_PAIRS = "ForSequenceClassification"
# Some tokenizers give 10**30 for "no limit"
NO_LIMIT = 1_000_000


def folder_of(spec: ModelSpec, patterns: Sequence[str] | None = None) -> Path | None:
    """The local folder with the files of *spec*, if there is one.

    That is the folder that its configuration or its id names, or else its place in the
    hub's cache, if all files of the repository that match *patterns* are there, and
    *spec* is not to be fetched again.
    """
    if spec.config.path is not None:
        return existing_folder(spec.config.path)
    folder = existing_folder(spec.hub_name)
    if folder is not None or spec.fetches_again or not is_repository(spec.hub_name):
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        cached = snapshot_download(
            spec.hub_name,
            revision=spec.config.revision,
            local_files_only=True,
            allow_patterns=None if patterns is None else list(patterns),
        )
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    return Path(cached)


def existing_folder(name: str) -> Path | None:
    """The absolute path of the folder *name*, if there is one."""
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        # Not a path: too long, in a closed folder, or of an unknown user
        return None


def cached_names() -> list[str]:
    """The repositories in the hub's cache that sentence-transformers can read."""
    from huggingface_hub.constants import HF_HUB_CACHE

    found = Path(HF_HUB_CACHE).glob(f"models--*/{SNAPSHOTS}/*/modules.json")
    folders = {path.parents[2].name for path in found}
    return sorted(
        name.removeprefix("models--").replace("--", "/", 1) for name in folders
    )


def download(spec: ModelSpec, patterns: Sequence[str]) -> Path:
    """The folder with the files of *spec* that match *patterns*, from the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            spec.hub_name, revision=spec.config.revision, allow_patterns=list(patterns)
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ModelError(
            f"The model {spec.model_id!r} cannot be fetched from the hub: {line}"
        ) from error
    return Path(folder)


def commit_of(folder: Path) -> str | None:
    """The commit of *folder*, if it lies in the hub's cache."""
    return folder.name if folder.parent.name == SNAPSHOTS else None


@dataclass(frozen=True)
class ModelFolder:
    """How to run the ONNX model in a sentence-transformers folder."""

    onnx_path: Path
    tokenizer_path: Path
    max_tokens: int
    lower_case: bool
    pooling: str
    normalize: bool


def read_model_folder(folder: Path) -> ModelFolder:
    """Read the settings of the model in *folder*."""
    with _reading(folder):
        modules = {
            module["type"].rpartition(".")[2]: module["path"]
            for module in _json(folder / "modules.json")
        }
        transformer = folder / modules.pop("Transformer", "")
        pooling = folder / modules.pop("Pooling") / "config.json"
        normalize = modules.pop("Normalize", None) is not None
        if modules:
            raise ModelError(
                f"{folder / 'modules.json'} asks for {', '.join(modules)}; "
                "supported are Transformer, Pooling and Normalize"
            )
        onnx_path = onnx_file(folder)
        if onnx_path is None:
            raise ModelError(
                f"Expected an ONNX file in {folder}: {' or '.join(ONNX_FILES)}"
            )
        settings = _json_if_there(transformer / TRANSFORMER_SETTINGS)
        return ModelFolder(
            onnx_path=onnx_path,
            tokenizer_path=transformer / "tokenizer.json",
            max_tokens=_max_tokens(transformer, settings),
            lower_case=bool(settings.get("do_lower_case")),
            pooling=_pooling(pooling),
            normalize=normalize,
        )


def has_onnx(folder: Path) -> bool:
    """Whether *folder* holds a model for ONNX Runtime."""
    return onnx_file(folder) is not None and (folder / "modules.json").is_file()


def onnx_file(folder: Path) -> Path | None:
    """The ONNX file of the model in *folder*, if it has one."""
    paths = (folder / name for name in ONNX_FILES)
    return next((path for path in paths if path.is_file()), None)


def prompts_of(folder: Path) -> tuple[str, str]:
    """The query prompt and the passage prompt of the model in *folder*."""
    with _reading(folder):
        config = _json_if_there(folder / "config_sentence_transformers.json")
        prompts = dict(config.get("prompts") or {})
        default = str(prompts.get(config.get("default_prompt_name")) or "")

    def first(*names: str) -> str:
        known = [str(prompts[name] or "") for name in names if name in prompts]
        # sentence-transformers saves an empty "document" beside E5's "passage"
        return next(filter(None, known), "" if known else default)

    return first("query"), first(*PASSAGE_PROMPTS)


def read_cross_encoder(folder: Path) -> int:
    """How many tokens of a pair the cross-encoder in *folder* reads.

    :raises ModelError: if the model in *folder* is none.
    """
    with _reading(folder):
        architectures = _json(folder / "config.json").get("architectures") or [""]
        saved = _json_if_there(folder / "config_sentence_transformers.json")
        is_saved_as_one = saved.get("model_type") == "CrossEncoder"
        if not (is_saved_as_one or architectures[0].endswith(SCORES_PAIRS)):
            raise ModelError(
                f"Expected a cross-encoder in {folder}, which scores pairs of texts; "
                f"found {architectures[0] or 'another model'}"
            )
        return _max_tokens(folder, _json_if_there(folder / TRANSFORMER_SETTINGS))


def _max_tokens(transformer: Path, settings: Mapping[str, Any]) -> int:
    stated = [
        settings.get("max_seq_length"),
        _json_if_there(transformer / "tokenizer_config.json").get("model_max_length"),
        _json_if_there(transformer / "config.json").get("max_position_embeddings"),
    ]
    known = [each for each in stated if isinstance(each, int) and each > 0]
    # The first one is of the whole model, and decides
    limit = known[0] if known and known[0] == stated[0] else min(known, default=0)
    if not 0 < limit <= NO_LIMIT:
        raise ModelError(
            f"Expected max_seq_length in {transformer / TRANSFORMER_SETTINGS}"
        )
    return limit


def _pooling(path: Path) -> str:
    config = _json(path)
    if config.get("include_prompt") is False:
        raise ModelError(f"{path} leaves the prompt out of the pooling: unsupported")
    chosen = [config["pooling_mode"]] if "pooling_mode" in config else []
    chosen += [name for flag, name in POOLING_FLAGS.items() if config.get(flag)]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise ModelError(
            f"{path} asks for the pooling {chosen}; supported is one of "
            f"{', '.join(sorted(POOLINGS))}"
        )
    return str(chosen[0])


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turn what missing or malformed files in *folder* cause into a ModelError."""
    try:
        yield
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"The model in {folder} is not as expected: {type(error).__name__}: {error}"
        ) from error


def _json_if_there(path: Path) -> Any:  # noqa: ANN401 - any JSON
    return _json(path) if path.is_file() else {}


def _json(path: Path) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
