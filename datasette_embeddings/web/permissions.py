"""Who may see which collection, and the tables that hold all of them at once."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextvars import Context, ContextVar
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from datasette.app import Datasette
from datasette.database import Database

from datasette_embeddings.errors import SchemaError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.sources import definitions
from datasette_embeddings.sources.queries import tables_of_query
from datasette_embeddings.store.collections import StoredCollection, all_collections
from datasette_embeddings.store.origins import has_unsourced_items
from datasette_embeddings.store.schema import columns_of, raw_tables
from datasette_embeddings.store.tables import RAW_NAME
from datasette_embeddings.web import compat
from datasette_embeddings.web.compat import EMBED_ACTION, Actor
from datasette_embeddings.web.server import config_of

# Datasette's own.  _memory may have every other database attached (--crossdb), whose
# permissions would not be asked for
NOT_SERVED = frozenset({"_internal", "_memory"})
# Stands for a table whose permission cannot be asked for, so that it is denied: it is
# missing, and Datasette allows what is missing, or its source cannot be read
UNKNOWN = ""
#: A collection, None for those of an unknown schema, and the tables that it requires
Required: TypeAlias = tuple[StoredCollection | None, frozenset[str]]


class _Known(threading.local):
    """What a thread read in a state of each database, by the name it asked for.

    Other threads have other connections, which may see an earlier state or a file
    that was in the place of this one.
    """

    def __init__(self) -> None:
        self.states: WeakKeyDictionary[
            Database, tuple[object, dict[str | None, Sequence[Required]]]
        ] = WeakKeyDictionary()


_known = _Known()
# True while permissions are asked for that our own rules must not decide
_only_datasette: ContextVar[bool] = ContextVar("only_datasette", default=False)


def served_databases(datasette: Datasette) -> list[Database]:
    """Every database that can have collections."""
    databases = datasette.databases.values()
    return [each for each in databases if each.name not in NOT_SERVED]


async def visible_collections(
    datasette: Datasette, actor: Actor, database: Database, name: str | None = None
) -> list[StoredCollection]:
    """The collections whose sources *actor* may see, or the one called *name*.

    The permission for *database* itself is the caller's to ask.
    """
    required = await _required_by(datasette, database, name)
    tables = {table for _collection, tables in required for table in tables}
    allowed = await _allowed_tables(datasette, actor, database.name, tables)
    return [
        each
        for each, tables in required
        if each is not None and not each.is_building and tables <= allowed
    ]


def required_tables(collection: StoredCollection) -> set[str]:
    """The tables that a visitor must be allowed to see, to see *collection*.

    Items of no source require the table ``embeddings``.
    """
    tables = set[str]()
    for each in collection.sources:
        if isinstance(each.source, definitions.UnreadableSource):
            tables.add(UNKNOWN)
            continue
        if isinstance(each.source, definitions.QuerySource):
            # Every table that it reads now, not only the stored ones
            tables.update(tables_of_query(collection.conn, each.source))
        if each.state is not definitions.SourceState.PIPED:
            tables.update(each.source.permission_tables)
    if not tables or has_unsourced_items(collection):
        tables.add("embeddings")
    return tables


async def permission_allowed(
    datasette: Datasette, actor: Actor, action: str, resource: object
) -> bool | None:
    """Our decision on *action* for 0.65; None if another decides."""
    if action == EMBED_ACTION:
        return compat.embed_permission(actor, config_of(datasette).allow_embed)
    if action != "view-table" or not isinstance(resource, tuple):
        return None
    database, table = resource
    if not RAW_NAME.fullmatch(table) or database not in datasette.databases:
        return None
    held = [datasette.databases[database]]
    return False if await _denied_tables(datasette, actor, held) else None


async def permission_rule(datasette: Datasette, actor: Actor, action: str) -> Any:  # noqa: ANN401 - 1.0 only
    """Our rule on *action* for 1.0; None if another decides."""
    if action == EMBED_ACTION:
        return compat.embed_rule(datasette, actor, config_of(datasette).allow_embed)
    if action != "view-table":
        return None
    denied = await _denied_tables(datasette, actor, served_databases(datasette))
    return compat.deny_tables_rule(denied) if denied else None


async def _denied_tables(
    datasette: Datasette, actor: Actor, databases: Sequence[Database]
) -> list[tuple[str, str]]:
    """Database and name of each raw table that *actor* may not see.

    All those of a database, if Datasette denies a table that any collection requires.
    """
    if _only_datasette.get():
        return []
    denied = await asyncio.gather(
        *(_has_denied_rows(datasette, actor, each) for each in databases)
    )
    return [
        (database.name, table)
        for database, is_denied in zip(databases, denied, strict=True)
        if is_denied
        for table in await database.execute_fn(raw_tables)
    ]


async def _has_denied_rows(
    datasette: Datasette, actor: Actor, database: Database
) -> bool:
    """Whether the raw tables of *database* hold rows that *actor* may not see."""
    required = await _required_by(datasette, database)
    tables = {table for _collection, tables in required for table in tables}
    raw = {table for table in tables if RAW_NAME.fullmatch(table)}
    asked = datasette, actor, database.name
    if await _allowed_tables(*asked, tables - raw) != tables - raw:
        return True
    if not raw:
        return False
    # Datasette 1.0 remembers each answer for the rest of the request.  Its own answer
    # about a raw table lacks ours, so the question is asked outside of the request
    outside = Context()
    outside.run(_only_datasette.set, True)
    asking = outside.run(asyncio.ensure_future, _allowed_tables(*asked, raw))
    return await asking != raw


async def _allowed_tables(
    datasette: Datasette, actor: Actor, database: str, tables: Iterable[str]
) -> set[str]:
    allowed = set()
    for table in sorted(tables):
        # Our own rules are for raw tables only, and take a while
        ours = bool(RAW_NAME.fullmatch(table)) and not _only_datasette.get()
        token = _only_datasette.set(not ours)
        try:
            if table != UNKNOWN and await compat.is_allowed(
                datasette, actor, "view-table", database, table
            ):
                allowed.add(table)
        finally:
            _only_datasette.reset(token)
    return allowed


async def _required_by(
    datasette: Datasette, database: Database, name: str | None = None
) -> Sequence[Required]:
    """What the collections of *database* require, or the one called *name*.

    It is read again when the database has changed: to see whether a collection has
    items of no source takes 0.14 s for 100,000.
    """
    immutable = compat.is_immutable(datasette, database.name)

    def read(conn: sqlite3.Connection) -> Sequence[Required]:
        # Before the collections: a change meanwhile then counts as a later one
        state = indexes.state(conn, database.path or "", immutable=immutable)
        known_state, known = _known.states.get(database, (None, {}))
        if state != known_state:
            known = {}
            _known.states[database] = state, known
        if name not in known:
            required = _read_required(conn, name)
            # The state of a database in memory is that of one connection only, and
            # any number of missing names may be asked for
            if not required or not database.path:
                return required
            known[name] = required
        return known[name]

    required: Sequence[Required] = await database.execute_fn(read)
    return required


def _read_required(conn: sqlite3.Connection, name: str | None) -> Sequence[Required]:
    try:
        found = all_collections(conn, name)
    except SchemaError:
        # Another program's tables have nothing to show.  Beside tables of this package
        # they may hide that a source is private
        ours = ("_embedding_collections", "_embedding_sources")
        is_ours = any(columns_of(conn, each) for each in ours)
        return [(None, frozenset({UNKNOWN}))] if is_ours else []
    return [
        (
            each,
            frozenset(
                table if columns_of(conn, table) else UNKNOWN
                for table in required_tables(each)
            ),
        )
        for each in found
    ]
