"""Datasette 0.65 and 1.0: the only module that knows which of them runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

# Datasette's own.  _memory may have every other database attached (--crossdb), whose
# permissions nobody would ask about
NOT_SERVED = frozenset({"_internal", "_memory"})


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
    with startup_errors():
        return Config.from_plugin_config(datasette.plugin_config(PLUGIN_NAME))


def start(datasette: Datasette) -> None:
    """Start serving, if all that the configuration asks for is here.

    :raises StartupError: as :func:`checked_config`.
    """
    config = checked_config(datasette)
    with startup_errors():
        serving.start(config)


@contextmanager
def startup_errors() -> Iterator[None]:
    """A wrong configuration as the error with which Datasette refuses to start."""
    from datasette.utils import StartupError

    try:
        yield
    except ConfigProblem as problem:
        raise StartupError(str(problem)) from problem


async def may_view(
    datasette: Datasette, actor: Actor, database: str, table: str | None = None
) -> bool:
    """Whether *actor* may see a database, or a table of it, as Datasette decides."""
    if is_modern():
        from datasette.resources import DatabaseResource, TableResource

        if table is None:
            action, resource = "view-database", DatabaseResource(database)
        else:
            action, resource = "view-table", TableResource(database, table)
        return bool(
            await datasette.allowed(action=action, resource=resource, actor=actor)
        )
    return await _may_view_classic(datasette, actor, database, table)


async def _may_view_classic(
    datasette: Datasette, actor: Actor, database: str, table: str | None
) -> bool:
    from datasette import Forbidden

    # The most specific first: 0.65 takes the first opinion that anybody has
    chain: list[object] = [("view-database", database), "view-instance"]
    if table is not None:
        chain.insert(0, ("view-table", (database, table)))
    try:
        await datasette.ensure_permissions(actor, chain)
    except Forbidden:
        return False
    return True


def deny_tables_sql(tables: Sequence[tuple[str, str]]) -> Any:  # noqa: ANN401 - 1.0 only
    """1.0's way to say that (database, table) pairs may not be seen."""
    from datasette.permissions import PermissionSQL

    sql = """
        select
          json_extract(value, '$[0]') as parent,
          json_extract(value, '$[1]') as child,
          0 as allow,
          'it holds rows of a table that may not be seen' as reason
        from json_each(:embeddings_denied)
    """
    return PermissionSQL(sql=sql, params={"embeddings_denied": json.dumps(tables)})


def database_for_route(datasette: Datasette, route: str) -> Database | None:
    """The database that a URL names, already decoded; None if there is none."""
    try:
        database = datasette.get_database(route=route)
    except KeyError:
        return None
    return None if database.name in NOT_SERVED else database


def all_databases(datasette: Datasette) -> list[Database]:
    """Every database that holds collections of its own."""
    return [
        database
        for name, database in datasette.databases.items()
        if name not in NOT_SERVED
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
