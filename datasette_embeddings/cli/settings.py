"""The configuration file, read without a server, and models by its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from datasette_embeddings.cli.commands import MODEL_VARIABLE
from datasette_embeddings.config import (
    DEFAULT_MODEL,
    LLM_EMBED,
    PLUGIN_NAME,
    CollectionConfig,
    Config,
)
from datasette_embeddings.errors import ConfigError, InvalidInputError, quoted
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.cross_encoder import CrossEncoder, load_reranker
from datasette_embeddings.models.names import (
    ModelSpec,
    absolute,
    is_path,
    is_same_model,
)
from datasette_embeddings.models.registry import load, model_spec, with_llm_keys
from datasette_embeddings.sources.definitions import STDIN
from datasette_embeddings.store.collections import StoredCollection


def config_in(path: Path | None, database: Path | None = None) -> Config:
    """The settings in the file at *path*, with its paths as they are from here.

    Collections at its top level are declared for every database; those under
    ``databases: NAME: plugins:`` for a *database* of that name.  Where the file has no
    default model, it is that of the environment.
    """
    default_model = os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
    default_model = absolute(default_model)
    if path is None:
        return Config(default_model=default_model)
    content = _content(path)
    settings = _plugin_settings(content, path)
    if settings is None or isinstance(settings, Mapping):
        settings = {"default_model": default_model, **(settings or {})}
    config = with_llm_keys(
        Config.from_plugin_config(
            settings, llm_embed=_plugin_settings(content, path, LLM_EMBED)
        )
    )
    collections = dict(config.collections)
    if database is not None:
        of_database = _mapping(_mapping(content, "databases"), database.stem)
        declared = _plugin_settings(of_database, path)
        collections |= Config.from_plugin_config(declared).collections
    models = {
        _model_path(name, path): replace(
            each, path=each.path and _model_path(each.path, path, is_folder=True)
        )
        for name, each in config.models.items()
    }
    return replace(
        config,
        models=models,
        default_model=_model_path(config.default_model, path),
        rerank=config.rerank and _model_path(config.rerank, path),
        collections={name: _located(each, path) for name, each in collections.items()},
    )


def fetched_model(
    model_id: str | None,
    config: Config,
    options: Mapping[str, Any] = MappingProxyType({}),
    *,
    existing: StoredCollection | None = None,
) -> EmbeddingModel:
    """The model called *model_id*; missing files are downloaded, with a note.

    Without *model_id* it is that of the *existing* collection, or the default one.
    *options* are those of a command, which apply instead of its settings.

    :raises InvalidInputError: for a key of a model that runs on this machine.
    """
    models = config.models
    if existing is not None:
        model_id = model_id or existing.model_id
        if is_same_model(model_id, existing.model_id):
            models = existing.embedding_models(models)
    spec = model_spec(model_id or config.default_model, models)
    if options:
        spec = replace(spec, config=replace(spec.config, **options))
    spec = replace(spec, may_download=True)
    model = load(spec, on_download=partial(say_fetching, spec))
    if "api_key" in options and not model.is_remote:
        raise InvalidInputError(
            f"--key goes with a model behind an API, but {model.model_id!r} runs on "
            "this machine; leave out --key"
        )
    return model


def fetched_reranker(model_id: str, config: Config) -> CrossEncoder:
    """The cross-encoder *model_id*; missing files are downloaded, with a note."""
    return load_reranker(
        model_id, config.models, may_download=True, on_download=say_fetching
    )


def say_fetching(spec: ModelSpec) -> None:
    """Say that the files of *spec* are downloaded."""
    click.echo(f"Fetching {spec.hub_name} from the hub", err=True)


def _content(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        # JSON is YAML as well
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigError([f"{path} is neither YAML nor JSON: {line}"]) from error
    if not isinstance(content, Mapping):
        raise ConfigError([f"Expected a mapping in {path}, found {quoted(content)}"])
    return content


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def _plugin_settings(
    content: Mapping[str, Any], path: Path, plugin: str = PLUGIN_NAME
) -> Any:  # noqa: ANN401 - any YAML
    """The settings of *plugin*, with ``$env`` and ``$file`` read as Datasette does."""
    from datasette.utils import resolve_env_secrets

    settings = _mapping(content, "plugins").get(plugin)
    try:
        return resolve_env_secrets(settings, _Environment(os.environ))
    except KeyError as error:
        reason = f"$env for the variable {error}, which is not set"
    except (OSError, UnicodeDecodeError) as error:
        reason = f"$file for one that cannot be read: {error}"
    raise ConfigError([f"{path} asks with {reason}"])


class _Environment(dict[str, str]):
    """Variables, where one that is not set is an error."""

    def get(self, name: str, _default: object = None) -> str:
        return self[name]


def _located(declared: CollectionConfig, path: Path) -> CollectionConfig:
    """*declared* with its paths, which start at the folder of the file at *path*."""
    beside = partial(_beside, path)
    return replace(
        declared,
        model=declared.model and _model_path(declared.model, path),
        rerank=declared.rerank and _model_path(declared.rerank, path),
        input=declared.input and beside(declared.input),
        files=tuple((beside(each), glob) for each, glob in declared.files),
        attach=tuple((alias, beside(each)) for alias, each in declared.attach),
    )


def _model_path(name: str, path: Path, *, is_folder: bool = False) -> str:
    """The path of the folder *name* beside the file at *path*; else *name* itself."""
    folder = _beside(path, name)
    return folder if (is_folder or is_path(name)) and Path(folder).is_dir() else name


def _beside(path: Path, name: str) -> str:
    """The path *name* as it is from the file at *path*; that of a pipe stays."""
    located = path.absolute().parent / Path(name).expanduser()
    return name if name == STDIN else str(located)
