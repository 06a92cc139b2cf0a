"""Datasette's hooks. Each imports what it calls, so that the plugin starts quickly.

A command such as ``datasette --version`` imports the plugin, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

if TYPE_CHECKING:
    import click
    from datasette.app import Datasette
    from datasette.utils.asgi import Request
    from datasette_agent.tools import AgentTool
    from jinja2 import Environment
    from mcp.server.mcpserver import MCPServer

    from datasette_embeddings.web.compat import Actor
    from datasette_embeddings.web.datasette_pages import Links, Row

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
def startup(datasette: Datasette) -> Awaitable[None]:
    from datasette_embeddings.web.server import start

    return start(datasette)


# First, so that datasette-llm-embed's own functions of the same names win
@hookimpl(tryfirst=True)
def prepare_connection(
    conn: sqlite3.Connection, database: str | None, datasette: Datasette
) -> None:
    from datasette_embeddings.sql.functions import register
    from datasette_embeddings.web.server import server_policy

    register(conn, server_policy(datasette, database, conn))


@hookimpl
def asgi_wrapper(datasette: Datasette) -> Callable[[Any], Any]:
    from datasette_embeddings.web.live import while_serving
    from datasette_embeddings.web.server import with_sql_errors

    return partial(with_sql_errors, lifespan=partial(while_serving, datasette))


@hookimpl
def menu_links(datasette: Datasette) -> Links:
    from datasette_embeddings.web.datasette_pages import instance_links

    return instance_links(datasette)


@hookimpl
async def database_actions(datasette: Datasette, actor: Actor, database: str) -> Links:
    from datasette_embeddings.web.datasette_pages import database_links

    return await database_links(datasette, actor, database)


@hookimpl
async def table_actions(
    datasette: Datasette, actor: Actor, database: str, table: str
) -> Links:
    from datasette_embeddings.web.datasette_pages import table_links

    return await table_links(datasette, actor, database, table)


@hookimpl
def extra_template_vars(
    datasette: Datasette,
    request: Request | None,
    database: str | None,
    table: str | None,
) -> dict[str, Any]:
    from datasette_embeddings.web.datasette_pages import template_vars

    return template_vars(datasette, request, database, table)


# Hooks that only 0.65 has


@hookimpl
def prepare_jinja2_environment(env: Environment) -> None:
    """1.0 has the hook, too, but shows related rows by ``top_row``."""
    from datasette_embeddings.web.compat import add_classic_templates

    add_classic_templates(env)


@hookimpl
async def permission_allowed(
    datasette: Datasette, actor: Actor, action: str, resource: object
) -> bool | None:
    from datasette_embeddings.web import permissions

    return await permissions.permission_allowed(datasette, actor, action, resource)


@hookimpl
def skip_csrf(scope: dict[str, Any]) -> bool:
    from datasette_embeddings.web.middleware import is_json_post

    return is_json_post(scope)


# Hooks that only 1.0 has

homepage_actions = menu_links


@hookimpl
async def view_actions(
    datasette: Datasette, actor: Actor, database: str, view: str
) -> Links:
    from datasette_embeddings.web.datasette_pages import table_links

    return await table_links(datasette, actor, database, view)


@hookimpl
async def row_actions(
    datasette: Datasette, actor: Actor, database: str, table: str, row: Row
) -> Links:
    from datasette_embeddings.web.datasette_pages import row_links

    return await row_links(datasette, actor, database, table, row)


@hookimpl
def top_query() -> str | None:
    from datasette_embeddings.web.server import sql_errors_html

    return sql_errors_html()


@hookimpl
async def top_row(
    datasette: Datasette, request: Request, database: str, table: str, row: Row
) -> str | None:
    from datasette_embeddings.web.datasette_pages import related_html

    return await related_html(datasette, request, database, table, row)


@hookimpl
def register_actions() -> list[Any]:
    from datasette_embeddings.web.compat import embed_actions

    return embed_actions()


@hookimpl
def permission_resources_sql(
    datasette: Datasette, actor: Actor, action: str
) -> Awaitable[Any] | None:
    from datasette_embeddings.web.permissions import permission_rule

    return permission_rule(datasette, actor, action)


# Hooks of other plugins, which Datasette calls only where these are installed


@hookimpl
def register_mcp_tools(datasette: Datasette, mcp: MCPServer) -> None:
    """Of datasette-mcp."""
    from datasette_embeddings.web.mcp_tools import register

    register(datasette, mcp)


@hookimpl
def register_agent_tools(datasette: Datasette) -> list[AgentTool]:
    """Of datasette-agent."""
    from datasette_embeddings.web.agent_tools import agent_tools

    return agent_tools(datasette)
