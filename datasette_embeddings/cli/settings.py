"""The configuration file, read without a server."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.config import LLM_EMBED, PLUGIN_NAME, CollectionConfig, Config
from datasette_embeddings.errors import ConfigError
from datasette_embeddings.models.names import is_path
from datasette_embeddings.models.registry import with_llm_keys
from datasette_embeddings.sources.definitions import STDIN

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Where -m stands for something else
config_option = click.option(
    "metadata_file",
    "--config",
    type=_file,
    help="The YAML or JSON file with the settings, as Datasette takes it.",
)
metadata_option = click.option(
    "metadata",
    "-m",
    "--metadata",
    "--config",
    type=_file,
    help="The YAML or JSON file with the settings, as Datasette takes it.",
)


def settings_for(
    path: Path | None, database: Path
) -> tuple[Config, Mapping[str, CollectionConfig]]:
    """The settings in the file at *path*, and the collections declared for *database*.

    Those at the top level are declared for every database; those under
    ``databases: NAME: plugins:`` for the one of that name.

    :raises ConfigError: for a file that is neither YAML nor JSON, or wrong settings.
    """
    if path is None:
        return Config(), {}
    content = _content(path)
    config = _config(content, path)
    databases = content.get("databases") or {}
    own = databases.get(database.stem) if isinstance(databases, Mapping) else None
    declared = _plugin(own if isinstance(own, Mapping) else {}) or {}
    if not isinstance(declared, Mapping):
        raise ConfigError([f"Expected a mapping under databases, found {declared!r}"])
    inner = Config.from_plugin_config({"collections": declared.get("collections", {})})
    found = {**config.collections, **inner.collections}
    return config, {name: _located(each, path) for name, each in found.items()}


def config_in(path: Path | None) -> Config:
    """The settings in the file at *path*, without what is for one database.

    :raises ConfigError: as :func:`settings_for`.
    """
    if path is None:
        return Config()
    return _config(_content(path), path)


def _config(content: Mapping[str, Any], path: Path) -> Config:
    config = with_llm_keys(
        Config.from_plugin_config(
            _resolved(_plugin(content), path),
            llm_embed=_resolved(_plugin(content, LLM_EMBED), path),
        )
    )
    folder = path.absolute().parent
    models = {
        _model_path(name, folder): replace(
            each, path=each.path and _model_path(each.path, folder, is_folder=True)
        )
        for name, each in config.models.items()
    }
    default = _model_path(config.default_model, folder)
    return replace(config, models=models, default_model=default)


def _model_path(name: str, folder: Path, *, is_folder: bool = False) -> str:
    """*name*, or where it is a folder beside the settings, in *folder*, its path.

    What is not there is read from where the program runs.
    """
    path = folder / Path(name).expanduser()
    is_here = (is_folder or is_path(name)) and path.is_dir()
    return str(path) if is_here else name


def _resolved(settings: Any, path: Path) -> Any:  # noqa: ANN401 - whatever YAML holds
    """*settings* with the values that ``$env`` and ``$file`` name, as Datasette's."""
    from datasette.utils import resolve_env_secrets

    try:
        with warnings.catch_warnings():
            # Datasette leaves the file that it read to be closed by chance
            warnings.simplefilter("ignore", ResourceWarning)
            return resolve_env_secrets(settings, _Environment(os.environ))
    except KeyError as error:
        raise ConfigError(
            [f"{path} asks with $env for the variable {error}, which is not set"]
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            [f"{path} asks with $file for one that cannot be read: {error}"]
        ) from error


class _Environment(dict[str, str]):
    """Variables, where one that is not set is an error."""

    def get(self, name: str, _default: object = None) -> str:
        return self[name]


def _located(declared: CollectionConfig, settings: Path) -> CollectionConfig:
    """*declared* with its paths, which are given from the folder of *settings*."""
    folder = settings.absolute().parent

    def real(path: str) -> str:
        return path if path == STDIN else str(folder / Path(path).expanduser())

    return replace(
        declared,
        model=declared.model and _model_path(declared.model, folder),
        input=declared.input and real(declared.input),
        files=tuple((real(each), glob) for each, glob in declared.files),
        attach=tuple((alias, real(each)) for alias, each in declared.attach),
    )


def _plugin(content: Mapping[str, Any], name: str = PLUGIN_NAME) -> Any:  # noqa: ANN401 - whatever YAML holds
    plugins = content.get("plugins") or {}
    return plugins.get(name) if isinstance(plugins, Mapping) else None


def _content(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        # JSON is YAML as well
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigError([f"{path} is neither YAML nor JSON: {line}"]) from error
    if not isinstance(content, Mapping):
        raise ConfigError([f"Expected a mapping in {path}, found {content!r}"])
    return content
