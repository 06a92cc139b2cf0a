"""Which models a server loads for its visitors, and the threads that run them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from datasette_embeddings import errors, memory
from datasette_embeddings.config import DEFAULT_MODEL, Config
from datasette_embeddings.databases import folder_of
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.models import names, registry
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.names import canonical_id, is_path, located
from datasette_embeddings.store.collections import model_ids

Result = TypeVar("Result")
# One run of a model already uses every core
model_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embeddings")
# Remote models use no core, and a slow one must not hold up the others
network_threads = ThreadPoolExecutor(4, thread_name_prefix="embeddings-network")
# Runtimes whose models never embed images
TEXT_RUNTIMES = frozenset({"onnx", "sentence-transformers", "http"})
# All that a visitor learns about a model that is not available
VISITORS_WAY_OUT = "The log of this server says why"
OTHER_FOLDER = (
    "A database may only name a folder that exists below its own. To allow another, "
    "name it as the path of a model in the configuration"
)
# Characters of all reasons together; a model's name may have any length
LONGEST_LOGGED = 2_000
logger = logging.getLogger("datasette_embeddings")
_started = threading.Event()
#: Whether a server has been started in this process
has_started = _started.is_set


class AllowedModel:
    """A model as visitors may use it, of the configuration or of a collection."""

    def __init__(self, model_id: str, config: Config, home: Path | None = None) -> None:
        """*home* is the folder of the database whose collection names the model.

        A folder is loaded only if the configuration names it or it is below *home*: a
        database must not choose which other folders a server reads.
        """
        self.model_id = model_id
        name = canonical_id(model_id)
        is_bundled = name == DEFAULT_MODEL
        folder = None if is_bundled else names.folder_of_collection(model_id, home)
        # With all links resolved, in both
        is_below = folder and home and home.resolve() in folder.parents
        if folder is not None and (is_below or _is_configured(folder, config)):
            config = replace(config, models=located(config.models, model_id, home))
        self.config = config
        self._model: Callable[[], EmbeddingModel | None] = lambda: None
        self.spec = registry.model_spec(model_id, config.models)
        # The bundled model is allowed; a remote model of that name only if configured
        self._is_named = self.spec.is_configured or (
            not is_bundled and name == canonical_id(config.default_model)
        )
        self._is_other_folder = not (
            self._is_named or is_bundled or not is_path(self.spec.model_id)
        )

    def loaded(self) -> EmbeddingModel | None:
        """The model, if :meth:`load` returned it and it is still in memory."""
        model = self._model()
        if model is not None:
            model.used = time.monotonic()
        return model

    def load(self) -> EmbeddingModel:
        """The model, loaded if necessary and never downloaded.

        One that may cost money only if the configuration names it: the owner of a
        database must not spend what belongs to the owner of the server.  The log has
        the reasons of an error, which reveal what is installed and which folders exist.
        """
        model = self.loaded()
        if model is not None:
            return model
        try:
            if self._is_other_folder:
                raise errors.UnknownModelError(self.model_id, OTHER_FOLDER)
            model = registry.load(self.spec, may_be_remote=self._is_named)
        except errors.EmbeddingsError as error:
            log_once("\n  ".join([str(error), *error.reasons])[:LONGEST_LOGGED])
            raise errors.UnknownModelError(
                self.model_id, VISITORS_WAY_OUT, [str(error)]
            ) from error
        # Weak, so that an idle model is unloaded
        self._model = weakref.ref(model)
        memory.release()
        return model

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of *work* in the thread in which the model runs."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    @property
    def threads(self) -> ThreadPoolExecutor:
        """Where the model runs; models are loaded where local ones run."""
        model = self.loaded()
        return network_threads if model and model.is_remote else model_thread

    def may_embed_images(self) -> bool:
        """Whether it embeds images, as far as is known without loading it."""
        model = self.loaded()
        if model is not None:
            return model.supports_images
        if self._is_other_folder:
            return False
        try:
            found = registry.find(self.spec)
        except errors.EmbeddingsError:
            return False
        is_allowed = self._is_named or not found.is_remote
        return is_allowed and found.runtime not in TEXT_RUNTIMES


def allowed_model_ids(config: Config) -> list[str]:
    """The models that every visitor may use: the bundled and the configured ones.

    Those that a key of datasette-llm-embed names may be used too, if llm has them.
    Rerankers give no vectors.
    """
    configured = {
        name
        for name, settings in config.models.items()
        if settings != registry.only_a_key(config.llm_keys.get(name))
        and name not in config.rerankers
    }
    return sorted({DEFAULT_MODEL, config.default_model, *configured})


def is_allowed(model_id: str, config: Config) -> bool:
    """Whether *model_id* is one of :func:`allowed_model_ids`, by any of its names."""
    always = (DEFAULT_MODEL, canonical_id(config.default_model))
    if canonical_id(model_id) in always:
        return True
    return registry.configured_id(model_id, config.models) is not None


def check_allowed(model_id: str, config: Config) -> None:
    """Refuse a model that is not one of :func:`allowed_model_ids`; no file is read."""
    if not is_allowed(model_id, config):
        # Visitors do not learn the paths of folders
        ids = [each for each in allowed_model_ids(config) if not is_path(each)]
        raise errors.UnknownModelError(model_id, f"This server offers {', '.join(ids)}")


def load_for_sql(
    model_id: str, config: Config, conn: sqlite3.Connection
) -> EmbeddingModel:
    """The model called *model_id*, if SQL on *conn* may use it in a server.

    That is the bundled one, one of the configuration, or that of a collection of this
    database, if its files exist here.  The files of any other are not looked for.
    """
    # Called once a row: the database is read only where nothing else decides
    if is_allowed(model_id, config) and not is_path(model_id):
        return AllowedModel(model_id, config).load()
    try:
        of_collections = model_ids(conn)
    except errors.SchemaError:
        # Tables of another program have no collections
        of_collections = set()
    if canonical_id(model_id) not in of_collections:
        check_allowed(model_id, config)
    return AllowedModel(model_id, config, folder_of(conn)).load()


def _is_configured(folder: Path, config: Config) -> bool:
    """Whether the configuration names *folder* as any of its models."""
    named = {config.default_model, *config.models}
    named |= {each.path for each in config.models.values() if each.path}
    named |= {each.model for each in config.collections.values() if each.model}
    return any(names.is_same_folder(each, folder) for each in named)


def start(config: Config) -> None:
    """Set the limits of this process, and load what the first visitor needs.

    A missing model that the configuration names is downloaded now, and never later.  A
    server without the bundled model answers what needs none.

    :raises ConfigError: if a model that the configuration names is not available.
    """
    _started.set()
    missing = []
    for model_id in sorted({*allowed_model_ids(config)} - {DEFAULT_MODEL}):
        spec = replace(registry.model_spec(model_id, config.models), may_download=True)
        try:
            if registry.find(spec).downloads:
                logger.warning("Fetching the model %s from the hub", model_id)
                registry.load(spec)
        except errors.EmbeddingsError as error:
            missing.append(f"{model_id!r}: {error}")
            for reason in error.reasons:
                logger.warning("The model %r: %s", model_id, reason)
    if missing:
        raise errors.ConfigError(missing)
    indexes.configure(config)
    memory.give_back_large_arrays()
    if config.preload:
        # Not on the event loop: the look-up reads folders, and may import llm
        model_thread.submit(_preload, config)


def _preload(config: Config) -> None:
    try:
        AllowedModel(config.default_model, config).load()
    except Exception as error:  # the server answers what needs no model
        logger.warning("The default model could not be loaded: %s", error)


@lru_cache(maxsize=100)
def log_once(message: str) -> None:
    """Log *message* once, however often visitors cause it."""
    logger.warning(message)
