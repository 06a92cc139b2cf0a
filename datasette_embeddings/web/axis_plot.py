"""Documents on an axis as a strip of points, on two as a map: parts of an SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from datasette_embeddings.analysis.positions import Position

#: The size of both, in units of the SVG
WIDTH, STRIP_HEIGHT, MAP_HEIGHT = 1_000, 60, 600
# Between the outermost points and the edge
MARGIN = 10


@dataclass(frozen=True)
class Scale:
    """From positions, *lowest* to *highest*, to units of the SVG, *start* to *end*."""

    lowest: float
    highest: float
    start: float
    end: float

    def __call__(self, position: float) -> float:
        """Where *position* is, within the edges."""
        part = (position - self.lowest) / ((self.highest - self.lowest) or 1.0)
        return round(self.start + min(max(part, 0), 1) * (self.end - self.start), 1)


@dataclass(frozen=True)
class Plot:
    """What a template draws."""

    height: int
    #: One dot for each point, as the data of a path whose ends are round
    dots: str
    x: Scale
    #: From the bottom to the top; None for a strip
    y: Scale | None = None
    width: int = WIDTH


def plot(points: Sequence[Position], ranges: Sequence[tuple[float, float]]) -> Plot:
    """The strip or the map of *points*; *ranges* are the extremes on each axis.

    On a strip, a point's height says nothing: it keeps points apart.
    """
    x = Scale(*ranges[0], MARGIN, WIDTH - MARGIN)
    if len(ranges) == 1:
        tall = STRIP_HEIGHT - 2 * MARGIN
        heights = [
            MARGIN + crc32(each.id.encode("utf-8", "replace")) % tall for each in points
        ]
        dots = (
            (x(each.position), float(height))
            for each, height in zip(points, heights, strict=True)
        )
        return Plot(STRIP_HEIGHT, _path(dots), x)
    y = Scale(*ranges[1], MAP_HEIGHT - MARGIN, MARGIN)
    dots = ((x(each.position), y(each.position2 or 0.0)) for each in points)
    return Plot(MAP_HEIGHT, _path(dots), x, y)


def _path(dots: Iterable[tuple[float, float]]) -> str:
    return "".join(f"M{x:g} {y:g}h0" for x, y in dots)
