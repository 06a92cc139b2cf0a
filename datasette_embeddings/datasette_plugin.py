"""Datasette's hooks, each a few lines; what they call stands on lower floors."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

from datasette_embeddings import compat, permissions, serving
from datasette_embeddings.cli import embeddings
from datasette_embeddings.routes import ROUTES
from datasette_embeddings.sql_functions import Policy, register

if TYPE_CHECKING:
    import click
    from datasette.app import Datasette

# Not datasette.hookimpl, which would import all of Datasette at once
hookimpl = HookimplMarker("datasette")


@hookimpl
def register_commands(cli: click.Group) -> None:
    cli.add_command(embeddings)


@hookimpl
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    return list(ROUTES)


@hookimpl
def startup(datasette: Datasette) -> None:
    serving.preload(compat.checked_config(datasette))


@hookimpl
def prepare_connection(
    conn: sqlite3.Connection, database: str | None, datasette: Datasette
) -> None:
    config = compat.checked_config(datasette)
    load = partial(serving.load_allowed, config=config, conn=conn)
    immutable = compat.is_immutable(datasette, database)
    register(conn, Policy(load, config.default_model, immutable))


@hookimpl
def menu_links(datasette: Datasette) -> list[dict[str, str]]:
    return [
        {"href": datasette.urls.path("/-/embeddings"), "label": "Search by meaning"}
    ]


@hookimpl
async def permission_allowed(
    datasette: Datasette, actor: compat.Actor, action: str, resource: object
) -> bool | None:
    """0.65's way to deny the raw tables; 1.0 does not know this hook."""
    if action != "view-table" or not isinstance(resource, tuple):
        return None
    return await permissions.opinion_on_table(datasette, actor, *resource)


@hookimpl
def permission_resources_sql(
    datasette: Datasette, actor: compat.Actor, action: str
) -> Awaitable[Any] | None:
    """1.0's way to deny the raw tables; 0.65 does not know this hook."""
    if action != "view-table":
        return None
    return permissions.denials_sql(datasette, actor)
