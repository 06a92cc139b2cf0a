"""Rerankers for visitors: loaded once, never downloaded, one run at a time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from datasette_embeddings.config import Config
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.models.cross_encoder import load_reranker
from datasette_embeddings.search.answers import reranked
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.reranking import Reranking
from datasette_embeddings.serving.allowed_models import LONGEST_LOGGED, log_once

# Not that of the embedding models: queries are embedded meanwhile
reranker_thread = ThreadPoolExecutor(1, thread_name_prefix="embeddings-reranker")
# All that a visitor learns about a reranker that fails
NOT_AVAILABLE = "The reranker is not available here at the moment"


async def rerank_for_visitor(
    query: str, found: Sequence[Match], name: str, config: Config
) -> tuple[Sequence[Match], Reranking]:
    """*found* in the order of the cross-encoder *name*, as far as that was possible.

    Time in which it waits for other searches counts, and that of loading does not.
    """
    try:
        model = await asyncio.to_thread(load_reranker, name, config.models)
        deadline = time.monotonic() + config.rerank_time_limit_ms / 1000
        run = partial(reranked, query, found, model, deadline=deadline)
        loop = asyncio.get_running_loop()
        best_first, how = await loop.run_in_executor(reranker_thread, run)
    except (EmbeddingsError, ImportError) as error:
        _log(name, error)
        return found, Reranking(range(len(found)), reason=NOT_AVAILABLE)
    return best_first, how


def preload(config: Config) -> None:
    """Load the rerankers of *config*, so that the first visitor does not wait."""
    for name in config.rerankers:
        try:
            load_reranker(name, config.models)
        except (EmbeddingsError, ImportError) as error:
            _log(name, error)


def _log(name: str, error: Exception) -> None:
    message = f"Searches are not ordered by the reranker {name}: {error}"
    log_once(message[:LONGEST_LOGGED])


def shown_name(model_id: str) -> str:
    """*model_id* for visitors, who do not learn the paths of folders."""
    return os.path.basename(model_id) if os.path.isabs(model_id) else model_id
