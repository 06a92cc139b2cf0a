"""For other plugins of Datasette: a search as one of its visitors would make it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasette.app import Datasette
from datasette.utils.asgi import NotFound

from datasette_embeddings.config import DEFAULT_LIMIT, Mode
from datasette_embeddings.web.compat import Actor
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.middleware import limited
from datasette_embeddings.web.permissions import NOT_SERVED
from datasette_embeddings.web.resolve import Target, visible_targets
from datasette_embeddings.web.search_request import checked
from datasette_embeddings.web.search_response import run_search
from datasette_embeddings.web.server import config_of


class CollectionNotFoundError(NotFoundError, NotFound):  # type: ignore[misc]
    """No such collection, or none that the actor may see.

    A view that lets it pass answers with the status 404.
    """


async def search_collection(
    datasette: Datasette,
    actor: Actor,
    database: str,
    collection: str,
    text: str,
    *,
    limit: int = DEFAULT_LIMIT,
    offset: int = 0,
    mode: Mode = "both",
    filters: Mapping[str, Any] | None = None,
    prefix: str = "",
    min_score: float | None = None,
    min_cosine: float | None = None,
    all_chunks: bool = False,
    as_typed: bool = False,
) -> list[dict[str, object]]:
    """The *limit* best matches for *text* in a collection, as the JSON API has them.

    Each has the keys of a match there: id, score, title, content, url and so on. Only a
    collection whose source tables *actor*, such as ``request.actor``, may see is
    searched. *filters* are those of a JSON body, ``{"year__gt": 2020}``. The search
    takes its turn with those of visitors, and the settings limit it: *limit* is at most
    ``max_size``.

    :raises CollectionNotFoundError: if *actor* may not see it, or it does not exist.
    :raises EmbeddingsError: if an option is invalid, or the model is not available.
    """
    target = await _target(datasette, actor, database, collection)
    given = {
        "text": text,
        "size": limit,
        "next": str(offset),
        "mode": mode,
        "filters": filters,
        "prefix": prefix,
        "min_score": min_score,
        "min_cosine": min_cosine,
        "chunks": "all" if all_chunks else "best",
        "as_typed": as_typed,
    }
    names = {"size": "limit", "next": "offset"}
    request = checked(given, config_of(datasette), names)
    response = await limited(datasette, run_search, target, request)
    return [target.match_to_json(each) for each in response.matches]


async def _target(
    datasette: Datasette, actor: Actor, database: str, collection: str
) -> Target:
    found = datasette.databases.get(database)
    if found is not None and database not in NOT_SERVED:
        for target in await visible_targets(datasette, actor, found, collection):
            return target
    raise CollectionNotFoundError(
        f"No collection {collection!r:.200} in the database {database!r:.200} that "
        "this actor may see"
    )
