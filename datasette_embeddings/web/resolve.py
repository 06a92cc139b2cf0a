"""From the URL of a request to a collection that its actor may see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias, TypeVar
from urllib.parse import quote

from datasette.app import Datasette
from datasette.database import Database
from datasette.utils import tilde_decode, tilde_encode
from datasette.utils.asgi import Request

from datasette_embeddings.search.matches import Match
from datasette_embeddings.serving.allowed_models import AllowedModel
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web import permissions
from datasette_embeddings.web.compat import Actor, is_allowed
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.server import allowed_model

Result = TypeVar("Result")
#: Makes an address that the reader can open of a path of this Datasette
Absolute: TypeAlias = Callable[[str], str]
# No server takes a URL with a longer id in it
LONGEST_LINKED_ID = 2_000


@dataclass(frozen=True)
class Target:
    """A collection that the actor may see, and the paths that lead to it."""

    datasette: Datasette
    database: Database
    collection: StoredCollection

    @cached_property
    def path(self) -> str:
        """The path of its search page."""
        prefix = self.datasette.urls.database(self.database.name)
        return f"{prefix}/-/embeddings/{tilde_encode(self.collection.name)}"

    def to_json(self, count: int) -> dict[str, object]:
        """What the JSON API says of the collection, which has *count* items."""
        row: dict[str, object] = {
            "name": self.collection.name,
            "model": self.collection.model_id,
            "count": count,
            "dimensions": self.collection.dimensions,
        }
        if self.collection.truncated:
            row["truncated"] = self.collection.truncated
        return row

    def match_to_json(self, match: Match) -> dict[str, object]:
        """What the JSON API and templates say of *match*."""
        return {
            "id": match.id,
            "score": match.score,
            "cosine": match.cosine,
            "matched": match.matched,
            "title": match.title,
            "headings": match.headings,
            "content": match.content,
            "url": match.url or self.row_path(match),
            "image_url": self.image_path(match),
            "metadata": match.metadata,
            "document_id": match.document_id,
            "start": match.start,
            "end": match.end,
            "stale": match.stale,
            "rerank_score": match.rerank_score,
            "cluster": match.cluster,
            "cluster_name": match.cluster_name,
        }

    async def model(self) -> AllowedModel:
        """The model of the collection, as visitors may use it."""
        collection = self.collection
        return await allowed_model(self.datasette, collection.model_id, collection.home)

    def like_path(self, document_id: str) -> str | None:
        """The search for items like one; None if its id is too long for a URL."""
        if len(document_id) > LONGEST_LINKED_ID:
            return None
        return f"{self.path}?like={quote(document_id, safe='')}"

    def cluster_path(self, number: int | str) -> str:
        """The list of the documents of a cluster; *number* may be "none"."""
        return f"{self.path}?_cluster={number}"

    def image_path(self, match: Match) -> str | None:
        """Where the image of *match* is served, if it has one."""
        if not match.has_image or len(match.id) > LONGEST_LINKED_ID:
            return None
        return f"{self.path}/image/{tilde_encode(match.id)}"

    def url(self, match: Match) -> str | None:
        """Where *match* is on the owner's site, else the page of its source row."""
        return match.url or self.row_path(match)

    def linked(self, match: Match, absolute: Absolute) -> Match:
        """*match* with its address, made by *absolute*, for a reader elsewhere."""
        url = self.url(match)
        return replace(match, url=url and absolute(url))

    def row_path(self, match: Match) -> str | None:
        """The page of the source row of *match*, if there is one."""
        source = match.source
        if not isinstance(source, TableSource) or not match.has_row:
            return None
        if len(match.document_id) > LONGEST_LINKED_ID:
            return None
        table = self.datasette.urls.table(self.database.name, source.table)
        # The row was found by its key; an id of several columns is Datasette's path
        key = match.document_id.removeprefix(source.id_prefix)
        return f"{table}/{tilde_encode(key) if len(source.key_columns) == 1 else key}"

    async def read(self, function: Callable[[StoredCollection], Result]) -> Result:
        """What *function* returns for the collection, in a thread of the database."""
        found: Result = await self.database.execute_fn(
            lambda conn: function(self.collection.bound_to(conn))
        )
        return found


async def resolve_database(datasette: Datasette, request: Request) -> Database:
    """The database that the URL of *request* names, if its actor may see it."""
    route = tilde_decode(request.url_vars["database"])
    with suppress(KeyError):
        database = datasette.get_database(route=route)
        if database.name not in permissions.NOT_SERVED and await is_allowed(
            datasette, request.actor, "view-database", database.name
        ):
            return database
    raise NotFoundError(f"Database not found: {route:.200}")


async def resolve_target(datasette: Datasette, request: Request) -> Target:
    """The collection that the URL of *request* names, if its actor may see it."""
    database = await resolve_database(datasette, request)
    name = tilde_decode(request.url_vars["collection"])
    visible = await permissions.visible_collections(
        datasette, request.actor, database, name
    )
    if not visible:
        raise NotFoundError(f"Collection not found: {name:.200}")
    return Target(datasette, database, visible[0])


async def visible_targets(
    datasette: Datasette, actor: Actor, database: Database, name: str | None = None
) -> list[Target]:
    """The collections of *database* that *actor* may see, or the one called *name*."""
    if not await is_allowed(datasette, actor, "view-database", database.name):
        return []
    visible = await permissions.visible_collections(datasette, actor, database, name)
    return [Target(datasette, database, each) for each in visible]


async def listed_targets(
    datasette: Datasette, request: Request
) -> tuple[Database | None, list[tuple[Target, int]]]:
    """The database that the URL of *request* names, and its collections with counts.

    Without a database in the URL, those of all. Only what the actor may see is there.
    """
    database, databases = None, permissions.served_databases(datasette)
    if "database" in request.url_vars:
        database = await resolve_database(datasette, request)
        databases = [database]
    return database, [
        (target, await target.read(StoredCollection.count_items))
        for database in databases
        for target in await visible_targets(datasette, request.actor, database)
    ]
