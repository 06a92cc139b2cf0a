"""From a model id to a loaded model: what can serve it here, without a download."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.errors import ModelProblem, UnknownModel
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.onnx import OnnxModel

BUNDLED_FOLDER = Path(__file__).parent / "bundled" / "all-MiniLM-L6-v2"
# What people call the bundled model: the hub, llm's plugin and its README
BUNDLED_ALIASES = frozenset({DEFAULT_MODEL, "all-MiniLM-L6-v2", "mini-l6"})

# How long to wait for somebody else's load of a model
LOAD_WAIT_S = 60.0
# One copy of each model in a process, whoever asked for it first
_loaded: dict[tuple[str, Path], EmbeddingModel] = {}
_loading = threading.Lock()


def canonical_id(model_id: str) -> str:
    """The one name of a model that has several."""
    return DEFAULT_MODEL if model_id in BUNDLED_ALIASES else model_id


def is_present(
    model_id: str, models: Mapping[str, ModelConfig] = MappingProxyType({})
) -> bool:
    """Whether :func:`load_model` would find files for *model_id*."""
    folder = _folder(model_id, models)
    return folder is not None and (folder / "modules.json").is_file()


def loaded_model(
    model_id: str, models: Mapping[str, ModelConfig] = MappingProxyType({})
) -> EmbeddingModel | None:
    """The model called *model_id* if it is in memory already."""
    folder = _folder(model_id, models)
    return None if folder is None else _loaded.get((canonical_id(model_id), folder))


def load_model(
    model_id: str, models: Mapping[str, ModelConfig] = MappingProxyType({})
) -> EmbeddingModel:
    """The model called *model_id*, loaded once; *models* are the configured ones.

    A model id that is a path to a sentence-transformers folder is that folder.

    :raises UnknownModel: if nothing here can serve it.
    """
    folder = _folder(model_id, models)
    if folder is None:
        raise UnknownModel(
            model_id,
            [
                f"the bundled model, which is {DEFAULT_MODEL}"
                f"{'' if BUNDLED_FOLDER.is_dir() else ' and was taken away'}",
                f"the configured models: {', '.join(models) or 'none'}",
                "a folder of that name with a sentence-transformers model in it "
                "(modules.json, tokenizer.json, onnx/model.onnx): there is none",
            ],
        )
    key = canonical_id(model_id), folder
    if key not in _loaded:
        _load(*key)
    return _loaded[key]


def _load(model_id: str, folder: Path) -> None:
    if not _loading.acquire(timeout=LOAD_WAIT_S):
        raise ModelProblem(
            f"The model {model_id!r} is still being loaded after {LOAD_WAIT_S:.0f} "
            "seconds; try again in a moment"
        )
    try:
        if (model_id, folder) not in _loaded:
            _loaded[model_id, folder] = OnnxModel(model_id, folder)
    finally:
        _loading.release()


def _folder(model_id: str, models: Mapping[str, ModelConfig]) -> Path | None:
    if model_id in models:
        return Path(models[model_id].path).expanduser().resolve()
    if canonical_id(model_id) == DEFAULT_MODEL:
        # Whoever needs no model may leave it out of a small container
        return BUNDLED_FOLDER if (BUNDLED_FOLDER / "modules.json").is_file() else None
    try:
        folder = Path(model_id).expanduser()
        return folder.resolve() if (folder / "modules.json").is_file() else None
    except (OSError, RuntimeError, ValueError):
        # No path at all: too long, in a closed folder, of a user that is not there
        return None
