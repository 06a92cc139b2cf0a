"""What a map is of: its clusters, its legend, documents, and matches of a search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from datasette.app import Datasette
from datasette.utils.asgi import Request, Response

from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.maps.colors import NO_VALUE_COLOR, Legend
from datasette_embeddings.maps.points import places_of_clusters
from datasette_embeddings.search.matches import has_images, matches
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.web import search_request
from datasette_embeddings.web.caching import cached
from datasette_embeddings.web.map_access import Map, MapRequest, resolve_map
from datasette_embeddings.web.map_tiles import JSON, required_color
from datasette_embeddings.web.middleware import cors_headers, json_view
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.search_page import LENGTHS
from datasette_embeddings.web.search_response import run_search
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

MOST_CLUSTERS, MOST_ITEMS, MOST_MATCHES = 500, 50, 200
ITEM = "id"
# Of a search, what says which documents match; a map has no pages and no order
MATCH_NAMES = (
    *("q", "like", "_mode", "_as_typed", "_typing", "_size"),
    *("_min_score", "_min_cosine", "_prefix", "_chunks"),
)


@json_view(limited=True)
async def map_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map.json``"""
    asked = await resolve_map(datasette, request)
    body = await asked.read(partial(map_body, asked.target))
    return cached(datasette, request, json.dumps(body).encode(), JSON)


def map_body(target: Target, found: Map) -> dict[str, Any]:
    """What :func:`map_json` says of a map."""
    facts, square = found.facts, found.facts.square
    return {
        "ok": True,
        "database": target.database.name,
        "collection": found.collection.name,
        "map": {
            "method": facts.method,
            "documents": facts.documents,
            # Too large a number for JavaScript
            "version": str(facts.version),
            "min_x": facts.min_x,
            "max_x": facts.max_x,
            "min_y": facts.min_y,
            "max_y": facts.max_y,
            "square": {
                "left": square.left,
                "bottom": square.bottom,
                "side": square.side,
            },
        },
        "clusters": found.value("clusters", partial(_clusters, found)),
        "colors": found.color_names(),
        "has_images": has_images(found.collection),
    }


def _clusters(found: Map) -> list[dict[str, Any]]:
    """The largest clusters, and where on the map each is."""
    clusters = Clusters(found.collection).all()[:MOST_CLUSTERS]
    places = places_of_clusters(found.collection, clusters)
    bodies = []
    for each in clusters:
        x, y = places.get(each.number, (None, None))
        body = {"cluster": each.number, "name": each.name, "size": each.size}
        bodies.append({**body, "x": x, "y": y})
    return bodies


@json_view(limited=True)
async def legend_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map/legend.json``"""
    asked = await resolve_map(datasette, request)
    by = required_color(asked)
    body = legend_body(await asked.read(lambda found: found.legend(by)))
    return cached(datasette, request, json.dumps(body).encode(), JSON)


def legend_body(legend: Legend) -> dict[str, Any]:
    """What :func:`legend_json` says of a legend."""
    return {
        "ok": True,
        "by": legend.by,
        "kind": "numbers" if legend.is_ordered else "categories",
        "documents": legend.documents,
        "is_sample": legend.is_sample,
        "values": [dict(vars(each)) for each in legend.entries],
        "no_value_color": NO_VALUE_COLOR,
    }


@json_view(limited=True)
async def items_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map/items.json``"""
    asked = await resolve_map(datasette, request)
    ids = list(dict.fromkeys(asked.address.args.getlist(ITEM)))
    if not 0 < len(ids) <= MOST_ITEMS:
        raise InvalidInputError(
            f"Expected id=… once for each of 1 to {MOST_ITEMS} documents, found "
            f"{len(ids):,}"
        )
    items = await asked.read(partial(_items, asked.target, ids))
    body = {"ok": True, "items": items}
    return Response.json(body, headers=cors_headers(datasette, request))


def _items(target: Target, ids: Sequence[str], found: Map) -> list[dict[str, Any]]:
    """Those of *ids* that exist, as the map shows them when one points at them."""
    collection = found.collection
    existing = existing_documents(collection, ids)
    shown = matches(collection, [Hit(each, 1.0) for each in ids if each in existing])
    places, clusters = (
        Coordinates(collection).of(ids),
        Clusters(collection).numbers_of(ids),
    )
    bodies = []
    for match in shown:
        if match.row_is_missing:
            continue
        x, y = places.get(match.id, (None, None))
        body = {
            "id": match.id,
            "title": match.title,
            "snippet": match.snippet(LENGTHS["snippet_length"]),
            "url": target.url(match),
            "image_url": target.image_path(match),
            "like_url": target.like_path(match.id),
            "cluster": clusters[match.id],
        }
        bodies.append({**body, "x": x, "y": y})
    return bodies


@json_view(limited=True)
async def matches_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map/matches.json``"""
    target = await resolve_target(datasette, request)
    address = Address.of(request)
    address.check_names(MATCH_NAMES)
    asked, config = MapRequest(target, Address(address.path)), config_of(datasette)
    await asked.read(lambda _found: None)
    search = search_request.from_args(address.args, config)
    if search.text is None and search.like is None:
        raise InvalidInputError("Expected q=TEXT or like=ID, found neither")
    size = search.size if address.args.get("_size") else config.max_size
    response = await run_search(target, replace(search, size=min(size, MOST_MATCHES)))
    ids = [match.document_id for match in response.matches]
    places = await target.read(lambda collection: Coordinates(collection).of(ids))
    found = []
    for match in response.matches:
        x, y = places.get(match.document_id, (None, None))
        body = {"id": match.document_id, "title": match.title, "score": match.score}
        found.append({**body, "x": x, "y": y, "url": target.url(match)})
    answer: dict[str, Any] = {"ok": True, "mode": response.mode}
    answer |= {"close": response.close, "matches": found}
    return Response.json(answer, headers=cors_headers(datasette, request))
