"""Who may see which collection, and the tables that hold all of them at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import SchemaError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.sources.definitions import QuerySource, UnreadableSource
from datasette_embeddings.sources.queries import tables_of_query
from datasette_embeddings.store.collection_sources import SourceState, source_tables
from datasette_embeddings.store.collections import (
    Collection,
    all_collections,
    find_collection,
)
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    RAW_TABLES,
    SOURCES,
    columns_of,
)
from datasette_embeddings.store.unsourced import State, has_unsourced_items
from datasette_embeddings.web.compat import (
    EMBED_ACTION,
    Actor,
    all_databases,
    deny_tables_sql,
    embed_opinion,
    embed_rule,
    is_immutable,
    may_view,
)
from datasette_embeddings.web.server import config_of

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database

# True while a source table is being asked about: that question must not ask itself
_asking: ContextVar[bool] = ContextVar("embeddings_asking", default=False)


@dataclass(frozen=True)
class _Holdings:
    """The collections of a database, the tables that each asks about, and the sealed.

    *sealed* are the sources that cannot be asked about: a table that is gone, because
    Datasette allows whatever is not there, and what nobody here can read.
    """

    collections: Sequence[Collection]
    asked: Mapping[int, frozenset[str]]
    sealed: frozenset[str]
    is_unreadable: bool = False

    def tables(self) -> set[str]:
        return {table for tables in self.asked.values() for table in tables}


def required_tables(
    collection: Collection,
    state: State | None = None,
) -> set[str]:
    """The tables that decide who may see *collection*.

    Items of no source require the permission for the table ``embeddings``.  With
    the *state* of the database, what was read in that state is not read again.
    """
    tables = set[str]()
    for each in collection.sources:
        if isinstance(each.source, UnreadableSource):
            tables.add(UNREADABLE)
            continue
        if isinstance(each.source, QuerySource):
            # Every table that it reads now, not only the stored ones
            tables.update(tables_of_query(collection.conn, each.source))
        if each.state is not SourceState.PIPED:
            tables.update(source_tables(each.source))
    if not tables or has_unsourced_items(collection, state):
        tables.add("embeddings")
    return tables


# No table can be called so, and nobody may see it
UNREADABLE = ""


async def visible_collections(
    datasette: Datasette, actor: Actor, database: Database
) -> list[Collection]:
    """The collections of *database* that *actor* may see, by name."""
    if not await may_view(datasette, actor, database.name):
        return []
    immutable = is_immutable(datasette, database.name)
    holdings = await database.execute_fn(partial(_holdings, immutable=immutable))
    verdicts = await _verdicts(
        datasette, actor, database.name, holdings, holdings.tables()
    )
    return [
        each
        for each in holdings.collections
        if not each.is_building and all(map(verdicts.get, holdings.asked[each.id]))
    ]


async def visible_collection(
    datasette: Datasette, actor: Actor, database: Database, name: str
) -> Collection | None:
    """The collection called *name*, or None for whoever may not see it."""
    if not await may_view(datasette, actor, database.name):
        return None
    immutable = is_immutable(datasette, database.name)
    holdings = await database.execute_fn(
        partial(_holdings, name=name, immutable=immutable)
    )
    verdicts = await _verdicts(
        datasette, actor, database.name, holdings, holdings.tables()
    )
    return next((each for each in holdings.collections if all(verdicts.values())), None)


async def opinion(
    datasette: Datasette, actor: Actor, action: str, resource: object
) -> bool | None:
    """What 0.65 is told of *action*; None for no opinion."""
    if action == EMBED_ACTION:
        allow = config_of(datasette).allow_embed
        return embed_opinion(actor, allow)
    if action != "view-table" or not isinstance(resource, tuple):
        return None
    return await _opinion_on_table(datasette, actor, *resource)


async def rules(datasette: Datasette, actor: Actor, action: str) -> Any:  # noqa: ANN401 - 1.0's own
    """What 1.0 is told of *action*; None for nothing."""
    if action == EMBED_ACTION:
        allow = config_of(datasette).allow_embed
        return embed_rule(datasette, actor, allow)
    return await _denials_sql(datasette, actor) if action == "view-table" else None


async def _opinion_on_table(
    datasette: Datasette, actor: Actor, database: str, table: str
) -> bool | None:
    """False for a raw table that *actor* may not see, None for no opinion."""
    if not _is_raw(table) or database not in datasette.databases:
        return None
    holder = datasette.databases[database]
    denied = await _denied_raw_tables(datasette, actor, [holder])
    return False if denied else None


async def _denials_sql(datasette: Datasette, actor: Actor) -> Any:  # noqa: ANN401 - 1.0's own
    """The raw tables that *actor* may not see, as 1.0 wants to hear it."""
    databases = all_databases(datasette)
    denied = await _denied_raw_tables(datasette, actor, databases)
    return deny_tables_sql(denied) if denied else None


async def _denied_raw_tables(
    datasette: Datasette, actor: Actor, databases: Iterable[Database]
) -> list[tuple[str, str]]:
    """Database and name of each raw table that *actor* may not see.

    All those of a database, if Datasette denies a table that any collection requires.
    """
    if _asking.get():
        return []
    databases = list(databases)
    with _asking_only_datasette():
        verdicts = await asyncio.gather(
            *(_holds_secrets(datasette, actor, each) for each in databases)
        )
    return [
        (database.name, table)
        for database, secret in zip(databases, verdicts, strict=True)
        if secret
        for table in RAW_TABLES
    ]


async def _holds_secrets(
    datasette: Datasette, actor: Actor, database: Database
) -> bool:
    """Whether the raw tables of *database* hold rows that *actor* may not see."""
    immutable = is_immutable(datasette, database.name)
    holdings = await database.execute_fn(partial(_holdings, immutable=immutable))
    tables = holdings.tables()
    raw = {table for table in tables if _is_raw(table)}
    asked = (datasette, actor, database.name, holdings)
    verdicts = await _verdicts(*asked, tables - raw)
    if holdings.is_unreadable or not all(verdicts.values()):
        return True
    if not raw:
        return False
    # Datasette 1.0 remembers each answer for the rest of the request.  Its own answer
    # about a raw table lacks ours, so the question is asked outside of the request.
    outside = Context()
    outside.run(_asking.set, True)
    verdicts = await outside.run(asyncio.ensure_future, _verdicts(*asked, raw))
    return not all(verdicts.values())


async def _verdicts(
    datasette: Datasette,
    actor: Actor,
    database: str,
    holdings: _Holdings,
    tables: Iterable[str],
) -> dict[str, bool]:
    """For each of *tables*, whether *actor* may see it."""
    verdicts = {}
    for table in sorted(tables):
        # What we have to say is of the raw tables only, and takes a while
        known = nullcontext() if _is_raw(table) else _asking_only_datasette()
        with known:
            verdicts[table] = table not in holdings.sealed and await may_view(
                datasette, actor, database, table
            )
    return verdicts


def _is_raw(table: str) -> bool:
    return table.lower() in RAW_TABLES


@contextmanager
def _asking_only_datasette() -> Iterator[None]:
    """Within, our own hooks have no opinion on any table."""
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)


def _holdings(
    conn: sqlite3.Connection, *, immutable: bool, name: str | None = None
) -> _Holdings:
    """What a database holds, or of it only the collection called *name*."""
    state = indexes.state(conn, immutable=immutable)
    try:
        if name is None:
            found = all_collections(conn)
        else:
            named = find_collection(conn, name)
            found = [] if named is None else [named]
    except SchemaError:
        # Another program's tables have nothing to show.  Beside tables of this package
        # they may hide that a source is secret
        unreadable = any(columns_of(conn, each) for each in (OUR_COLLECTIONS, SOURCES))
        return _Holdings([], {}, frozenset(), is_unreadable=unreadable)
    asked = {each.id: frozenset(required_tables(each, state)) for each in found}
    tables = frozenset[str]().union(*asked.values())
    sealed = (table for table in tables if not columns_of(conn, table))
    return _Holdings(found, asked, frozenset(sealed))
