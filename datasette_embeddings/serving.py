"""What a server adds: which models SQL may use, and a thread to run them in."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from datasette_embeddings import store
from datasette_embeddings.config import DEFAULT_MODEL, Config
from datasette_embeddings.errors import ConfigProblem, SchemaMismatch, UnknownModel
from datasette_embeddings.index import indexes
from datasette_embeddings.models.cache import query_vector
from datasette_embeddings.models.registry import canonical_id, is_present, load_model

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel
    from datasette_embeddings.vectors import Vector

logger = logging.getLogger("datasette_embeddings")

# Why functions failed in the request that is being answered
_reasons: ContextVar[list[str] | None] = ContextVar("embeddings_reasons", default=None)
# One run of a model already uses every core
_model_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embeddings")


def load_allowed(
    model_id: str, config: Config, conn: sqlite3.Connection
) -> EmbeddingModel:
    """The model called *model_id*, if SQL on *conn* may use it in a server.

    That is the bundled one, one of the configuration, or that of a collection of this
    database, if its files are here: no visitor makes a server load another.

    :raises UnknownModel: for any other, without looking for its files.
    """
    wanted = canonical_id(model_id)
    offered = {DEFAULT_MODEL, config.default_model, *config.models}
    if wanted not in offered and wanted not in _collection_models(conn):
        raise UnknownModel(
            model_id,
            [f"the models that this server offers: {', '.join(sorted(offered))}"],
        )
    return load_model(model_id, config.models)


def _collection_models(conn: sqlite3.Connection) -> set[str]:
    try:
        return store.model_ids(conn)
    except SchemaMismatch:
        # Tables of somebody else's shape hold no collections of ours
        return set()


def report_reason(reason: str) -> None:
    """Keep why a function failed for the page that is being made, if any is."""
    reasons = _reasons.get()
    if reasons is not None and reason not in reasons:
        reasons.append(reason)


@contextmanager
def collected_reasons() -> Iterator[None]:
    """Within, :func:`reasons` tells why functions failed, to nobody else."""
    token = _reasons.set([])
    try:
        yield
    finally:
        _reasons.reset(token)


def reasons() -> list[str]:
    """Why functions failed in the request that is being answered."""
    return list(_reasons.get() or ())


def start(config: Config) -> None:
    """Set the limits of this process, and load what the first visitor will need.

    :raises ConfigProblem: if a model of the configuration is not here.
    """
    missing = [
        f"The model {model_id!r} is not here: expected the bundled one, or under "
        "models a folder with modules.json, tokenizer.json and onnx/model.onnx"
        for model_id in (config.default_model, *config.models)
        if not is_present(model_id, config.models)
    ]
    if missing:
        raise ConfigProblem(missing)
    indexes.memory_limit_mb = config.index_memory_mb
    if config.preload:
        loading = _model_thread.submit(load_model, config.default_model, config.models)
        loading.add_done_callback(_log_failure)


def _log_failure(loading: Future[EmbeddingModel]) -> None:
    problem = loading.exception()
    if problem is not None:
        logger.warning("The default model could not be loaded: %s", problem)


async def query_vector_in_thread(model_id: str, text: str, config: Config) -> Vector:
    """The vector of *text* as a question, worked out beside the event loop."""
    return await _in_model_thread(
        lambda: query_vector(load_model(model_id, config.models), text)
    )


async def _in_model_thread(work: Callable[[], Vector]) -> Vector:
    return await asyncio.get_running_loop().run_in_executor(_model_thread, work)
