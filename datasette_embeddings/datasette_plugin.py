"""Datasette's hooks, each a few lines; what they call stands on lower floors."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.sql.definitions import register
from datasette_embeddings.web import links, permissions, related
from datasette_embeddings.web.compat import Actor, add_classic_templates, embed_actions
from datasette_embeddings.web.responses import (
    is_json_post,
    reasons_html,
    request_wrapper,
)
from datasette_embeddings.web.routes import ROUTES
from datasette_embeddings.web.server import (
    server_policy,
    start,
)

if TYPE_CHECKING:
    import click
    from datasette.app import Datasette
    from datasette.utils.asgi import Request
    from jinja2 import Environment

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
    start(datasette)


# First, so that datasette-llm-embed's own functions of the same names win
@hookimpl(tryfirst=True)
def prepare_connection(
    conn: sqlite3.Connection, database: str | None, datasette: Datasette
) -> None:
    register(conn, server_policy(datasette, database, conn))


@hookimpl
def asgi_wrapper() -> Callable[[Any], Any]:
    return request_wrapper


@hookimpl
def top_query() -> str | None:
    """1.0's query page says why a function failed; 0.65 does not know this hook."""
    return reasons_html()


@hookimpl
def menu_links(datasette: Datasette) -> list[dict[str, str]]:
    return links.everywhere(datasette)


@hookimpl
def homepage_actions(datasette: Datasette) -> list[dict[str, str]]:
    """1.0's menu of the home page; 0.65 does not know this hook."""
    return links.everywhere(datasette)


@hookimpl
async def database_actions(
    datasette: Datasette, actor: Actor, database: str
) -> list[dict[str, str]]:
    return await links.of_database(datasette, actor, database)


@hookimpl
async def table_actions(
    datasette: Datasette, actor: Actor, database: str, table: str
) -> list[dict[str, str]]:
    """Of tables, and of 0.65's views."""
    return await links.of_table(datasette, actor, database, table)


@hookimpl
async def view_actions(
    datasette: Datasette, actor: Actor, database: str, view: str
) -> list[dict[str, str]]:
    """1.0's menu of a view; 0.65 does not know this hook."""
    return await links.of_table(datasette, actor, database, view)


@hookimpl
async def row_actions(
    datasette: Datasette,
    actor: Actor,
    database: str,
    table: str,
    row: Mapping[str, Any],
) -> list[dict[str, str]]:
    """1.0's menu of a row; 0.65 does not know this hook."""
    return await links.of_row(datasette, actor, database, table, row)


@hookimpl
async def top_row(
    datasette: Datasette,
    request: Request,
    database: str,
    table: str,
    row: Mapping[str, Any],
) -> str | None:
    """1.0's target for related rows; 0.65 does not know this hook."""
    return await related.html_of_row(datasette, request, database, table, row)


@hookimpl
def prepare_jinja2_environment(env: Environment) -> None:
    """On 0.65, which has no hook for a row page, a template of ours shows them."""
    add_classic_templates(env, related.CLASSIC_TEMPLATES)


@hookimpl
def extra_template_vars(
    datasette: Datasette,
    request: Request | None,
    database: str | None,
    table: str | None,
) -> dict[str, Any]:
    return related.template_vars(datasette, request, database, table)


@hookimpl
async def permission_allowed(
    datasette: Datasette, actor: Actor, action: str, resource: object
) -> bool | None:
    """0.65's way to ask who may do what; 1.0 does not know this hook."""
    return await permissions.opinion(datasette, actor, action, resource)


@hookimpl
def skip_csrf(scope: dict[str, Any]) -> bool:
    """0.65's question whether a POST needs no token; 1.0 does not know this hook."""
    return is_json_post(scope)


@hookimpl
def register_actions() -> list[Any]:
    """1.0's list of what can be allowed; 0.65 does not know this hook."""
    return embed_actions()


@hookimpl
def permission_resources_sql(
    datasette: Datasette, actor: Actor, action: str
) -> Awaitable[Any] | None:
    """1.0's way to ask who may do what; 0.65 does not know this hook."""
    return permissions.rules(datasette, actor, action)
