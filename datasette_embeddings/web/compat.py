"""What differs between Datasette 0.65 and 1.0; other modules ask here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from datasette import Forbidden
from datasette.app import Datasette
from datasette.database import Database
from datasette.utils import actor_matches_allow

# The embedding API: open to all who may see this Datasette, unless it is closed
EMBED_ACTION = "embeddings-embed"
# Templates for 0.65 only, which has no hook for a row page
CLASSIC_TEMPLATES = Path(__file__).parent.parent / "templates" / "classic"
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


async def is_allowed(
    datasette: Datasette, actor: Actor, action: str, *resource: str
) -> bool:
    """Whether *actor* may do *action*, on a database or on a table of one.

    *resource* is the name of the database, or those of database and table.
    """
    if not is_modern():
        return await _is_allowed_classic(datasette, actor, action, *resource)
    from datasette.resources import DatabaseResource, TableResource

    kind = (None, DatabaseResource, TableResource)[len(resource)]
    named = None if kind is None else kind(*resource)
    return bool(await datasette.allowed(action=action, resource=named, actor=actor))


async def _is_allowed_classic(
    datasette: Datasette, actor: Actor, action: str, *resource: str
) -> bool:
    # The most specific first: 0.65 takes the first that any configuration decides
    chain: list[object] = ["view-instance"]
    if resource:
        chain.insert(0, ("view-database", resource[0]))
    if action == "view-table":
        chain.insert(0, ("view-table", resource))
    try:
        await datasette.ensure_permissions(actor, chain)
    except Forbidden:
        return False
    if action.startswith("view-"):
        return True
    named = resource[0] if resource else None
    return bool(await datasette.permission_allowed(actor, action, named, default=True))


def embed_actions() -> list[Any]:
    """The permission for the embedding API, as 1.0 registers it."""
    from datasette.permissions import Action

    return [
        Action(
            name=EMBED_ACTION,
            description="Embed texts and images",
            also_requires="view-instance",
        )
    ]


def embed_permission(actor: Actor, allow: object) -> bool | None:
    """What the allow block of the settings says to 0.65; None without one."""
    return None if allow is None else bool(actor_matches_allow(actor, allow))


def embed_rule(datasette: Datasette, actor: Actor, allow: object) -> Any:  # noqa: ANN401 - 1.0 only
    """What the allow block of the settings says to 1.0; open without one."""
    from datasette.permissions import PermissionSQL

    allowed = embed_permission(actor, allow)
    if allowed is None:
        opened = PermissionSQL.allow(reason="open unless the configuration closes it")
        return None if datasette.default_deny else opened
    rule = PermissionSQL.allow if allowed else PermissionSQL.deny
    return rule(reason="allow_embed in the settings of datasette-embeddings")


def deny_tables_rule(tables: Sequence[tuple[str, str]]) -> Any:  # noqa: ANN401 - 1.0 only
    """1.0's rule that (database, table) pairs may not be seen."""
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


def is_immutable(datasette: Datasette, database: str | None) -> bool:
    """Whether the database of that name is served with ``-i``."""
    known = datasette.databases.get(database)
    # 1.0 calls a database in memory immutable, but it has no file to open as such
    return known is not None and not known.is_mutable and not known.is_memory


def database_color(database: Database) -> str:
    """The colour of a database's page header, six hexadecimal digits."""
    return str(getattr(database, "color", "ff0000"))


async def run_sql_path(
    datasette: Datasette,
    actor: Actor,
    database: str,
    sql: str,
    values: Mapping[str, object],
) -> str | None:
    """The page that runs *sql*; None if *actor* may not run SQL."""
    if not await is_allowed(datasette, actor, "execute-sql", database):
        return None
    path = str(datasette.urls.database(database))
    query = urlencode({"sql": sql, **values})
    return f"{path}/-/query?{query}" if is_modern() else f"{path}?{query}"


def add_classic_templates(env: Any) -> None:  # noqa: ANN401 - Jinja's
    """On 0.65, show related rows on row pages with the plugin's own template.

    Templates of the owner and of other plugins come before it.
    """
    if is_modern():
        return
    for loader in env.loader.loaders:
        paths = getattr(loader, "searchpath", None)
        if paths:
            paths.insert(len(paths) - 1, str(CLASSIC_TEMPLATES))
