"""Which models a server offers, and that they are ready."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from datasette_embeddings.config import DEFAULT_MODEL, Config
from datasette_embeddings.databases import folder_of
from datasette_embeddings.errors import (
    ConfigError,
    EmbeddingsError,
    SchemaError,
)
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.models.names import canonical_id, is_path
from datasette_embeddings.models.registry import (
    find,
    load_model,
    loaded_model,
    model_spec,
)
from datasette_embeddings.serving.allowed_models import (
    allowed_model_ids,
    check_allowed,
    config_for,
    found_runtime,
    is_allowed,
    load_allowed,
)
from datasette_embeddings.serving.query_embedder import model_thread
from datasette_embeddings.store.collections import model_ids

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel

logger = logging.getLogger("datasette_embeddings")
# Runtimes whose models never take images
TEXT_RUNTIMES = frozenset({"onnx", "sentence-transformers", "http"})
_started = threading.Event()


def load_for_sql(
    model_id: str, config: Config, conn: sqlite3.Connection
) -> EmbeddingModel:
    """The model called *model_id*, if SQL on *conn* may use it in a server.

    That is the bundled one, one of the configuration, or that of a collection of this
    database, if its files are here: no visitor makes a server load another, nor one
    that may cost money.

    :raises UnknownModelError: for any other, without looking for its files.
    """
    # Asked once a row: the database only where nothing else settles it
    if is_allowed(model_id, config) and not is_path(model_id):
        return load_allowed(model_id, config)
    if canonical_id(model_id) not in _collection_models(conn):
        check_allowed(model_id, config)
    return load_allowed(model_id, config_for(model_id, folder_of(conn), config))


async def is_ready(model_id: str, config: Config, *, within_s: float) -> bool:
    """Whether that model is in memory, or comes there soon; it is loaded if need be.

    True as well where it cannot be loaded: whoever asks it will hear why.
    """
    if loaded_model(model_id, config.models) is not None:
        return True
    # The model thread may be busy: waiting makes sense only if a runtime exists
    if await asyncio.to_thread(found_runtime, model_id, config) is None:
        return True
    loading = model_thread.submit(load_allowed, model_id, config)
    done, _late = await asyncio.wait({asyncio.wrap_future(loading)}, timeout=within_s)
    return bool([task.exception() for task in done])


async def may_take_images(model_id: str, config: Config) -> bool:
    """Whether that model takes images, as far as is known without loading it."""
    model = loaded_model(model_id, config.models)
    if model is not None:
        return model.supports_images
    runtime = await asyncio.to_thread(found_runtime, model_id, config)
    return runtime is not None and runtime not in TEXT_RUNTIMES


def _collection_models(conn: sqlite3.Connection) -> set[str]:
    try:
        return model_ids(conn)
    except SchemaError:
        # Tables of somebody else's shape hold no collections of ours
        return set()


def start(config: Config) -> None:
    """Set the limits of this process, and load what the first visitor will need.

    A model that the configuration names is fetched now if it is not here: later nobody
    may.  A server without the bundled model answers what needs none.

    :raises ConfigError: if a model that the configuration names cannot be had.
    """
    _started.set()
    missing = []
    for model_id in sorted({*allowed_model_ids(config)} - {DEFAULT_MODEL}):
        asked = replace(model_spec(model_id, config.models), may_download=True)
        try:
            if find(asked).downloads:
                logger.warning("Fetching the model %s from the hub", model_id)
                load_model(model_id, config.models, may_download=True)
        except EmbeddingsError as problem:
            missing.append(f"{model_id!r}: {problem}")
            for reason in problem.reasons:
                logger.warning("The model %r: %s", model_id, reason)
    if missing:
        raise ConfigError(missing)
    indexes.memory_limit_mb = config.index_memory_mb
    if config.preload:
        loading = model_thread.submit(load_allowed, config.default_model, config)
        loading.add_done_callback(_log_failure)


def has_started() -> bool:
    """Whether a server has been started in this process."""
    return _started.is_set()


def _log_failure(loading: Future[EmbeddingModel]) -> None:
    problem = loading.exception()
    if problem is not None:
        logger.warning("The default model could not be loaded: %s", problem)
