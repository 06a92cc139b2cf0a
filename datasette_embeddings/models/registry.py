"""From a model id to a loaded model: the first runtime that can serve it here.

The runtimes are tried in this order: the one in the settings; the bundled model;
sentence-transformers if there is a GPU; an ONNX file; sentence-transformers; the others
as listed here.  Only models that need no download count, unless it is allowed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from datasette_embeddings.config import DEFAULT_MODEL, Config, ModelConfig
from datasette_embeddings.errors import UnknownModelError
from datasette_embeddings.models import (
    llm_models,
    names,
    onnx,
    open_clip,
    openai_api,
    sentence_transformer,
)
from datasette_embeddings.models.base import EmbeddingModel, free_memory
from datasette_embeddings.models.names import Candidate, ModelSpec, Unavailable

Finder: TypeAlias = Callable[[ModelSpec], Candidate | Unavailable]
RUNTIMES: Mapping[str, Finder] = MappingProxyType(
    {
        "onnx": onnx.find,
        "sentence-transformers": sentence_transformer.find,
        "open_clip": open_clip.find,
        "llm": llm_models.find,
        "http": openai_api.find,
    }
)


# One copy of each model in a process
_loaded: dict[ModelSpec, EmbeddingModel] = {}
_loading = threading.Lock()


def model_spec(model_id: str, models: Mapping[str, ModelConfig]) -> ModelSpec:
    """The model called *model_id*, with its configuration in *models*, if any."""
    name = configured_id(model_id, models)
    if name is None:
        return ModelSpec(names.absolute(names.canonical_id(model_id)))
    config = models[name]
    is_elsewhere = config.path or config.model or config.url or config.runtime == "llm"
    found = names.stored_id(name) if is_elsewhere else names.absolute(name)
    return ModelSpec(found, config, is_configured=True)


def configured_id(model_id: str, models: Mapping[str, ModelConfig]) -> str | None:
    """The id in *models*, the configured ones, of the model *model_id*, if it is there.

    The bundled model has none, unless *models* has one of its own names.
    """
    for name in (model_id, names.canonical_id(model_id)):
        if name in models:
            return name
    for name in models:
        if names.is_same_model(name, model_id):
            return name
    if names.canonical_id(model_id) == DEFAULT_MODEL:
        return None
    for name, config in models.items():
        if llm_models.is_same(ModelSpec(name, config), model_id):
            return name
    return None


def with_llm_keys(config: Config) -> Config:
    """*config* with the models that its ``llm_keys`` name, each with its key.

    A configured model takes the key if it has none of its own, unless it is an
    endpoint: the key is not meant for that address.
    """
    models = dict(config.models)
    for name, key in config.llm_keys.items():
        known = configured_id(name, config.models)
        if known is None and names.canonical_id(name) == DEFAULT_MODEL:
            # It needs no key, and must not leave this machine because of one
            continue
        model = only_a_key(None) if known is None else models[known]
        if model.url is None and model.api_key is None:
            models[known or name] = replace(model, api_key=key)
    return replace(config, models=models) if config.llm_keys else config


def with_passage_prompt(
    models: Mapping[str, ModelConfig], model_id: str, prompt: str | None
) -> Mapping[str, ModelConfig]:
    """*models*, where *model_id* has this passage prompt, unless they give it one."""
    spec = model_spec(model_id, models)
    if not prompt or spec.config.passage_prompt is not None:
        return models
    name = configured_id(model_id, models) or spec.model_id
    return {**models, name: replace(spec.config, passage_prompt=prompt)}


def only_a_key(key: str | None) -> ModelConfig:
    """The configuration of a model of which only the key is known."""
    return ModelConfig(runtime="llm", api_key=key)


def find(spec: ModelSpec) -> Candidate:
    """The best runtime for *spec*; nothing is loaded.

    :raises UnknownModelError: if there is none, with the reason of each.
    """
    is_bundled = spec.model_id == DEFAULT_MODEL
    reasons = [] if is_bundled else [f"bundled: the bundled model is {DEFAULT_MODEL}"]
    ways_out = []
    for name, answer in candidates(spec):
        if isinstance(answer, Candidate):
            return answer
        reasons.append(f"{name}: {answer.reason}")
        if answer.way_out is not None:
            ways_out.append(answer.way_out)
    way_out = ways_out[0] if ways_out else _way_out(spec, reasons)
    raise UnknownModelError(spec.model_id, way_out, reasons)


def _way_out(spec: ModelSpec, reasons: Sequence[str]) -> str:
    """What to do about a model if no runtime has advice."""
    if len(_order(spec)) == 1:
        # The settings name the runtime
        return reasons[-1]
    if spec.config.path is not None:
        return f"Copy its files to the folder {spec.config.path}"
    if names.is_path(spec.name):
        return "There is no such folder, or no model in it"
    return (
        "Describe it in the settings (a command reads the file that --config names), "
        "or choose one of: datasette embeddings models list"
    )


def candidates(spec: ModelSpec) -> Iterator[tuple[str, Candidate | Unavailable]]:
    """The answer of each runtime for *spec*, local files before downloads."""
    order = _order(spec)
    if spec.may_download:
        local = replace(spec, may_download=False)
        for name in order:
            answer = RUNTIMES[name](local)
            if isinstance(answer, Candidate):
                yield name, answer
        # Most repositories on the hub have no ONNX file
        order.sort(key=lambda name: name != "sentence-transformers")
    yield from ((name, RUNTIMES[name](spec)) for name in order)


def _order(spec: ModelSpec) -> list[str]:
    """The runtimes to try for *spec*, the best first."""
    if spec.config.runtime is not None:
        return [spec.config.runtime]
    if spec.config.url is not None:
        return ["http"]
    order = list(RUNTIMES)
    if spec.model_id != DEFAULT_MODEL and has_gpu(spec.config.device):
        order.sort(key=lambda name: name != "sentence-transformers")
    return order


def has_gpu(device: str | None) -> bool:
    """Whether a GPU is requested or seems to be there, without importing torch."""
    if device is not None:
        return device.partition(":")[0] in ("cuda", "mps")
    is_apple = sys.platform == "darwin" and Path("/opt/homebrew").exists()
    return is_apple or Path("/dev/nvidia0").exists()


def load_model(
    model_id: str,
    models: Mapping[str, ModelConfig] = MappingProxyType({}),
    *,
    may_download: bool = False,
) -> EmbeddingModel:
    """The model called *model_id*, loaded once; *models* are the configured ones.

    A model id that is a path to a folder is that folder.

    :raises UnknownModelError: if no runtime can serve it.
    :raises ModelError: if its files are not as expected.
    """
    return load(replace(model_spec(model_id, models), may_download=may_download))


def load(
    spec: ModelSpec,
    *,
    may_be_remote: bool = True,
    on_download: Callable[[], None] = lambda: None,
) -> EmbeddingModel:
    """The model *spec*, loaded once; *on_download* is called before a download.

    :raises UnknownModelError: if no runtime can serve it, or only one that may cost
        money, which *may_be_remote* forbids.
    """
    model = _loaded.get(spec)
    if model is None:
        with _loading:
            model = _loaded.get(spec)
            if model is None:
                candidate = find(spec)
                if candidate.is_remote and not may_be_remote:
                    raise _remote_error(spec, candidate.runtime)
                if candidate.downloads:
                    on_download()
                model = _loaded[spec] = candidate.load()
                if spec.config.unload_after is not None:
                    _schedule_unload(spec, spec.config.unload_after)
    if model.is_remote and not may_be_remote:
        raise _remote_error(spec, model.runtime)
    model.used = time.monotonic()
    return model


def _remote_error(spec: ModelSpec, runtime: str) -> UnknownModelError:
    return UnknownModelError(
        spec.model_id,
        "To let visitors use it, add it under models in the configuration",
        [f"{runtime}: its models may send texts elsewhere and cost money"],
    )


def _schedule_unload(spec: ModelSpec, after_s: float) -> None:
    timer = threading.Timer(after_s, _unload_if_idle, [spec])
    timer.daemon = True
    timer.start()


def _unload_if_idle(spec: ModelSpec) -> None:
    """Free the memory of a model that has not been used, or check again later."""
    model, idle_s = _loaded.get(spec), spec.config.unload_after
    if model is None or idle_s is None:
        return
    left = model.used + idle_s - time.monotonic()
    if left > 0:
        _schedule_unload(spec, left)
        return
    del _loaded[spec], model
    free_memory()
