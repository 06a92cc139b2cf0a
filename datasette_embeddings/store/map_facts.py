"""What is stored about the map of a collection, as another program may have left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datasette_embeddings.store.map_areas import FARTHEST, Square


@dataclass(frozen=True)
class MapSettings:
    """How a map is made."""

    method: str
    seed: int = 0


@dataclass(frozen=True)
class MapFacts:
    """What is stored about the map of a collection."""

    method: str
    seed: int
    #: Documents on it
    documents: int
    #: Of those, how many were placed among the others after it was made
    placed: int
    #: A random number, another after each change
    version: int
    #: The coordinates of the points, which new ones do not exceed
    min_x: float
    max_x: float
    min_y: float
    max_y: float

    @property
    def square(self) -> Square:
        """The square of tile 1, which has all points: their bounding box in the middle.

        Its side is 1 if all points are at the same place.
        """
        width, height = self.max_x - self.min_x, self.max_y - self.min_y
        side = max(width, height) or 1.0
        left, bottom = self.min_x - (side - width) / 2, self.min_y - (side - height) / 2
        return Square(left, bottom, side)


def read_settings(stored: Mapping[str, object]) -> MapSettings | None:
    """The settings in the JSON object *stored*; None if they are not valid."""
    method, seed = stored.get("method"), stored.get("seed")
    if not isinstance(method, str) or type(seed) is not int:
        return None
    return MapSettings(method, seed)


def read_map_facts(stored: Mapping[str, object]) -> MapFacts | None:
    """The facts in the JSON object *stored*; None if they are not valid."""
    settings = read_settings(stored)
    counts = [_integer(stored.get(name)) for name in ("documents", "placed", "version")]
    edges = [_number(stored.get(name)) for name in ("min_x", "max_x", "min_y", "max_y")]
    if settings is None or None in counts or None in edges:
        return None
    documents, placed, version = (each or 0 for each in counts)
    min_x, max_x, min_y, max_y = (each or 0.0 for each in edges)
    if min_x > max_x or min_y > max_y:
        return None
    return MapFacts(
        **vars(settings),
        documents=documents,
        placed=placed,
        version=version,
        min_x=min_x,
        max_x=max_x,
        min_y=min_y,
        max_y=max_y,
    )


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or not -FARTHEST < value < FARTHEST:
        return None
    return float(value)
