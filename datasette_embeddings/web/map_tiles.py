"""The points of a map by tiles: places, colours and ids, in the same order."""

from __future__ import annotations

import json
import struct
from functools import partial

import numpy as np
from datasette.app import Datasette
from datasette.utils.asgi import Request, Response

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.maps.colors import read_values
from datasette_embeddings.maps.points import points_of
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_tiles import children, is_tile
from datasette_embeddings.web.caching import CHECKED, cached
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.map_access import Map, MapRequest, resolve_map
from datasette_embeddings.web.middleware import json_view
from datasette_embeddings.web.resolve import LONGEST_LINKED_ID
from datasette_embeddings.web.search_request import number_of

BINARY, JSON = "application/octet-stream", "application/json; charset=utf-8"
# A tile of a version never changes; a day, because permissions may
OF_A_VERSION = "max-age=86400, immutable"
# The right and the upper edge of a tile
EDGE = 65_535
FIRST = 1


@json_view()
async def tile(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map/tiles/{tile}``"""
    asked = await resolve_map(datasette, request)
    content = await asked.read(partial(_tile, _number(request)))
    public = _caching(asked)
    return cached(datasette, request, content, BINARY, public=public)


@json_view()
async def colors(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map/colors/{tile}``"""
    asked = await resolve_map(datasette, request)
    number, by = _number(request), required_color(asked)
    content = await asked.read(partial(_colors, number, by))
    return cached(datasette, request, content, BINARY)


@json_view()
async def ids_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/map/ids/{tile}.json``"""
    asked = await resolve_map(datasette, request)
    ids = await asked.read(partial(_ids, _number(request)))
    linked = [each if len(each) <= LONGEST_LINKED_ID else None for each in ids]
    content = json.dumps({"ok": True, "ids": linked}).encode()
    return cached(datasette, request, content, JSON, public=_caching(asked))


def required_color(asked: MapRequest) -> str:
    """By what the request wants the map to be coloured."""
    if asked.by is None:
        raise InvalidInputError("Expected by=cluster or by=COLUMN, found neither")
    return asked.by


def _number(request: Request) -> int:
    """The number of the tile in the URL."""
    text = request.url_vars["tile"]
    try:
        number = number_of(text)
    except ValueError:
        number = 0
    if not is_tile(number):
        raise NotFoundError(
            "Expected the number of a tile (1; 4 to 7; 16 to 31; and so on), found "
            f"{quoted(text)}"
        )
    return number


def _caching(asked: MapRequest) -> str:
    return CHECKED if asked.version is None else OF_A_VERSION


def _rows(number: int, found: Map) -> list[tuple[str, float, float]]:
    """The points of a tile, by id; only the first may have none."""
    rows = Coordinates(found.collection).tile(number)
    if not rows and number != FIRST:
        raise NotFoundError(f"The map has no tile {number}")
    return rows


def _tile(number: int, found: Map) -> bytes:
    """The count of points, which children the tile has, every x and every y."""
    points = points_of(_rows(number, found))
    square = found.facts.square.tile(number)
    places = [
        np.clip((each - start) / square.side, 0, 1) * EDGE
        for each, start in ((points.x, square.left), (points.y, square.bottom))
    ]
    bits = sum(1 << (each & 3) for each in children(found.collection, number))
    x, y = (each.round().astype("<u2").tobytes() for each in places)
    content: bytes = struct.pack("<II", len(points), bits) + x + y
    return content


def _ids(number: int, found: Map) -> list[str]:
    return [row[0] for row in _rows(number, found)]


def _colors(number: int, by: str, found: Map) -> bytes:
    """The position in the legend of each point, a byte."""
    legend, ids = found.legend(by), _ids(number, found)
    content: bytes = legend.positions(read_values(found.collection, by, ids)).tobytes()
    return content
