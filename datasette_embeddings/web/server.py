"""The configuration of a Datasette, what its SQL may use, and why SQL failed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from datasette.app import Datasette
from datasette.utils import StartupError

from datasette_embeddings.config import LLM_EMBED, PLUGIN_NAME, CollectionConfig, Config
from datasette_embeddings.errors import ConfigError
from datasette_embeddings.models.registry import with_llm_keys
from datasette_embeddings.serving import allowed_models, reranking
from datasette_embeddings.serving.allowed_models import AllowedModel, load_for_sql
from datasette_embeddings.sql.context import Policy
from datasette_embeddings.web.compat import is_immutable

_configs: WeakKeyDictionary[Datasette, Config] = WeakKeyDictionary()
# By model id and folder of the database
MOST_KEPT = 100
_models: WeakKeyDictionary[Datasette, dict[tuple[str, Path | None], AllowedModel]]
_models = WeakKeyDictionary()
#: The settings of each database, where some of them name a reranker
with_rerankers: WeakKeyDictionary[Datasette, dict[str, Config]] = WeakKeyDictionary()
# Why SQL functions failed in the request that is being answered
_sql_errors: ContextVar[list[str] | None] = ContextVar(
    "embeddings_sql_errors", default=None
)


def config_of(datasette: Datasette) -> Config:
    """The settings under ``plugins: datasette-embeddings:``, read once."""
    config = _configs.get(datasette)
    if config is None:
        with _startup_errors():
            config = _configs[datasette] = with_llm_keys(
                Config.from_plugin_config(
                    datasette.plugin_config(PLUGIN_NAME),
                    llm_embed=datasette.plugin_config(LLM_EMBED),
                )
            )
    return config


async def allowed_model(
    datasette: Datasette, model_id: str, home: Path | None = None
) -> AllowedModel:
    """The model as visitors may use it; *home* as in :class:`AllowedModel`."""
    models = _models.setdefault(datasette, {})
    key = model_id, home
    # Only a loaded one is kept: the folders of another may change
    if key not in models or models[key].loaded() is None:
        # Not on the event loop: the look-up reads folders, and may import llm
        config = config_of(datasette)
        found = await asyncio.to_thread(AllowedModel, model_id, config, home)
        # A model may have any number of names
        if len(models) >= MOST_KEPT:
            models.clear()
        models[key] = found
    return models[key]


async def start(datasette: Datasette) -> None:
    """Start serving: fetch and load what the configuration names."""
    # Not on the event loop: looking for models may import llm and torch
    config = await asyncio.to_thread(config_of, datasette)
    with _startup_errors():
        await asyncio.to_thread(allowed_models.start, config)
        configs = {name: of_database(datasette, name) for name in datasette.databases}
    if any(each.rerankers for each in configs.values()):
        with_rerankers[datasette] = configs
        if config.preload:
            for each in configs.values():
                reranking.reranker_thread.submit(reranking.preload, each)


def of_database(datasette: Datasette, database: str) -> Config:
    """The settings of *datasette*, with those of *database* that a server needs."""
    config, own = config_of(datasette), own_collections(datasette, database)
    return replace(config, collections={**config.collections, **own}) if own else config


def own_collections(
    datasette: Datasette, database: str
) -> Mapping[str, CollectionConfig]:
    """The collections in the settings of *database*, if a server needs any of them."""
    settings = datasette.plugin_config(PLUGIN_NAME, database=database, fallback=False)
    if not any(each in str(settings) for each in ("'rerank'", "'live'")):
        return {}
    return Config.from_plugin_config(settings).collections


@contextmanager
def _startup_errors() -> Iterator[None]:
    """A wrong configuration as the error with which Datasette refuses to start."""
    try:
        yield
    except ConfigError as error:
        raise StartupError(str(error)) from error


def server_policy(
    datasette: Datasette, database: str | None, conn: sqlite3.Connection
) -> Policy:
    """What SQL on *conn*, a connection of Datasette's, may use."""
    config = config_of(datasette)
    return Policy(
        load=partial(load_for_sql, config=config, conn=conn),
        default_model=config.default_model,
        immutable=is_immutable(datasette, database),
        time_limit_s=datasette.setting("sql_time_limit_ms") / 1000,
        max_text_length=config.max_text_length,
        max_image_pixels=config.max_image_pixels,
        report=_report_sql_error,
        expose_errors=False,
    )


def with_sql_errors(app: Any, lifespan: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """*app*, with the reasons why SQL functions fail collected for each request.

    *lifespan* is called with *app* for the start and the end of the server.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        if scope["type"] == "lifespan":
            await lifespan(app, scope, receive, send)
            return
        token = _sql_errors.set([])
        try:
            await app(scope, receive, send)
        finally:
            _sql_errors.reset(token)

    return wrapped


def _report_sql_error(reason: str) -> None:
    errors = _sql_errors.get()
    if errors is not None and reason not in errors:
        errors.append(reason)


def sql_errors_html() -> str | None:
    """Why SQL functions failed in this request, as messages on its page."""
    errors = _sql_errors.get() or ()
    lines = [f'<p class="message-error">{escape(each)}</p>' for each in errors]
    return "".join(lines) or None
