"""Datasette's hooks, each a few lines; what they call stands on lower floors."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

from datasette_embeddings import compat, permissions
from datasette_embeddings.cli import embeddings
from datasette_embeddings.routes import ROUTES
from datasette_embeddings.sql_functions import register

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
    compat.start(datasette)


# First, so that datasette-llm-embed's own functions of the same names win
@hookimpl(tryfirst=True)
def prepare_connection(
    conn: sqlite3.Connection, database: str | None, datasette: Datasette
) -> None:
    register(conn, compat.server_policy(datasette, database, conn))


@hookimpl
def asgi_wrapper() -> Callable[[Any], Any]:
    return compat.collecting_reasons


@hookimpl
def top_query() -> str | None:
    """1.0's query page says why a function failed; 0.65 does not know this hook."""
    return compat.reasons_html()


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
