"""A map as a picture, SVG or PNG: points, colours with a legend, names of clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from unicodedata import east_asian_width

import numpy as np

from datasette_embeddings.errors import InvalidInputError, NoMapError, quoted
from datasette_embeddings.maps.colors import (
    CATEGORY_COLORS,
    CLUSTER,
    COLUMN,
    NO_VALUE,
    NO_VALUE_COLOR,
    Legend,
    legend_of,
    read_values,
)
from datasette_embeddings.maps.drawing import Dots, Picture, Text, as_png, as_svg
from datasette_embeddings.maps.points import (
    DocumentPoints,
    first_points,
    places_of_clusters,
)
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapFacts

#: Points of a picture; of a larger map, those of its first tile
MOST_POINTS = 5_000
# Pixels of a side
SMALLEST, LARGEST = 300, 4_000
# Names of clusters that are tried, largest first, and characters of one
MOST_NAMES, LONGEST_NAME, LONGEST_TITLE = 60, 32, 80
# In pixels
MARGIN, TITLE_HEIGHT, LEGEND_WIDTH = 24, 48, 240
LINE, FONT_SIZE, TITLE_SIZE = 22, 13, 20
# Of the font size: an average letter, one of a wide script, the height of a line
LETTER, WIDE_LETTER, LETTER_HEIGHT = 0.6, 1.05, 1.3
# Radius of a point in pixels, of FEW points and of many
RADIUS, LEAST_RADIUS, FEW = 5.0, 2.0, 300
PLAIN_COLOR = CATEGORY_COLORS[0]
# A map whose points are all at one place has no width
SMALL = 1e-300
# Where the name of a cluster may stand: in the middle of it, below, above and beside
# it, in widths of the name and heights of its letters
TRIED_PLACES = (
    *((0, 0), (0, 1.4), (0, -1.4), (0.55, 0)),
    *((-0.55, 0), (0, 2.8), (0, -2.8)),
)

#: From a place on the map to one in the picture, in pixels
Fit: TypeAlias = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class _Box:
    """A rectangle that a text takes."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def contains(self, other: _Box) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def svg(
    collection: StoredCollection,
    *,
    color_by: str | None = None,
    width: int = 1200,
    height: int = 800,
) -> str:
    """The map of *collection* as SVG of at most 500 kB, with at most 5,000 points.

    *color_by* is "cluster" or a column; None: clusters, where there are any.

    :raises NoMapError: if it has no map.
    :raises InvalidInputError: if it has no such column, or for a side of less than 300
        or more than 4,000 pixels.
    """
    return as_svg(picture(collection, color_by, width, height))


def png(
    collection: StoredCollection,
    *,
    color_by: str | None = None,
    width: int = 1200,
    height: int = 800,
) -> bytes:
    """:func:`svg` as PNG, with two pixels for each of the SVG in both directions.

    :raises MissingLibraryError: without Pillow.
    """
    return as_png(picture(collection, color_by, width, height))


def picture(
    collection: StoredCollection, color_by: str | None, width: int, height: int
) -> Picture:
    """What :func:`svg` and :func:`png` draw."""
    for side in (width, height):
        if not SMALLEST <= side <= LARGEST:
            raise InvalidInputError(
                f"Expected a picture with sides of {SMALLEST} to {LARGEST:,} pixels, "
                f"found {quoted(side)}"
            )
    facts = Coordinates(collection).facts
    if facts is None:
        raise NoMapError(collection.name)
    if color_by is None and Clusters(collection).settings is not None:
        color_by = CLUSTER
    legend = None if color_by is None else legend_of(collection, color_by)
    points = first_points(collection, MOST_POINTS)
    right = width - MARGIN - (LEGEND_WIDTH if legend else 0)
    plot = _Box(MARGIN, TITLE_HEIGHT, right, height - MARGIN)
    fit = _fit(points, plot)
    title = f"Map of {shortened(collection.name, LONGEST_TITLE)}"
    dots = list(_dots(collection, points, legend, fit))
    texts = [Text(title, MARGIN, TITLE_SIZE + 12, TITLE_SIZE)]
    texts += _names(collection, fit, plot)
    for dot, text in _legend_lines(legend, right + MARGIN, plot.bottom):
        dots += [dot] if dot else []
        texts.append(text)
    description = _description(facts, len(points), legend)
    return Picture(width, height, title, description, dots, texts)


