"""The settings of a Datasette, checked, and what its connections may do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from datasette_embeddings.config import LLM_EMBED, PLUGIN_NAME, Config
from datasette_embeddings.errors import ConfigError
from datasette_embeddings.models.registry import with_llm_keys
from datasette_embeddings.serving import models
from datasette_embeddings.serving.models import load_for_sql
from datasette_embeddings.serving.sql_errors import report_reason
from datasette_embeddings.sql.context import Policy
from datasette_embeddings.web.compat import is_immutable

if TYPE_CHECKING:
    from datasette.app import Datasette

# What an owner's code may register, where no distribution is installed
PACKAGE = __name__.partition(".")[0]


_configs: WeakKeyDictionary[Datasette, Config] = WeakKeyDictionary()


def checked_config(datasette: Datasette) -> Config:
    """The settings under ``plugins: datasette-embeddings:``, read once per Datasette.

    :raises StartupError: Datasette's own, with all faults.
    """
    if datasette not in _configs:
        with startup_errors():
            _configs[datasette] = with_llm_keys(
                Config.from_plugin_config(
                    datasette.plugin_config(PLUGIN_NAME),
                    llm_embed=datasette.plugin_config(LLM_EMBED),
                )
            )
    return _configs[datasette]


def start(datasette: Datasette) -> None:
    """Start serving, if all that the configuration asks for is here.

    :raises StartupError: as :func:`checked_config`.
    """
    config = checked_config(datasette)
    with startup_errors():
        models.start(config)


@contextmanager
def startup_errors() -> Iterator[None]:
    """A wrong configuration as the error with which Datasette refuses to start."""
    from datasette.utils import StartupError

    try:
        yield
    except ConfigError as problem:
        raise StartupError(str(problem)) from problem


@cache
def registered_name() -> str:
    """What Datasette calls this plugin in the addresses of its static files.

    Normally the name of the distribution. Datasette is asked, because it takes the
    older one's where an environment holds both.
    """
    from datasette.plugins import pm

    for plugin, distribution in pm.list_plugin_distinfo():
        if getattr(plugin, "__name__", None) == PACKAGE:
            return str(distribution.metadata["name"])
    return PACKAGE


def server_policy(
    datasette: Datasette, database: str | None, conn: sqlite3.Connection
) -> Policy:
    """What SQL on *conn*, a connection of Datasette's, may use."""
    config = checked_config(datasette)
    return Policy(
        load=partial(load_for_sql, config=config, conn=conn),
        default_model=config.default_model,
        immutable=is_immutable(datasette, database),
        time_limit_s=datasette.setting("sql_time_limit_ms") / 1000,
        max_text_length=config.max_text_length,
        max_image_pixels=config.max_image_pixels,
        report=report_reason,
        tells_errors=False,
    )
