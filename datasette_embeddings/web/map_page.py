"""The page of a map, and the map as a picture."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from datasette.app import Datasette
from datasette.utils import value_as_boolean
from datasette.utils.asgi import Request, Response

from datasette_embeddings.errors import EmbeddingsError, InvalidInputError
from datasette_embeddings.maps import drawing, pictures
from datasette_embeddings.maps.drawing import Picture
from datasette_embeddings.web.caching import cached
from datasette_embeddings.web.compat import database_color
from datasette_embeddings.web.http_errors import NotFoundError, status_of
from datasette_embeddings.web.images import SAFETY
from datasette_embeddings.web.map_access import (
    BY,
    VERSION,
    Map,
    MapRequest,
    resolve_map,
)
from datasette_embeddings.web.map_json import legend_body, map_body
from datasette_embeddings.web.middleware import json_view, page_view
from datasette_embeddings.web.pages import render_page
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address, joined

# Without Datasette's header and footer, for a page that shows it in a frame
EMBED = "embed"
WIDTH, HEIGHT = 1_200, 800
SVG, PNG = "image/svg+xml; charset=utf-8", "image/png"
TEMPLATE = "embeddings_map.html"


@page_view(limited=True)
async def page(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map``"""
    target = await resolve_target(datasette, request)
    address = Address.of(request)
    address.check_names(())
    # A version is that of a picture or a tile; the page shows the present one
    asked = MapRequest(target, address.without(VERSION))
    context: dict[str, Any] = {
        "target": target,
        "collection": target.collection,
        "database": target.database.name,
        "db_color": database_color(target.database),
        "is_embedded": _is_embedded(address),
        "error": None,
        "map": None,
        "by": None,
        "legend": None,
        "paths": _paths(target),
        "svg_path": None,
        "full_path": address.with_args({EMBED: None}),
        "max_query_length": config_of(datasette).max_query_length,
        "alternate_url_json": f"{target.path}/map.json",
    }
    status = 200
    try:
        context |= await asked.read(partial(_context, asked))
    except EmbeddingsError as error:
        context["error"], status = str(error), status_of(error)
    return await render_page(datasette, request, TEMPLATE, context, status=status)


def _context(asked: MapRequest, found: Map) -> dict[str, Any]:
    """What the page shows of a map."""
    names = found.color_names()
    by = asked.by or (names[0] if names else None)
    legend = None if by is None else legend_body(found.legend(by))
    pairs = [(BY, by)] if by else []
    svg_path = joined(
        f"{asked.target.path}/map.svg", [*pairs, (VERSION, str(found.facts.version))]
    )
    body = map_body(asked.target, found)
    return {"map": body, "by": by, "legend": legend, "svg_path": svg_path}


def _is_embedded(address: Address) -> bool:
    text = address.args.get(EMBED) or "0"
    try:
        return bool(value_as_boolean(text))
    except ValueError:
        raise InvalidInputError(f"{EMBED}: expected 1 or 0") from None


def _paths(target: Target) -> dict[str, str | None]:
    """Where the page finds what it shows; ``{n}`` stands for the number of a tile."""
    path = f"{target.path}/map"
    return {
        "map": path,
        "json": f"{path}.json",
        "tiles": f"{path}/tiles/{{n}}",
        "colors": f"{path}/colors/{{n}}",
        "legend": f"{path}/legend.json",
        "ids": f"{path}/ids/{{n}}.json",
        "items": f"{path}/items.json",
        "matches": f"{path}/matches.json",
        "svg": f"{path}.svg",
        "png": f"{path}.png" if drawing.makes_png() else None,
        "search": target.path,
        "like": f"{target.path}?like=",
        "clusters": f"{target.path}/clusters",
    }


@json_view(limited=True)
async def svg(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map.svg``"""
    asked = await resolve_map(datasette, request)
    _found, picture = await asked.read(partial(_picture, asked.by))
    content = await asyncio.to_thread(drawing.as_svg, picture)
    return cached(datasette, request, content.encode(), SVG, headers=SAFETY)


@json_view(limited=True)
async def png(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map.png``"""
    asked = await resolve_map(datasette, request)
    if not drawing.makes_png():
        raise NotFoundError(
            "This server draws no PNG, because Pillow is not installed there; map.svg "
            "is the same picture"
        )
    found, picture = await asked.read(partial(_picture, asked.by))
    # Not in a thread of the database: it takes half a second
    draw = partial(drawing.as_png, picture)
    name = f"png {asked.by!r}"
    content = await asyncio.to_thread(found.value, name, draw, kind="picture")
    return cached(datasette, request, content, PNG, headers=SAFETY)


def _picture(by: str | None, found: Map) -> tuple[Map, Picture]:
    make = partial(pictures.picture, found.collection, by, WIDTH, HEIGHT)
    return found, found.value(f"picture {by!r}", make, kind="picture")
