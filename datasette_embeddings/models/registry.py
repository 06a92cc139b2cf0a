"""From a model id to a loaded model: the first runtime that can serve it here.

Without a download, unless whoever asks may make one.  What runs is chosen in this
order: the runtime that the settings name; the bundled model; sentence-transformers
where a GPU is; an ONNX file; sentence-transformers; the others as they stand here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.errors import ModelProblem, UnknownModel
from datasette_embeddings.models import onnx, open_clip
from datasette_embeddings.models.base import EmbeddingModel, Found, NotHere, Wanted
from datasette_embeddings.models.hub import has_gpu

Finder: TypeAlias = Callable[[Wanted], Found | NotHere]
RUNTIMES: Mapping[str, Finder] = MappingProxyType(
    {
        "onnx": onnx.find,
        "open_clip": open_clip.find,
    }
)
# What people call the bundled model: the hub, llm's plugin and its README
BUNDLED_ALIASES = frozenset({DEFAULT_MODEL, "all-MiniLM-L6-v2", "mini-l6"})

# How long to wait for somebody else's load of a model
LOAD_WAIT_S = 60.0
# One copy of each model in a process, whoever asked for it first
_loaded: dict[Wanted, EmbeddingModel] = {}
_loading = threading.Lock()


def canonical_id(model_id: str) -> str:
    """The one name of a model that has several."""
    return DEFAULT_MODEL if model_id in BUNDLED_ALIASES else model_id


def wanted(model_id: str, models: Mapping[str, ModelConfig]) -> Wanted:
    """The model called *model_id*, with what *models*, the configured ones, say."""
    settings = models.get(model_id) or models.get(canonical_id(model_id))
    return Wanted(canonical_id(model_id), settings or ModelConfig())


def find(asked: Wanted) -> Found:
    """The runtime that serves *asked* here.

    :raises UnknownModel: if none can, with the reason of each.
    """
    reasons = []
    if asked.model_id != DEFAULT_MODEL:
        reasons.append(f"the bundled model, which is {DEFAULT_MODEL}")
    for name in _order(asked):
        found = RUNTIMES[name](asked)
        if isinstance(found, Found):
            return found
        reasons.append(f"{name}: {found.reason}")
    raise UnknownModel(asked.model_id, reasons)


def _order(asked: Wanted) -> list[str]:
    """The runtimes to try for *asked*, the best first."""
    settings = asked.settings
    if settings.runtime is not None:
        return [settings.runtime]
    if settings.url is not None:
        return ["http"]
    order = list(RUNTIMES)
    if asked.model_id != DEFAULT_MODEL and has_gpu(settings.device):
        order.sort(key=lambda name: name != "sentence-transformers")
    return order


def is_present(
    model_id: str, models: Mapping[str, ModelConfig] = MappingProxyType({})
) -> bool:
    """Whether :func:`load_model` would find files for *model_id*."""
    try:
        find(wanted(model_id, models))
    except UnknownModel:
        return False
    return True


def loaded_model(
    model_id: str, models: Mapping[str, ModelConfig] = MappingProxyType({})
) -> EmbeddingModel | None:
    """The model called *model_id* if it is in memory already."""
    return _loaded.get(wanted(model_id, models))


def load_model(
    model_id: str,
    models: Mapping[str, ModelConfig] = MappingProxyType({}),
    *,
    may_download: bool = False,
) -> EmbeddingModel:
    """The model called *model_id*, loaded once; *models* are the configured ones.

    A model id that is a path to a folder is that folder.

    :raises UnknownModel: if nothing here can serve it.
    :raises ModelProblem: if its files are not what they should be.
    """
    asked = wanted(model_id, models)
    model = _loaded.get(asked)
    return model or _load(asked, replace(asked, may_download=may_download))


def _load(key: Wanted, asked: Wanted) -> EmbeddingModel:
    if not _loading.acquire(timeout=LOAD_WAIT_S):
        raise ModelProblem(
            f"The model {key.model_id!r} is still being loaded after "
            f"{LOAD_WAIT_S:.0f} seconds; try again in a moment"
        )
    try:
        if key not in _loaded:
            _loaded[key] = find(asked).load()
        return _loaded[key]
    finally:
        _loading.release()
