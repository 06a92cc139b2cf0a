"""Datasette 0.65 and 1.0: the only module that knows which of them runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from datasette_embeddings import serving
from datasette_embeddings.config import PLUGIN_NAME, Config
from datasette_embeddings.errors import ConfigProblem
from datasette_embeddings.sql_functions import Policy

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database
    from datasette.utils.asgi import Request, Response

    Actor: TypeAlias = Mapping[str, Any] | None

VIEW_ACTIONS = ("view-table", "view-database", "view-instance")


def is_modern() -> bool:
    """Whether Datasette's permissions are those of 1.0."""
    try:
        import datasette.permissions  # noqa: F401
    except ImportError:
        return False
    return True


def checked_config(datasette: Datasette) -> Config:
    """What the configuration says under ``plugins: datasette-embeddings:``.

    :raises StartupError: Datasette's own, listing everything that is wrong with it.
    """
    from datasette.utils import StartupError

    try:
        return Config.from_plugin_config(datasette.plugin_config(PLUGIN_NAME))
    except ConfigProblem as problem:
        raise StartupError(str(problem)) from problem


async def allowed(
    datasette: Datasette,
    actor: Actor,
    action: str,
    database: str | None = None,
    table: str | None = None,
) -> bool:
    """Whether *actor* may do *action*, one of Datasette's own, as its pages decide."""
    if is_modern():
        return await _allowed_modern(datasette, actor, action, database, table)
    return await _allowed_classic(datasette, actor, action, database, table)


async def _allowed_modern(
    datasette: Datasette,
    actor: Actor,
    action: str,
    database: str | None,
    table: str | None,
) -> bool:
    from datasette.resources import DatabaseResource, TableResource

    resource = None
    if database is not None:
        resource = DatabaseResource(database)
        if table is not None:
            resource = TableResource(database, table)
    return bool(await datasette.allowed(action=action, resource=resource, actor=actor))


async def _allowed_classic(
    datasette: Datasette,
    actor: Actor,
    action: str,
    database: str | None,
    table: str | None,
) -> bool:
    from datasette import Forbidden

    # The most specific first: 0.65 takes the first opinion that anybody has
    chain: list[object] = []
    if table is not None:
        chain.append(("view-table", (database, table)))
    if database is not None:
        chain.append(("view-database", database))
    chain.append("view-instance")
    try:
        await datasette.ensure_permissions(actor, chain)
    except Forbidden:
        return False
    return True


def deny_tables_sql(tables: Sequence[tuple[str, str]]) -> Any:  # noqa: ANN401 - 1.0 only
    """1.0's way to say that (database, table) pairs may not be seen."""
    from datasette.permissions import PermissionSQL

    params: dict[str, str] = {}
    selects = []
    for place, (database, table) in enumerate(tables):
        params[f"embeddings_database_{place}"] = database
        params[f"embeddings_table_{place}"] = table
        selects.append(
            f"select :embeddings_database_{place} as parent, "
            f":embeddings_table_{place} as child, 0 as allow, "
            "'it holds rows of a table that may not be seen' as reason"
        )
    return PermissionSQL(sql=" union all ".join(selects), params=params)


def database_for_route(datasette: Datasette, route: str) -> Database | None:
    """The database that a URL names, already decoded; None if there is none."""
    try:
        database = datasette.get_database(route=route)
    except KeyError:
        return None
    return None if database.name == "_internal" else database


def all_databases(datasette: Datasette) -> list[Database]:
    """Every database but Datasette's own."""
    return [
        database
        for name, database in datasette.databases.items()
        if name != "_internal"
    ]


def is_immutable(datasette: Datasette, database: str | None) -> bool:
    """Whether the database of that name is served with ``-i``."""
    known = datasette.databases.get(database)
    # A database in memory is called immutable by 1.0, but has no file to open as such
    return known is not None and not known.is_mutable and not known.is_memory


def database_color(database: Database) -> str:
    """The colour of a database's page header, six hexadecimal digits."""
    return str(getattr(database, "color", "ff0000"))


def server_policy(
    datasette: Datasette, database: str | None, conn: sqlite3.Connection
) -> Policy:
    """What SQL on *conn*, a connection of Datasette's, may use."""
    config = checked_config(datasette)
    return Policy(
        load=partial(serving.load_allowed, config=config, conn=conn),
        default_model=config.default_model,
        immutable=is_immutable(datasette, database),
        time_limit_s=datasette.setting("sql_time_limit_ms") / 1000,
        max_text_length=config.max_text_length,
        report=serving.report_reason,
        tells_errors=False,
    )


def collecting_reasons(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """*app*, each request of which hears why its SQL functions failed."""

    async def collecting(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        with serving.collected_reasons():
            await app(scope, receive, send)

    return collecting


def reasons_html() -> str | None:
    """Why SQL functions failed in this request, as a message on a page."""
    lines = [
        f'<p class="message-error">{escape(reason)}</p>' for reason in serving.reasons()
    ]
    return "".join(lines) or None


def json_response(
    datasette: Datasette, request: Request, body: object, *, status: int = 200
) -> Response:
    """*body* as JSON, readable for other sites where Datasette lets them."""
    from datasette import Response
    from datasette.utils import add_cors_headers

    headers: dict[str, str] = {}
    if datasette.cors and request.method in ("GET", "HEAD"):
        add_cors_headers(headers)
    return Response.json(body, status=status, headers=headers)


def error_response(
    datasette: Datasette, request: Request, message: str, *, status: int
) -> Response:
    """An error as 1.0 shapes it, on both versions."""
    body = {"ok": False, "error": message, "errors": [message], "status": status}
    return json_response(datasette, request, body, status=status)
