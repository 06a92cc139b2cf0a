"""The plugin's settings, checked once and frozen.

Every setting stands with its default in ``metadata.example.yml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from datasette_embeddings.config.collections import CollectionConfig, collections
from datasette_embeddings.config.models import ModelConfig, models
from datasette_embeddings.config.readers import count, flag
from datasette_embeddings.errors import ConfigError

PLUGIN_NAME = "datasette-embeddings"
LLM_EMBED = "datasette-llm-embed"
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_LIMIT = 10
DEFAULT_INDEX_MEMORY_MB = 256


@dataclass(frozen=True)
class Config:
    """What ``plugins: datasette-embeddings:`` says."""

    default_model: str = DEFAULT_MODEL
    models: Mapping[str, ModelConfig] = field(
        default_factory=lambda: MappingProxyType({})
    )
    #: Keys of models of llm, from the settings of datasette-llm-embed
    llm_keys: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    collections: Mapping[str, CollectionConfig] = field(
        default_factory=lambda: MappingProxyType({})
    )
    preload: bool = True
    max_query_length: int = 2_000
    max_size: int = 100
    max_text_length: int = 100_000
    max_inputs: int = 2_048
    max_body_bytes: int = 2_000_000
    max_image_pixels: int = 25_000_000
    max_searches: int = 3
    max_waiting: int = 128
    #: Datasette's allow block for the embedding API; None leaves it to Datasette
    allow_embed: object = None
    index_memory_mb: int = DEFAULT_INDEX_MEMORY_MB

    @classmethod
    def from_plugin_config(
        cls, settings: object, *, llm_embed: object = None
    ) -> Config:
        """The configuration in *settings*, as Datasette hands it over.

        *llm_embed* are the settings of datasette-llm-embed, whose keys are used too.

        :raises ConfigError: listing everything that is wrong with it.
        """
        keys = _llm_keys(llm_embed)
        if settings is None:
            return cls(llm_keys=keys)
        if not isinstance(settings, Mapping):
            raise ConfigError([f"Expected a mapping, found {settings!r}"])
        problems: list[str] = []
        known: dict[str, object] = {}
        for name, value in settings.items():
            reader = READERS.get(name)
            if reader is None:
                problems.append(
                    f"Unknown setting {name!r}; there are {', '.join(sorted(READERS))}"
                )
                continue
            try:
                known[name] = reader(value)
            except ValueError as error:
                # What is said of models may hold a key
                found = "" if name == "models" else f", found {value!r}"
                problems.append(f"{name}: {error}{found}")
        if problems:
            raise ConfigError(problems)
        return cls(llm_keys=keys, **known)  # type: ignore[arg-type]  # READERS has one reader a field


def _llm_keys(settings: object) -> Mapping[str, str]:
    """The keys that the settings of datasette-llm-embed name, by model.

    That plugin ignores what it cannot use, such as a key whose variable is not set.
    """
    keys = settings.get("keys") if isinstance(settings, Mapping) else None
    given = keys.items() if isinstance(keys, Mapping) else ()
    return MappingProxyType(
        {
            str(name): key.strip()
            for name, key in given
            if isinstance(key, str) and key.strip()
        }
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a name")
    return value


def _allow_block(value: object) -> object:
    if not isinstance(value, bool | Mapping | None):
        raise ValueError("expected true, false or an allow block of Datasette's")
    return value


READERS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {
        "default_model": _text,
        "models": models,
        "collections": collections,
        "preload": flag,
        "max_query_length": count,
        "max_size": count,
        "max_text_length": count,
        "max_inputs": count,
        "max_body_bytes": count,
        "max_image_pixels": count,
        "max_searches": count,
        "max_waiting": count,
        "allow_embed": _allow_block,
        "index_memory_mb": count,
    }
)
