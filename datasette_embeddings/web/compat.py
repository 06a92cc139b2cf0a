"""Datasette 0.65 and 1.0: everything in which they differ is in this file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database

# Having vectors made: open to all who see this Datasette, unless it is closed
EMBED_ACTION = "embeddings-embed"
Actor: TypeAlias = Mapping[str, Any] | None


# Python looks for a module that is missing again at each import
@cache
def is_modern() -> bool:
    """Whether Datasette's permissions are those of 1.0."""
    try:
        import datasette.permissions  # noqa: F401
    except ImportError:
        return False
    return True


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


async def may_execute_sql(datasette: Datasette, actor: Actor, database: str) -> bool:
    """Whether *actor* may run SQL of their own in a database."""
    if is_modern():
        from datasette.resources import DatabaseResource

        return bool(
            await datasette.allowed(
                action="execute-sql", resource=DatabaseResource(database), actor=actor
            )
        )
    return bool(
        await datasette.permission_allowed(actor, "execute-sql", database, default=True)
    ) and await may_view(datasette, actor, database)


async def may_view_instance(datasette: Datasette, actor: Actor) -> bool:
    """Whether *actor* may see this Datasette at all."""
    if is_modern():
        return bool(await datasette.allowed(action="view-instance", actor=actor))
    return bool(
        await datasette.permission_allowed(actor, "view-instance", default=True)
    )


async def may_embed(datasette: Datasette, actor: Actor) -> bool:
    """Whether *actor* may have vectors made; who sees this Datasette, unless closed."""
    if is_modern():
        return bool(await datasette.allowed(action=EMBED_ACTION, actor=actor))
    return await may_view_instance(datasette, actor) and bool(
        await datasette.permission_allowed(actor, EMBED_ACTION, default=True)
    )


def embed_actions() -> list[Any]:
    """The action as 1.0 wants to know it."""
    from datasette.permissions import Action

    return [
        Action(
            name=EMBED_ACTION,
            description="Have vectors made of texts",
            also_requires="view-instance",
        )
    ]


def embed_opinion(actor: Actor, allow: object) -> bool | None:
    """Whether the allow block of the settings lets *actor* embed; None without one."""
    from datasette.utils import actor_matches_allow

    return None if allow is None else bool(actor_matches_allow(actor, allow))


def embed_rule(datasette: Datasette, actor: Actor, allow: object) -> Any:  # noqa: ANN401 - 1.0 only
    """:func:`embed_opinion` as 1.0 wants to hear it; open by default."""
    from datasette.permissions import PermissionSQL

    opinion = embed_opinion(actor, allow)
    if opinion is None:
        opened = PermissionSQL.allow(reason="open unless the configuration closes it")
        return None if datasette.default_deny else opened
    reason = "allow_embed in the settings of datasette-embeddings"
    rule = PermissionSQL.allow if opinion else PermissionSQL.deny
    return rule(reason=reason)


# Datasette's own.  _memory may have every other database attached (--crossdb), whose
# permissions nobody would ask about
NOT_SERVED = frozenset({"_internal", "_memory"})


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


def sql_path(datasette: Datasette, database: str) -> str:
    """The path of the page on which a person runs SQL."""
    path = str(datasette.urls.database(database))
    return f"{path}/-/query" if is_modern() else path


def add_classic_templates(env: Any, folder: Path) -> None:  # noqa: ANN401 - Jinja's
    """On 0.65, let the templates in *folder* come before Datasette's own.

    Those of the owner, and of other plugins, come before them.
    """
    if is_modern():
        return
    for loader in env.loader.loaders:
        paths = getattr(loader, "searchpath", None)
        if paths:
            paths.insert(len(paths) - 1, str(folder))
