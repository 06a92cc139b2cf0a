"""The documents of a map as rows for other programs, such as Observable."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import matches
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates

# Documents whose titles are read at a time
BLOCK = 500


def map_rows(
    collection: StoredCollection, *, titles: bool = True
) -> Iterator[dict[str, object]]:
    """``id``, ``x`` and ``y`` of each document on the map, by id.

    ``cluster`` is its number, null in none, if the collection has clusters, and
    ``title`` its title, null without one, if *titles* are wanted.
    """
    has_clusters = Clusters(collection).settings is not None
    rows = iter(Coordinates(collection).rows())
    while block := list(islice(rows, BLOCK)):
        ids = [row[0] for row in block]
        cluster_of = Clusters(collection).numbers_of(ids) if has_clusters else {}
        title_of: dict[str, str | None] = {}
        if titles:
            hits = [Hit(each, 1.0) for each in ids]
            title_of = {each.id: each.title for each in matches(collection, hits)}
        for each, x, y, _tile, _state in block:
            row: dict[str, object] = {"id": each, "x": x, "y": y}
            if has_clusters:
                row["cluster"] = cluster_of[each]
            if titles:
                row["title"] = title_of.get(each)
            yield row
