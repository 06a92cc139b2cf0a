"""A sentence-transformers folder: what its own files say of how to run the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasette_embeddings.errors import ModelError

ONNX_FILES = ("onnx/model.onnx", "model.onnx")
# What a pooling config's flags and its newer "pooling_mode" call the same thing
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


@dataclass(frozen=True)
class ModelFolder:
    """A model's files, read and understood."""

    onnx_path: Path
    tokenizer_path: Path
    max_tokens: int
    lower_case: bool
    pooling: str
    normalize: bool
    query_prompt: str
    passage_prompt: str


def read_model_folder(folder: Path) -> ModelFolder:
    """What the files in *folder* say.

    :raises ModelError: for a missing file or a step that is not supported.
    """
    modules = _modules(folder)
    transformer = folder / modules.pop("Transformer", "")
    pooling = modules.pop("Pooling", None)
    if pooling is None:
        raise ModelError(f"Expected a Pooling module in {folder / 'modules.json'}")
    normalize = modules.pop("Normalize", None) is not None
    if modules:
        raise ModelError(
            f"{folder / 'modules.json'} asks for {', '.join(modules)}; "
            "supported are Transformer, Pooling and Normalize"
        )
    settings = _optional_json(transformer / "sentence_bert_config.json")
    query_prompt, passage_prompt = prompts_of(folder)
    return ModelFolder(
        onnx_path=_onnx_path(folder),
        tokenizer_path=_required(transformer / "tokenizer.json"),
        max_tokens=_max_tokens(transformer, settings),
        lower_case=bool(settings.get("do_lower_case")),
        pooling=_pooling(folder / pooling / "config.json"),
        normalize=normalize,
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
    )


def has_onnx(folder: Path) -> bool:
    """Whether *folder* holds a model that ONNX Runtime may execute."""
    is_there = any((folder / name).is_file() for name in ONNX_FILES)
    return is_there and (folder / "modules.json").is_file()


def _modules(folder: Path) -> dict[str, str]:
    """The kind of each module and the subfolder that describes it."""
    modules = _json(_required(folder / "modules.json"))
    if not isinstance(modules, list):
        raise ModelError(f"Expected a list in {folder / 'modules.json'}")
    try:
        return {module["type"].rpartition(".")[2]: module["path"] for module in modules}
    except (TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"Expected modules with a type and a path in {folder / 'modules.json'}"
        ) from error


def _onnx_path(folder: Path) -> Path:
    for name in ONNX_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"Expected an ONNX file in {folder}: {' or '.join(ONNX_FILES)}")


def _max_tokens(transformer: Path, settings: Mapping[str, object]) -> int:
    stated = settings.get("max_seq_length")
    if isinstance(stated, int) and stated > 0:
        return stated
    limits = [
        _optional_json(transformer / "tokenizer_config.json").get("model_max_length"),
        _optional_json(transformer / "config.json").get("max_position_embeddings"),
    ]
    # Some tokenizers say 10**30 for "no limit"
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if not known or min(known) > 1_000_000:
        raise ModelError(
            f"Expected max_seq_length in {transformer / 'sentence_bert_config.json'}"
        )
    return min(known)


def _pooling(path: Path) -> str:
    config = _optional_json(_required(path))
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


def prompts_of(folder: Path) -> tuple[str, str]:
    """What the model in *folder* wants in front of questions, and of passages."""
    prompts = _prompts(folder)
    return _prompt(prompts, "query"), _prompt(prompts, *PASSAGE_PROMPTS)


def _prompts(folder: Path) -> dict[str, str]:
    config = _optional_json(folder / "config_sentence_transformers.json")
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise ModelError(f"Expected prompts by name in {folder}, found {prompts!r}")
    return {name: str(text or "") for name, text in prompts.items()} | {
        "": str(prompts.get(config.get("default_prompt_name"), "") or "")
    }


def _prompt(prompts: Mapping[str, str], *names: str) -> str:
    """The first prompt among *names* that is not empty, or else the default prompt.

    sentence-transformers saves an empty ``document`` beside E5's ``passage``.
    """
    known = [prompts[name] for name in names if name in prompts]
    return next(filter(None, known), "" if known else prompts.get("", ""))


def _required(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"Expected the file {path}, which is not there")
    return path


def _optional_json(path: Path) -> dict[str, object]:
    content = _json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ModelError(f"Expected a JSON object in {path}")
    return content


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
