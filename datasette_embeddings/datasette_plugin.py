"""Datasette's hooks. Each imports what it calls, so that the plugin starts quickly.

A command such as ``datasette --version`` imports the plugin, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

if TYPE_CHECKING:
    import click
    from datasette.app import Datasette
    from datasette.utils.asgi import Request
    from jinja2 import Environment

    from datasette_embeddings.web.compat import Actor

# Not datasette.hookimpl, which would import all of Datasette at once
hookimpl = HookimplMarker("datasette")


@hookimpl
def register_commands(cli: click.Group) -> None:
    from datasette_embeddings.cli.commands import embeddings

    cli.add_command(embeddings)


@hookimpl
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    from datasette_embeddings.web.routes import ROUTES, UNKNOWN

    return [*ROUTES, UNKNOWN]


@hookimpl
def startup(datasette: Datasette) -> None:
    from datasette_embeddings.web.server import start

    start(datasette)


# First, so that datasette-llm-embed's own functions of the same names win
@hookimpl(tryfirst=True)
def prepare_connection(
    conn: sqlite3.Connection, database: str | None, datasette: Datasette
) -> None:
    from datasette_embeddings.sql.functions import register
    from datasette_embeddings.web.server import server_policy

    register(conn, server_policy(datasette, database, conn))


@hookimpl
def asgi_wrapper() -> Callable[[Any], Any]:
    from datasette_embeddings.web.server import with_sql_errors

    return with_sql_errors


@hookimpl
def top_query() -> str | None:
    """Why SQL functions failed, on 1.0's query page; 0.65 does not have this hook."""
    from datasette_embeddings.web.server import sql_errors_html

    return sql_errors_html()


@hookimpl
def menu_links(datasette: Datasette) -> list[dict[str, str]]:
    from datasette_embeddings.web import datasette_pages

    return datasette_pages.instance_links(datasette)


@hookimpl
def homepage_actions(datasette: Datasette) -> list[dict[str, str]]:
    """1.0's menu of the home page; 0.65 does not have this hook."""
    from datasette_embeddings.web import datasette_pages

    return datasette_pages.instance_links(datasette)


@hookimpl
async def database_actions(
    datasette: Datasette, actor: Actor, database: str
) -> list[dict[str, str]]:
    from datasette_embeddings.web import datasette_pages

    return await datasette_pages.database_links(datasette, actor, database)


@hookimpl
async def table_actions(
    datasette: Datasette, actor: Actor, database: str, table: str
) -> list[dict[str, str]]:
    """Of tables, and of 0.65's views."""
    from datasette_embeddings.web import datasette_pages

    return await datasette_pages.table_links(datasette, actor, database, table)


@hookimpl
async def view_actions(
    datasette: Datasette, actor: Actor, database: str, view: str
) -> list[dict[str, str]]:
    """1.0's menu of a view; 0.65 does not have this hook."""
    from datasette_embeddings.web import datasette_pages

    return await datasette_pages.table_links(datasette, actor, database, view)


@hookimpl
async def row_actions(
    datasette: Datasette,
    actor: Actor,
    database: str,
    table: str,
    row: Mapping[str, Any],
) -> list[dict[str, str]]:
    """1.0's menu of a row; 0.65 does not have this hook."""
    from datasette_embeddings.web import datasette_pages

    return await datasette_pages.row_links(datasette, actor, database, table, row)


@hookimpl
async def top_row(
    datasette: Datasette,
    request: Request,
    database: str,
    table: str,
    row: Mapping[str, Any],
) -> str | None:
    """The related rows of 1.0's row page; 0.65 does not have this hook."""
    from datasette_embeddings.web import datasette_pages

    return await datasette_pages.related_html(datasette, request, database, table, row)


@hookimpl
def prepare_jinja2_environment(env: Environment) -> None:
    """On 0.65, which has no hook for a row page, a template of ours shows them."""
    from datasette_embeddings.web.compat import add_classic_templates

    add_classic_templates(env)


@hookimpl
def extra_template_vars(
    datasette: Datasette,
    request: Request | None,
    database: str | None,
    table: str | None,
) -> dict[str, Any]:
    from datasette_embeddings.web import datasette_pages

    return datasette_pages.template_vars(datasette, request, database, table)


@hookimpl
async def permission_allowed(
    datasette: Datasette, actor: Actor, action: str, resource: object
) -> bool | None:
    """0.65's way to ask who may do what; 1.0 does not have this hook."""
    from datasette_embeddings.web import permissions

    return await permissions.permission_allowed(datasette, actor, action, resource)


@hookimpl
def skip_csrf(scope: dict[str, Any]) -> bool:
    """0.65's question whether a POST needs no token; 1.0 does not have this hook."""
    from datasette_embeddings.web.middleware import is_json_post

    return is_json_post(scope)


@hookimpl
def register_actions() -> list[Any]:
    """1.0's list of what can be allowed; 0.65 does not have this hook."""
    from datasette_embeddings.web.compat import embed_actions

    return embed_actions()


@hookimpl
def permission_resources_sql(
    datasette: Datasette, actor: Actor, action: str
) -> Awaitable[Any] | None:
    """1.0's way to ask who may do what; 0.65 does not have this hook."""
    from datasette_embeddings.web import permissions

    return permissions.permission_rule(datasette, actor, action)
