"""Which models a server offers to its visitors."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from datasette_embeddings.config import DEFAULT_MODEL, Config
from datasette_embeddings.errors import (
    EmbeddingsError,
    ModelLoadingError,
    UnknownModelError,
)
from datasette_embeddings.models.names import (
    absolute,
    canonical_id,
    folder_of_collection,
    hub_name,
    is_below,
    is_path,
    is_same_folder,
    located,
)
from datasette_embeddings.models.registry import (
    configured_id,
    find,
    load_model,
    model_spec,
    only_a_key,
)

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel

# All that a visitor learns about a model that is not available
VISITORS_WAY_OUT = "The log of this server says why"
logger = logging.getLogger("datasette_embeddings")


def allowed_model_ids(config: Config) -> list[str]:
    """The models that every visitor may use: the bundled and the configured ones.

    Those that a key of datasette-llm-embed names may be used too, if llm has them.
    """
    configured = {
        name
        for name, settings in config.models.items()
        if settings != only_a_key(config.llm_keys.get(name))
    }
    return sorted({DEFAULT_MODEL, config.default_model, *configured})


def is_allowed(model_id: str, config: Config) -> bool:
    """Whether *model_id* is one of :func:`allowed_model_ids`, by any of its names."""
    if canonical_id(model_id) in map(canonical_id, allowed_model_ids(config)):
        return True
    return configured_id(model_id, config.models) is not None


def check_allowed(model_id: str, config: Config) -> None:
    """Refuse a model that is not one of :func:`allowed_model_ids`.

    :raises UnknownModelError: for any other, without looking for its files.
    """
    if not is_allowed(model_id, config):
        # Visitors do not learn the paths of folders
        offered = ", ".join(
            each for each in allowed_model_ids(config) if not is_path(each)
        )
        raise UnknownModelError(model_id, f"This server offers {offered}")


def config_for(model_id: str, home: Path | None, config: Config) -> Config:
    """*config* with the folder of *model_id*, the model of a database in *home*.

    Only a folder that the configuration names, or one below *home*: a database must
    not choose which other folders a server reads.
    """
    if canonical_id(model_id) == DEFAULT_MODEL:
        return config
    folder = folder_of_collection(model_id, home)
    if folder is None:
        return config
    is_allowed = home is not None and is_below(folder, home)
    if not is_allowed and not _is_named(folder, config):
        return config
    return replace(config, models=located(config.models, model_id, home))


def _is_named(folder: Path, config: Config) -> bool:
    """Whether the configuration names *folder* as any of its models."""
    named = {config.default_model, *config.models}
    named |= {each.path for each in config.models.values() if each.path}
    named |= {each.model for each in config.collections.values() if each.model}
    return any(is_same_folder(each, folder) for each in named)


def load_allowed(model_id: str, config: Config) -> EmbeddingModel:
    """The model called *model_id*, of a collection or of the configuration.

    A folder is loaded only where *config* names it; see :func:`config_for`.

    :raises UnknownModelError: if it cannot be loaded, or may cost money and the
        configuration does not name it: the owner of a database does not spend what
        belongs to the owner of the server.  The log has the reasons, which tell what is
        installed and which folders there are.
    :raises ModelLoadingError: if another caller is still loading it.
    """
    try:
        return _loaded(model_id, config)
    except ModelLoadingError:
        raise
    except EmbeddingsError as problem:
        log_once("\n  ".join([str(problem), *problem.reasons])[:LONGEST_LOGGED])
        raise UnknownModelError(model_id, VISITORS_WAY_OUT, [str(problem)]) from problem


def found_runtime(model_id: str, config: Config) -> str | None:
    """The runtime with which :func:`load_allowed` would load that model, if any.

    Nothing is loaded.
    """
    try:
        is_named = _check_named(model_id, config)
        found = find(model_spec(model_id, config.models))
    except EmbeddingsError:
        return None
    return None if found.is_remote and not is_named else found.runtime


def _loaded(model_id: str, config: Config) -> EmbeddingModel:
    is_named = _check_named(model_id, config)
    return load_model(model_id, config.models, may_be_remote=is_named)


def _check_named(model_id: str, config: Config) -> bool:
    """Whether the configuration names *model_id*.

    :raises UnknownModelError: for a folder that it does not name.
    """
    is_named = is_allowed(model_id, config)
    if canonical_id(model_id) == DEFAULT_MODEL:
        # Offered without a word of the owner's, because it is bundled
        is_named = configured_id(model_id, config.models) is not None
    if not is_named and is_path(absolute(hub_name(model_id))):
        raise UnknownModelError(
            model_id,
            "A database may only name a folder that exists below its own. To allow "
            "another, name it as the path of a model in the configuration",
        )
    return is_named


# Characters of all reasons together; a model's name may have any length
LONGEST_LOGGED = 2_000


@lru_cache(maxsize=100)
def log_once(message: str) -> None:
    """Log *message* once, however often visitors cause it."""
    logger.warning(message)