def _description(facts: MapFacts, drawn: int, legend: Legend | None) -> str:
    """The picture in words, for those who do not see it."""
    text = (
        f"{facts.documents:,} documents, placed by their meaning ({facts.method}); "
        f"{drawn:,} of them are drawn."
    )
    if legend is None:
        return text
    counts = ", ".join(f"{each.label} {each.count:,}" for each in legend.entries)
    return f"{text} Coloured by {legend.by.removeprefix(COLUMN):.200}: {counts}."


def _fit(points: DocumentPoints, plot: _Box) -> Fit:
    """From coordinates of the map to pixels: as large as *plot* allows, undistorted."""
    if not len(points):
        return lambda _x, _y: (plot.left, plot.top)
    left, right = float(points.x.min()), float(points.x.max())
    low, high = float(points.y.min()), float(points.y.max())
    room = plot.right - plot.left - 2 * RADIUS, plot.bottom - plot.top - 2 * RADIUS
    scale = min(room[0] / max(right - left, SMALL), room[1] / max(high - low, SMALL))
    middle = (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2

    def pixels(x: float, y: float) -> tuple[float, float]:
        return (
            middle[0] + (x - (left + right) / 2) * scale,
            middle[1] - (y - (low + high) / 2) * scale,
        )

    return pixels


def _dots(
    collection: StoredCollection,
    points: DocumentPoints,
    legend: Legend | None,
    fit: Fit,
) -> Iterator[Dots]:
    """The points, by colour; those without a value lie below the others."""
    positions = np.zeros(len(points), np.uint8)
    colors = {0: PLAIN_COLOR}
    if legend is not None:
        values = read_values(collection, legend.by, points.ids)
        positions = legend.positions(values)
        colors = dict(enumerate(each.color for each in legend.entries))
        colors[NO_VALUE] = NO_VALUE_COLOR
    crowd = (FEW / max(len(points), FEW)) ** 0.3
    radius = max(LEAST_RADIUS, RADIUS * crowd)
    for position in sorted(colors, reverse=True):
        own = np.flatnonzero(positions == position).tolist()
        places = [fit(float(points.x[each]), float(points.y[each])) for each in own]
        yield Dots(colors[position], radius, places, opacity=0.75)


def _names(collection: StoredCollection, fit: Fit, plot: _Box) -> Iterator[Text]:
    """The names of the largest clusters, each where no other is."""
    clusters = Clusters(collection).all()[:MOST_NAMES]
    places = places_of_clusters(collection, clusters)
    taken: list[_Box] = []
    for cluster in clusters:
        if cluster.number not in places:
            continue
        name = shortened(cluster.name, LONGEST_NAME)
        x, y = fit(*places[cluster.number])
        for dx, dy in TRIED_PLACES:
            box = _box(name, x + dx * _width(name), y + dy * FONT_SIZE)
            if plot.contains(box) and not any(map(box.overlaps, taken)):
                taken.append(box)
                middle, bottom = (box.left + box.right) / 2, box.bottom - 4
                yield Text(name, middle, bottom, FONT_SIZE, is_name=True)
                break


def _legend_lines(
    legend: Legend | None, left: float, bottom: float
) -> Iterator[tuple[Dots | None, Text]]:
    """What the colours mean, one below the other, as far as there is room."""
    if legend is None:
        return
    heading = shortened(legend.by.removeprefix(COLUMN), LONGEST_NAME)
    top = float(TITLE_HEIGHT + FONT_SIZE)
    yield None, Text(heading, left, top, FONT_SIZE)
    for entry in legend.entries:
        top += LINE
        if top > bottom:
            return
        label = shortened(entry.label, LONGEST_NAME)
        dot = Dots(entry.color, 6, [(left + 6, top - 4.5)])
        yield dot, Text(label, left + 20, top, FONT_SIZE)


def _width(text: str) -> float:
    """About how many pixels *text* takes."""
    wide = sum(east_asian_width(each) in "WF" for each in text)
    return FONT_SIZE * (LETTER * (len(text) - wide) + WIDE_LETTER * wide)


def _box(text: str, x: float, y: float) -> _Box:
    """What *text* takes with its middle at *x* and *y*."""
    width, height = _width(text) / 2 + 3, FONT_SIZE * LETTER_HEIGHT / 2
    return _Box(x - width, y - height, x + width, y + height)
