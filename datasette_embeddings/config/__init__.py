"""The settings, checked once and frozen."""

from __future__ import annotations

from datasette_embeddings.config.collections import (
    CollectionConfig,
    SimilaritySettings,
)
from datasette_embeddings.config.models import RUNTIMES, ModelConfig
from datasette_embeddings.config.settings import (
    DEFAULT_INDEX_MEMORY_MB,
    DEFAULT_LIMIT,
    DEFAULT_MODEL,
    LLM_EMBED,
    PLUGIN_NAME,
    READERS,
    Config,
)

__all__ = [
    "DEFAULT_INDEX_MEMORY_MB",
    "DEFAULT_LIMIT",
    "DEFAULT_MODEL",
    "LLM_EMBED",
    "PLUGIN_NAME",
    "READERS",
    "RUNTIMES",
    "CollectionConfig",
    "Config",
    "ModelConfig",
    "SimilaritySettings",
]
