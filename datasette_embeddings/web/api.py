"""The JSON API of collections: lists of them, and searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasette_embeddings.web import json_bodies, search_request
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.json_bodies import list_body, search_body, shaped
from datasette_embeddings.web.middleware import READS, json_view
from datasette_embeddings.web.permissions import served_databases
from datasette_embeddings.web.resolve import (
    listed_targets,
    resolve_database,
    resolve_target,
)
from datasette_embeddings.web.search_response import run_search
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
    databases = served_databases(datasette)
    found = await listed_targets(datasette, request, databases)
    return shaped(datasette, request, address.args, list_body(found), "collections")


@json_view(*READS)
async def database_collections(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings.json``"""
    database = await resolve_database(datasette, request)
    address = Address.of(request)
    address.check_names(json_bodies.NAMES)
    found = await listed_targets(datasette, request, [database])
    body = {**list_body(found), "database": database.name}
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
        address.check_names((*search_request.NAMES, *json_bodies.NAMES))
        asked = search_request.from_args(address.args, config)
    else:
        address.check_names(json_bodies.NAMES)
        asked = search_request.from_body(body, config)
    response = await run_search(target, asked)
    next_path = address.next_path(response.next) if body is None else None
    next_url = next_path and str(datasette.absolute_url(request, next_path))
    answer = search_body(response, next_url)
    return shaped(datasette, request, address.args, answer, "matches")


@json_view(*READS, "POST", "PUT", "PATCH", "DELETE")
async def unknown_path(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """Any path below those of the API, for which Datasette might answer in HTML."""
    raise NotFoundError(f"No such path: {request.path:.200}")
