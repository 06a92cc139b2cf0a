"""The points of a map as they are stored, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from datasette_embeddings.maps.tiles import assign_tiles
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapFacts

#: By the id of a document its x and y, and the state of the vector that they are of
PointsById: TypeAlias = dict[str, tuple[float, float, str | None]]


def stored_points(table: Coordinates, facts: MapFacts) -> tuple[PointsById, set[str]]:
    """The stored points, and the ids of what another program wrote among them.

    These are beyond the edges of the map, or not in their tile.
    """
    points: PointsById = {}
    rows = table.rows()
    for each, x, y, _tile, state in rows:
        if facts.min_x <= x <= facts.max_x and facts.min_y <= y <= facts.max_y:
            points[each] = x, y, state
    tiles = dict(zip(points, tiles_of(points, facts), strict=True))
    odd = {each for each, _x, _y, tile, _state in rows if tiles.get(each) != tile}
    return points, odd | table.odd_ids()


def changes(points: PointsById, states: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """Documents without a point of their vector, and points without a document."""
    changed = {
        each
        for each, state in states.items()
        if each not in points or points[each][2] != state
    }
    return changed, points.keys() - states.keys()


def tiles_of(points: PointsById, facts: MapFacts) -> list[int]:
    """The tile of each of *points*."""
    x, y = np.array([each[:2] for each in points.values()]).reshape(-1, 2).T
    tiles: list[int] = assign_tiles(list(points), x, y, facts.square).tolist()
    return tiles
