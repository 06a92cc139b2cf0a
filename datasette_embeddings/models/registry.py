"""From a model id to a loaded model: the first runtime that can serve it here.

Without a download, unless whoever asks may make one.  What runs is chosen in this
order: the runtime that the settings name; the bundled model; sentence-transformers
where a GPU is; an ONNX file; sentence-transformers; the others as they stand here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from datasette_embeddings.config import DEFAULT_MODEL, Config, ModelConfig
from datasette_embeddings.errors import ModelLoadingError, UnknownModelError
from datasette_embeddings.models import (
    http,
    llm_models,
    onnx,
    open_clip,
    sentence_transformer,
)
from datasette_embeddings.models.base import (
    Candidate,
    EmbeddingModel,
    ModelSpec,
    Unavailable,
)
from datasette_embeddings.models.batches import free_memory
from datasette_embeddings.models.hub import has_gpu
from datasette_embeddings.models.names import (
    absolute,
    canonical_id,
    is_path,
    is_same_model,
    stored_id,
)

Finder: TypeAlias = Callable[[ModelSpec], Candidate | Unavailable]
RUNTIMES: Mapping[str, Finder] = MappingProxyType(
    {
        "onnx": onnx.find,
        "sentence-transformers": sentence_transformer.find,
        "open_clip": open_clip.find,
        "llm": llm_models.find,
        "http": http.find,
    }
)
UNSET = ModelConfig()


@dataclass
class _Loaded:
    model: EmbeddingModel
    #: When somebody last asked for it, on the monotonic clock
    used: float


# How long to wait for somebody else's load of a model
LOAD_WAIT_S = 60.0
# One copy of each model in a process, whoever asked for it first
_loaded: dict[ModelSpec, _Loaded] = {}
_loading = threading.Lock()


def model_spec(model_id: str, models: Mapping[str, ModelConfig]) -> ModelSpec:
    """The model called *model_id*, with what *models*, the configured ones, say."""
    name = configured_id(model_id, models)
    if name is None:
        return ModelSpec(absolute(canonical_id(model_id)), UNSET)
    settings = models[name]
    elsewhere = (settings.path, settings.model, settings.url)
    is_folder = elsewhere == (None, None, None) and settings.runtime != "llm"
    return ModelSpec(absolute(name) if is_folder else stored_id(name), settings)


def configured_id(model_id: str, models: Mapping[str, ModelConfig]) -> str | None:
    """The id by which *models*, the configured ones, name *model_id*, if they do.

    The bundled model is served by what is bundled, unless it is named by its own id.
    """
    for name in (model_id, canonical_id(model_id)):
        if name in models:
            return name
    for name in models:
        if is_same_model(name, model_id):
            return name
    if canonical_id(model_id) == DEFAULT_MODEL:
        return None
    same = (
        name
        for name, settings in models.items()
        if llm_models.is_same(ModelSpec(name, settings), model_id)
    )
    return next(same, None)


def with_llm_keys(config: Config) -> Config:
    """*config* with the models that its ``llm_keys`` name, each with its key.

    A model that is configured already takes the key if it has none of its own, unless
    it is an endpoint: the key is not meant for that address.
    """
    models = dict(config.models)
    for name, key in config.llm_keys.items():
        known = configured_id(name, config.models)
        settings = only_a_key(None) if known is None else models[known]
        if known is None and canonical_id(name) == DEFAULT_MODEL:
            # It needs no key, and must not leave this machine because of one
            continue
        if settings.url is None and settings.api_key is None:
            models[known or name] = replace(settings, api_key=key)
    return replace(config, models=models) if config.llm_keys else config


def only_a_key(key: str | None) -> ModelConfig:
    """The settings of a model of which only the key is known."""
    return ModelConfig(runtime="llm", api_key=key)


def find(asked: ModelSpec) -> Candidate:
    """The runtime that serves *asked* here.

    :raises UnknownModelError: if none can, with the reason of each.
    """
    answers: dict[str, Unavailable] = {}
    for name, found in candidates(asked):
        if isinstance(found, Candidate):
            return found
        answers[name] = found
    reasons = [f"{name}: {answer.reason}" for name, answer in answers.items()]
    if asked.model_id != DEFAULT_MODEL:
        reasons.insert(0, f"bundled: the bundled model is {DEFAULT_MODEL}")
    advice = [each.way_out for each in answers.values() if each.way_out is not None]
    raise UnknownModelError(
        asked.model_id, advice[0] if advice else _way_out(asked, reasons), reasons
    )


def _way_out(asked: ModelSpec, reasons: Sequence[str]) -> str:
    """What to do about a model if no runtime has advice."""
    if len(_order(asked)) == 1:
        # The settings name the runtime
        return reasons[-1]
    if asked.config.path is not None:
        return f"Copy its files to the folder {asked.config.path}"
    if is_path(asked.name):
        return "There is no such folder, or no model in it"
    return (
        "Describe it in the settings (a command reads the file that --config names), "
        "or choose one of: datasette embeddings models list"
    )


def candidates(asked: ModelSpec) -> Iterator[tuple[str, Candidate | Unavailable]]:
    """What each runtime says of *asked*; what is here comes before what is fetched."""
    order = _order(asked)
    if asked.may_download:
        here = replace(asked, may_download=False)
        answers = ((name, RUNTIMES[name](here)) for name in order)
        yield from (
            (name, each) for name, each in answers if isinstance(each, Candidate)
        )
        # The library reads what a hub has; an ONNX file is there more seldom
        order.sort(key=lambda name: name != "sentence-transformers")
    yield from ((name, RUNTIMES[name](asked)) for name in order)


def _order(asked: ModelSpec) -> list[str]:
    """The runtimes to try for *asked*, the best first."""
    settings = asked.config
    if settings.runtime is not None:
        return [settings.runtime]
    if settings.url is not None:
        return ["http"]
    order = list(RUNTIMES)
    if asked.model_id != DEFAULT_MODEL and has_gpu(settings.device):
        order.sort(key=lambda name: name != "sentence-transformers")
    return order


def loaded_model(
    model_id: str, models: Mapping[str, ModelConfig] = MappingProxyType({})
) -> EmbeddingModel | None:
    """The model called *model_id* if it is in memory already."""
    return _in_memory(model_spec(model_id, models))


def load_model(
    model_id: str,
    models: Mapping[str, ModelConfig] = MappingProxyType({}),
    *,
    may_download: bool = False,
    may_be_remote: bool = True,
) -> EmbeddingModel:
    """The model called *model_id*, loaded once; *models* are the configured ones.

    A model id that is a path to a folder is that folder.

    :raises UnknownModelError: if nothing here can serve it, or only what may cost
        money and
        that may not be.
    :raises ModelError: if its files are not what they should be.
    """
    asked = model_spec(model_id, models)
    model = _in_memory(asked)
    if model is None:
        to_find = replace(asked, may_download=may_download)
        model = _load(asked, to_find, may_be_remote=may_be_remote)
    if model.is_remote and not may_be_remote:
        raise _remote(model_id, model.runtime)
    return model


def _in_memory(key: ModelSpec) -> EmbeddingModel | None:
    known = _loaded.get(key)
    if known is None:
        return None
    known.used = time.monotonic()
    return known.model


def _remote(model_id: str, runtime: str) -> UnknownModelError:
    return UnknownModelError(
        model_id,
        "To let visitors use it, add it under models in the configuration",
        [f"{runtime}: its models may send texts elsewhere and cost money"],
    )


def _load(key: ModelSpec, asked: ModelSpec, *, may_be_remote: bool) -> EmbeddingModel:
    if not _loading.acquire(timeout=LOAD_WAIT_S):
        raise ModelLoadingError(
            f"The model {key.model_id!r} is still being loaded after "
            f"{LOAD_WAIT_S:.0f} seconds; try again in a moment"
        )
    try:
        known = _in_memory(key)
        if known is not None:
            return known
        found = find(asked)
        if found.is_remote and not may_be_remote:
            raise _remote(key.model_id, found.runtime)
        model = found.load()
        _loaded[key] = _Loaded(model, time.monotonic())
        if key.config.unload_after is not None:
            _look_again(key, key.config.unload_after)
        return model
    finally:
        _loading.release()


def _look_again(key: ModelSpec, after_s: float) -> None:
    timer = threading.Timer(after_s, _unload_if_idle, [key])
    timer.daemon = True
    timer.start()


def _unload_if_idle(key: ModelSpec) -> None:
    """Give back the memory of a model that nobody has asked for, or look again."""
    known, allowed = _loaded.get(key), key.config.unload_after
    if known is None or allowed is None:
        return
    left = known.used + allowed - time.monotonic()
    if left > 0:
        _look_again(key, left)
        return
    del _loaded[key], known
    if "torch" in sys.modules:
        free_memory()
