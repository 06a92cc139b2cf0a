"""Who may see which collection, and the tables that hold all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from datasette_embeddings import compat, store
from datasette_embeddings.errors import SchemaMismatch
from datasette_embeddings.sources import QuerySource, TableSource

if TYPE_CHECKING:
    import sqlite3

    from datasette.app import Datasette
    from datasette.database import Database

# True while a source table is being asked about: that question must not ask itself
_asking: ContextVar[bool] = ContextVar("embeddings_asking", default=False)


def source_tables(collection: store.Collection) -> tuple[str, ...]:
    """The tables whose rows a collection gives away.

    Where that is not known, as for one that llm made, it is ``embeddings`` itself.
    """
    source = collection.source
    if isinstance(source, TableSource):
        return (source.table,)
    if isinstance(source, QuerySource) and source.tables:
        return source.tables
    return ("embeddings",)


async def visible_collections(
    datasette: Datasette, actor: compat.Actor, database: Database
) -> list[store.Collection]:
    """The collections of *database* that *actor* may see, by name."""
    if not await compat.allowed(datasette, actor, "view-database", database.name):
        return []
    found = await database.execute_fn(_collections)
    tables = _source_tables(found)
    verdicts = await _verdicts(datasette, actor, database.name, tables)
    return [each for each in found if _is_visible(each, verdicts)]


async def visible_collection(
    datasette: Datasette, actor: compat.Actor, database: Database, name: str
) -> store.Collection | None:
    """The collection called *name*, or None for whoever may not see it."""
    visible = await visible_collections(datasette, actor, database)
    return next((each for each in visible if each.name == name), None)


async def opinion_on_table(
    datasette: Datasette, actor: compat.Actor, database: str, table: str
) -> bool | None:
    """False for a raw table that *actor* may not see, None for no opinion."""
    if table.lower() not in store.RAW_TABLES or database not in datasette.databases:
        return None
    holder = datasette.databases[database]
    denied = await denied_raw_tables(datasette, actor, [holder])
    return False if denied else None


async def denials_sql(datasette: Datasette, actor: compat.Actor) -> Any:  # noqa: ANN401 - 1.0's own
    """The raw tables that *actor* may not see, as 1.0 wants to hear it."""
    databases = compat.all_databases(datasette)
    denied = await denied_raw_tables(datasette, actor, databases)
    return compat.deny_tables_sql(denied) if denied else None


async def denied_raw_tables(
    datasette: Datasette, actor: compat.Actor, databases: Iterable[Database]
) -> list[tuple[str, str]]:
    """Database and name of each raw table that *actor* may not see.

    Those of a database in which any collection comes from a table that is denied.
    """
    if _asking.get():
        return []
    token = _asking.set(True)
    try:
        verdicts = await asyncio.gather(
            *(_holds_secrets(datasette, actor, each) for each in databases)
        )
    finally:
        _asking.reset(token)
    return [
        (database.name, table)
        for database, secret in zip(databases, verdicts, strict=True)
        if secret
        for table in store.RAW_TABLES
    ]


async def _holds_secrets(
    datasette: Datasette, actor: compat.Actor, database: Database
) -> bool:
    found = await database.execute_fn(_collections)
    # The answer about a raw table is what is being worked out: Datasette would
    # remember a half answer for the rest of the request
    tables = _source_tables(found) - set(store.RAW_TABLES)
    verdicts = await _verdicts(datasette, actor, database.name, tables)
    return not all(verdicts.values())


def _source_tables(collections: Iterable[store.Collection]) -> set[str]:
    return {table for each in collections for table in source_tables(each)}


async def _verdicts(
    datasette: Datasette, actor: compat.Actor, database: str, tables: Iterable[str]
) -> dict[str, bool]:
    """For each of *tables*, whether *actor* may see it."""
    return {
        table: await compat.allowed(datasette, actor, "view-table", database, table)
        for table in sorted(tables)
    }


def _is_visible(collection: store.Collection, verdicts: dict[str, bool]) -> bool:
    return all(verdicts[table] for table in source_tables(collection))


def _collections(conn: sqlite3.Connection) -> list[store.Collection]:
    try:
        return store.collections(conn)
    except SchemaMismatch:
        # Somebody else's tables: the CLI says so, a page has nothing to show
        return []
