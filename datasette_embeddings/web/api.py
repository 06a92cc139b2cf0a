"""The JSON API of collections: lists of them, and searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasette_embeddings.web import json_bodies, resolve, search_request
from datasette_embeddings.web.compat import all_databases
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.json_bodies import list_body, search_body, shaped
from datasette_embeddings.web.middleware import READS, json_view, queued
from datasette_embeddings.web.search_response import SearchResponse, search_response
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response


@json_view(*READS)
async def all_collections(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings.json``"""
    address = Address.of(request)
    address.check_names(json_bodies.NAMES)
    databases = all_databases(datasette)
    found = await resolve.listed(datasette, request, databases)
    return shaped(datasette, request, address.args, list_body(found), "collections")


@json_view(*READS)
async def database_collections(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings.json``"""
    database = await resolve.resolve_database(datasette, request)
    address = Address.of(request)
    address.check_names(json_bodies.NAMES)
    found = await resolve.listed(datasette, request, [database])
    body = {**list_body(found), "database": database.name}
    return shaped(datasette, request, address.args, body, "collections")


@json_view(*READS, "POST")
@queued
async def search(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}.json``"""
    # Whoever may not see the collection learns nothing from what is wrong otherwise
    target = await resolve.resolve_target(datasette, request)
    config = config_of(datasette)
    address = Address.of(request)
    if body is None:
        address.check_names((*search_request.NAMES, *json_bodies.NAMES))
        question = search_request.from_args(address.args, config)
    else:
        address.check_names(json_bodies.NAMES)
        question = search_request.from_body(body, config)
    answer = await search_response(datasette, target, question)
    next_url = _next_url(datasette, request, address, answer) if body is None else None
    return shaped(
        datasette,
        request,
        address.args,
        search_body(answer, next_url),
        "matches",
    )


@json_view(*READS, "POST", "PUT", "PATCH", "DELETE")
async def unknown_path(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """Any path below those of the API, for which Datasette might answer in HTML."""
    raise NotFoundError(f"No such path: {request.path:.200}")


def _next_url(
    datasette: Datasette, request: Request, address: Address, answer: SearchResponse
) -> str | None:
    if answer.next is None:
        return None
    path = address.with_args({"_next": str(answer.next)})
    return str(datasette.absolute_url(request, path))
