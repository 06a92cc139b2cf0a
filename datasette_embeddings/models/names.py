"""Models before they are loaded: ids, aliases, folders, specs and settings.

Nothing here loads a model or imports a runtime.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.distribution import install_command

# The prefix that llm-sentence-transformers puts before the name of a repository
LLM_PREFIX = "sentence-transformers/"
# Names of the bundled model: on the hub, in llm's plugin and in its README
BUNDLED_ALIASES = frozenset({DEFAULT_MODEL, "all-MiniLM-L6-v2", "mini-l6"})
# llm-clip has one model, clip-ViT-B-32 with the weights that OpenAI published
OPEN_CLIP_ALIASES = {"clip": "open_clip/ViT-B-32/openai"}


@dataclass(frozen=True)
class ModelSettings:
    """What decides whether vectors can be compared; None where it is not known."""

    model_id: str
    dimensions: int | None = None
    #: The commit on the hub
    revision: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    #: Whether each vector has length 1
    normalized: bool | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A requested model: id, configuration, and whether it may be downloaded."""

    model_id: str
    config: ModelConfig = ModelConfig()
    #: The configuration names it
    is_configured: bool = field(default=False, compare=False)
    #: One model is loaded once, whether it was downloaded or not
    may_download: bool = field(default=False, compare=False)
    #: Files in the hub's cache do not count: a download may have been interrupted
    fetches_again: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        """The name of the model in its runtime."""
        return self.config.model or self.model_id

    @property
    def hub_name(self) -> str:
        """The name of the model on the hub."""
        return canonical_id(self.name)

    @property
    def is_on_hub(self) -> bool:
        """Whether its name is that of a repository, and no folder is configured."""
        return self.config.path is None and is_repository(self.hub_name)

    @property
    def advice(self) -> str:
        """How to download it."""
        return f"Download it with: datasette embeddings models fetch {self.model_id}"


@dataclass(frozen=True)
class Candidate:
    """A runtime that can serve a requested model."""

    runtime: str
    #: Returns the loaded model, an EmbeddingModel
    load: Callable[[], Any]
    #: Loading downloads its files
    downloads: bool = False
    #: It may send texts to another machine, and cost money
    is_remote: bool = False


@dataclass(frozen=True)
class Unavailable:
    """The reason why a runtime cannot serve a requested model."""

    reason: str
    #: What to do about it, if the model looks like one of this runtime
    way_out: str | None = None


def not_installed(library: str, *, is_likely: bool = False) -> Unavailable:
    """The answer of a runtime without its *library*, *is_likely* that of the model."""
    install = install_command(library)
    way_out = f"Install its library with: {install}" if is_likely else None
    return Unavailable(f"the library is not installed; {install}", way_out)


def is_repository(name: str) -> bool:
    """Whether *name* has the form of a repository on the hub, USER/MODEL."""
    user, _slash, model = name.partition("/")
    return bool(user and model and "/" not in model and not name.startswith((".", "~")))


@lru_cache(maxsize=128)
def canonical_id(model_id: str) -> str:
    """The name on the hub of *model_id*; all aliases of a model share it.

    A name of one part is a repository of the organisation sentence-transformers.
    """
    name = model_id.removeprefix(LLM_PREFIX)
    name = name if "/" in name else model_id
    return DEFAULT_MODEL if name in BUNDLED_ALIASES else name


@lru_cache(maxsize=128)
def stored_id(model_id: str) -> str:
    """The id that a collection stores: aliases of the bundled model are resolved."""
    return DEFAULT_MODEL if canonical_id(model_id) == DEFAULT_MODEL else model_id


def llm_id(model_id: str, config: ModelConfig, *, has_passage_prompt: bool) -> str:
    """The id that llm gives to *model_id*, a sentence-transformers model, if it can.

    llm adds no prompt and knows no revision. A model whose vectors would differ in llm
    keeps its own id, so that llm does not mix vectors of two kinds.
    """
    is_plain = config == replace(
        config, path=None, model=None, revision=None, dimensions=None
    )
    if (
        has_passage_prompt
        or not is_plain
        or not is_repository(model_id)
        or os.path.isdir(model_id)
        or model_id.startswith(LLM_PREFIX)
    ):
        return model_id
    return f"{LLM_PREFIX}{model_id}"


def is_same_model(one: str, other: str) -> bool:
    """Whether both ids name the same model."""
    one, other = canonical_id(one), canonical_id(other)
    if is_path(one) and is_path(other):
        return one == other or is_same_folder(one, Path(other).expanduser().resolve())
    return OPEN_CLIP_ALIASES.get(one, one) == OPEN_CLIP_ALIASES.get(other, other)


def is_path(name: str) -> bool:
    """Whether *name* can only be a path."""
    return name.startswith((".", "~")) or os.path.isabs(name)


def absolute(name: str) -> str:
    """The absolute path of the folder called *name*, or *name* if there is none.

    If the folder itself is a link, it is not resolved.
    """
    path = os.path.expanduser(name)
    if name == DEFAULT_MODEL or not os.path.isdir(path):
        return name
    parent, last = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(parent), last)


def stored_name(name: str, home: Path | None) -> str:
    """The id that a collection stores for the model *name*, an absolute path or an id.

    A path is stored relative to *home*, the folder of the database file.  It stays
    absolute for a database in memory, and if both share only the root folder.
    """
    if home is None or not os.path.isabs(name):
        return name
    try:
        if os.path.commonpath([name, home]) == os.path.abspath(os.sep):
            return name
        relative = Path(os.path.relpath(name, home)).as_posix()
    except ValueError:
        # On another drive
        return name
    return relative if relative.startswith(".") else f"./{relative}"


def folder_of_collection(model_id: str, home: Path | None) -> Path | None:
    """The folder that *model_id* names in a database whose file lies in *home*.

    Release 0.2a0 stored a path as typed, relative to the working directory.
    """
    name = canonical_id(model_id)
    found = absolute(name)
    if home is not None and is_path(name):
        in_home = absolute(str(home / Path(name).expanduser()))
        found = in_home if os.path.isdir(in_home) else found
    return Path(found).resolve() if os.path.isabs(found) else None


def located(
    models: Mapping[str, ModelConfig], model_id: str, home: Path | None
) -> Mapping[str, ModelConfig]:
    """*models* with the folder that *model_id* names in a database in *home*, if any.

    The settings of that folder apply under any name.
    """
    if model_id == DEFAULT_MODEL:
        return models
    folder = folder_of_collection(model_id, home)
    if folder is None:
        return models
    for name, config in models.items():
        if is_same_folder(config.path or name, folder):
            return {**models, model_id: replace(config, path=str(folder))}
    return {**models, model_id: ModelConfig(path=str(folder))}


def is_same_folder(name: str, folder: Path) -> bool:
    """Whether *name*, relative to the working directory, names *folder*, resolved."""
    return os.path.realpath(os.path.expanduser(name)) == str(folder)
