"""The JSON API of collections: lists of them, and searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.web import search_request
from datasette_embeddings.web.filters import Facet
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.middleware import (
    READS,
    cors_headers,
    json_response,
    json_view,
)
from datasette_embeddings.web.permissions import served_databases
from datasette_embeddings.web.resolve import (
    Target,
    listed_targets,
    resolve_database,
    resolve_target,
)
from datasette_embeddings.web.search_response import run_search
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils import MultiParams
    from datasette.utils.asgi import Request, Response

    from datasette_embeddings.search.matches import Match
    from datasette_embeddings.store.collections import Collection

# Of Datasette's shapes: the answer itself, and the list in it
SHAPES = ("objects", "array")
NAMES = ("_shape", "_nl")


@json_view(*READS)
async def collections(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings.json`` and ``/{database}/-/embeddings.json``"""
    is_one = "database" in request.url_vars
    database = await resolve_database(datasette, request) if is_one else None
    address = Address.of(request)
    address.check_names(NAMES)
    databases = served_databases(datasette) if database is None else [database]
    body = list_body(await listed_targets(datasette, request, databases))
    if database is not None:
        body["database"] = database.name
    return shaped(datasette, request, address.args, body, "collections")


@json_view(*READS, "POST", limited=True)
async def search(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}.json``"""
    # First: visitors who may not see the collection learn nothing from other errors
    target = await resolve_target(datasette, request)
    config = config_of(datasette)
    address = Address.of(request)
    if body is None:
        address.check_names((*search_request.NAMES, *NAMES))
        asked = search_request.from_args(address.args, config)
    else:
        address.check_names(NAMES)
        asked = search_request.from_body(body, config)
    response = await run_search(target, asked)
    answer: dict[str, Any] = {
        "ok": True,
        "database": target.database.name,
        "collection": _collection_body(target.collection, response.count),
        "query": asked.to_json(),
        "matches": [_match_body(target, match) for match in response.matches],
        "next": None if response.next is None else str(response.next),
        "next_url": None,
        "scanned": response.is_scanned,
        "left_out": response.left_out,
        "took_ms": round(response.took_ms, 1),
    }
    if body is None and response.next is not None:
        next_path = address.next_path(response.next)
        answer["next_url"] = str(datasette.absolute_url(request, next_path))
    if response.facet is not None:
        answer["facet_results"] = _facet_body(response.facet)
    return shaped(datasette, request, address.args, answer, "matches")


@json_view(*READS, "POST", "PUT", "PATCH", "DELETE")
async def unknown_path(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """Any path below those of the API, for which Datasette might answer in HTML."""
    raise NotFoundError(f"No such path: {request.path:.200}")


def shaped(
    datasette: Datasette,
    request: Request,
    args: MultiParams,
    body: dict[str, Any],
    rows: str,
) -> Response:
    """*body*, or with ``_shape=array`` the list ``body[rows]``.

    :raises InvalidInputError: for another shape.
    """
    from datasette import Response

    shape = args.get("_shape") or SHAPES[0]
    if shape not in SHAPES:
        raise InvalidInputError(
            f"_shape: expected one of {', '.join(SHAPES)}, found {quoted(shape)}"
        )
    is_lines = args.get("_nl") not in (None, "", "off", "0")
    if shape == "objects":
        if is_lines:
            raise InvalidInputError("_nl: expected _shape=array with it")
        return json_response(datasette, request, body)
    if not is_lines:
        return json_response(datasette, request, body[rows])
    return Response(
        "\n".join(json.dumps(each) for each in body[rows]),
        headers=cors_headers(datasette, request),
        content_type="application/x-ndjson; charset=utf-8",
    )


def _match_body(target: Target, match: Match) -> dict[str, Any]:
    return {
        "id": match.id,
        "score": match.score,
        "title": match.title,
        "content": match.content,
        "url": target.row_path(match),
        "image_url": target.image_path(match),
        "metadata": match.metadata,
        "document_id": match.document_id,
        "start": match.start,
        "end": match.end,
        "stale": match.stale,
    }


def _facet_body(facet: Facet) -> dict[str, Any]:
    """As in Datasette's JSON of a table, without the links of its page."""
    results = [{"value": each.value, "count": each.count} for each in facet.values]
    body = {
        "name": facet.column,
        "type": "column",
        "results": results,
        "truncated": facet.is_truncated,
    }
    return {"results": {facet.column: body}}


def list_body(found: Sequence[tuple[Target, int]]) -> dict[str, Any]:
    """The body of a list of collections, each with its number of items."""
    collections = [
        {
            "database": target.database.name,
            **_collection_body(target.collection, count),
            "url": target.path,
        }
        for target, count in found
    ]
    return {"ok": True, "collections": collections}


def _collection_body(collection: Collection, count: int) -> dict[str, Any]:
    return {
        "name": collection.name,
        "model": collection.model_id,
        "count": count,
        "dimensions": collection.dimensions,
    }
