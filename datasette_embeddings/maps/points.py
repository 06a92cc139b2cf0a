"""The points of a map that stand for all of them, and where its clusters are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_areas import Numbers

#: Points by which clusters are placed and values are counted; of a larger map, those of
#: its first tile
COUNTED = 20_480
# Documents that say where a cluster is that has none of those points
NEAREST_DOCUMENTS = 50
FIRST_TILE = 1


@dataclass(frozen=True)
class DocumentPoints:
    """Documents of a map and their coordinates, (n,) each."""

    ids: list[str]
    x: Numbers
    y: Numbers
    #: There are more documents on the map than these
    is_sample: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def first_points(collection: StoredCollection, most: int) -> DocumentPoints:
    """All points of the map if they are at most *most*, else those of its first tile.

    The first tile is a random sample of at most 4,096 points.
    """
    coordinates = Coordinates(collection)
    facts = coordinates.facts
    is_small = facts is not None and facts.documents <= most
    counts = coordinates.tiles() if is_small else {}
    # Another program may have written points since they were counted
    if sum(counts.values()) > most:
        counts = {}
    rows = [row for tile in counts or [FIRST_TILE] for row in coordinates.tile(tile)]
    return points_of(rows, is_sample=not counts)


def points_of(
    rows: Iterable[tuple[str, float, float]], *, is_sample: bool = False
) -> DocumentPoints:
    """*rows* of id, x and y as arrays."""
    found = list(rows)
    places = np.array([row[1:] for row in found], np.float64).reshape(-1, 2)
    return DocumentPoints(
        [row[0] for row in found], places[:, 0], places[:, 1], is_sample
    )


def places_of_clusters(
    collection: StoredCollection, clusters: Sequence[Cluster]
) -> dict[int, tuple[float, float]]:
    """A point in the middle of each of *clusters*, by number.

    It is the document nearest to the median of its coordinates, so that it is within
    the cluster.  A cluster without documents on the map is left out.
    """
    points, table = first_points(collection, COUNTED), Clusters(collection)
    number_of = table.numbers_of(points.ids)
    numbers = np.array([number_of[each] or 0 for each in points.ids])
    places = {}
    for cluster in clusters:
        own = np.flatnonzero(numbers == cluster.number)
        x, y = points.x[own], points.y[own]
        if not len(own):
            near = table.members(cluster.number, limit=NEAREST_DOCUMENTS)
            at = Coordinates(collection).of([each for each, _distance in near])
            members = points_of((each, *place) for each, place in at.items())
            x, y = members.x, members.y
        if len(x):
            places[cluster.number] = _middle(x, y)
    return places


def _middle(x: Numbers, y: Numbers) -> tuple[float, float]:
    """The point of *x* and *y*, (n,) each, that is nearest to their medians."""
    far = np.hypot(x - np.median(x), y - np.median(y))
    best = int(np.argmin(far))
    return float(x[best]), float(y[best])
