"""Which models a server offers to its visitors."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from datasette_embeddings.config import DEFAULT_MODEL, Config
from datasette_embeddings.errors import UnknownModel
from datasette_embeddings.models.registry import (
    canonical_id,
    configured_id,
    load_model,
)

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel

logger = logging.getLogger("datasette_embeddings")


def offered_models(config: Config) -> list[str]:
    """The models that every visitor may use: the bundled and the configured ones."""
    return sorted({DEFAULT_MODEL, config.default_model, *config.models})


def is_offered(model_id: str, config: Config) -> bool:
    """Whether *model_id* is one of :func:`offered_models`, by any of its names."""
    if canonical_id(model_id) in map(canonical_id, offered_models(config)):
        return True
    return configured_id(model_id, config.models) is not None


def check_offered(model_id: str, config: Config) -> None:
    """Refuse a model that is not one of :func:`offered_models`.

    :raises UnknownModel: for any other, without looking for its files.
    """
    if not is_offered(model_id, config):
        offered = ", ".join(offered_models(config))
        raise UnknownModel(model_id, f"This server offers {offered}")


def load_offered(model_id: str, config: Config) -> EmbeddingModel:
    """The model called *model_id*, of a collection or of the configuration.

    :raises UnknownModel: for one that may cost money, unless the configuration names
        it: whoever made a database does not spend what is somebody else's.
    """
    is_named = is_offered(model_id, config)
    if canonical_id(model_id) == DEFAULT_MODEL:
        # Offered without a word of the owner's, because it is bundled
        is_named = configured_id(model_id, config.models) is not None
    try:
        return load_model(model_id, config.models, may_be_remote=is_named)
    except UnknownModel as problem:
        _log_once(f"{problem}. Tried: {'; '.join(problem.reasons)}")
        raise


@lru_cache(maxsize=100)
def _log_once(message: str) -> None:
    """Log *message*, however often visitors ask for what it is about."""
    logger.warning(message)
