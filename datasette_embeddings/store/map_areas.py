"""Squares and areas of a map: which points are in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import InvalidInputError

#: Corners of an area
MOST_CORNERS = 100
# Beyond, the square of a distance would be infinite
FARTHEST = 1e100

Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Square:
    """A part of the map, with the coordinates of its lower left corner."""

    left: float
    bottom: float
    side: float

    def tile(self, number: int) -> Square:
        """The square of a tile, if this is the one of tile 1."""
        left, bottom, side = self.left, self.bottom, self.side
        for shift in range(number.bit_length() - 3, -1, -2):
            side /= 2
            left += side * (number >> shift & 1)
            bottom += side * (number >> shift + 1 & 1)
        return Square(left, bottom, side)

    def overlaps(self, left: float, bottom: float, right: float, top: float) -> bool:
        """Whether it has a point of a rectangle, edges included."""
        return (
            left <= self.left + self.side
            and self.left <= right
            and bottom <= self.bottom + self.side
            and self.bottom <= top
        )


def as_corners(polygon: Sequence[tuple[float, float]]) -> Numbers:
    """The corners of an area as an array, (n, 2).

    :raises InvalidInputError: if they are not 3 to ``MOST_CORNERS`` pairs of numbers.
    """
    if 3 <= len(polygon) <= MOST_CORNERS and all(len(each) == 2 for each in polygon):
        corners = np.array(polygon, dtype=np.float64)
        if (np.abs(corners) < FARTHEST).all():
            return corners
    raise InvalidInputError(
        f"Expected an area as 3 to {MOST_CORNERS} corners, each an x and a y; "
        f"found {len(polygon)} corners"
    )


def is_within(x: Numbers, y: Numbers, corners: Numbers) -> NDArray[np.bool_]:
    """Which points, (n,) each, are in an area: (n,).

    A line from a point to the right crosses the line around the area an odd number of
    times (the even-odd rule).
    """
    found = np.zeros(len(x), dtype=np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 <= y) != (y2 <= y)
        found ^= crosses & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
    return found
