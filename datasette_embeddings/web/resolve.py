"""The collections that a request names, as far as its actor may see them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasette_embeddings.databases import explained
from datasette_embeddings.item_ids import tilde_decode, tilde_encode
from datasette_embeddings.web import permissions
from datasette_embeddings.web.compat import database_for_route, may_view
from datasette_embeddings.web.http_errors import (
    CollectionNotFoundError,
    DatabaseUnavailableError,
    NotFoundError,
)

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database
    from datasette.utils.asgi import Request

    from datasette_embeddings.store.collections import Collection


@asynccontextmanager
async def readable(database: Database) -> AsyncIterator[None]:
    """Within, what SQLite finds wrong with *database* is
    :class:`DatabaseUnavailableError`.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        problem = explained(error, Path(database.name))
        raise DatabaseUnavailableError(str(problem)) from error


@dataclass(frozen=True)
class Target:
    """A collection that the actor may see, and the path of its search page."""

    database: Database
    collection: Collection
    path: str


@dataclass(frozen=True)
class Listed:
    """A collection in a list, how many items it has, and its search page."""

    database: str
    collection: Collection
    count: int
    path: str


async def listed(
    datasette: Datasette, request: Request, databases: Sequence[Database]
) -> list[Listed]:
    """Every collection in *databases* that the actor of *request* may see."""
    found = []
    for database in databases:
        async with readable(database):
            visible = await permissions.visible_collections(
                datasette, request.actor, database
            )
            for each in visible:
                count = await database.execute_fn(
                    lambda conn, each=each: each.bound_to(conn).count_items()
                )
                path = collection_path(datasette, database.name, each.name)
                found.append(Listed(database.name, each, count, path))
    return found


async def resolve_database(datasette: Datasette, request: Request) -> Database:
    """The database that the URL of *request* names.

    :raises NotFoundError: if there is none, or the actor may not see it.
    """
    route = decoded(request.url_vars["database"])
    database = database_for_route(datasette, route)
    if database is None or not await may_view(datasette, request.actor, database.name):
        raise NotFoundError(f"Database not found: {route:.200}")
    return database


async def resolve_target(datasette: Datasette, request: Request) -> Target:
    """The collection that the URL of *request* names.

    :raises NotFoundError: if there is none, or the actor may not see it.
    """
    database = await resolve_database(datasette, request)
    name = decoded(request.url_vars["collection"])
    async with readable(database):
        collection = await permissions.visible_collection(
            datasette, request.actor, database, name
        )
    if collection is None:
        raise CollectionNotFoundError(name, database)
    return Target(database, collection, collection_path(datasette, database.name, name))


def collection_path(datasette: Datasette, database: str, name: str) -> str:
    """The path of a collection's search page."""
    prefix = datasette.urls.database(database)
    return f"{prefix}/-/embeddings/{tilde_encode(name)}"


def image_path(target: Target, item_id: str) -> str:
    """Where the image of an item is served."""
    return f"{target.path}/image/{tilde_encode(item_id)}"


def decoded(part: str) -> str:
    """What *part* of a path stands for.

    :raises NotFoundError: if it is not tilde-encoded.
    """
    try:
        return tilde_decode(part)
    except ValueError as error:
        raise NotFoundError(f"Not a tilde-encoded name: {part:.200}") from error
