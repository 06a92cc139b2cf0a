"""Clusters and coordinates that a test writes itself."""

from __future__ import annotations

import numpy as np

from datasette_embeddings.store import schema
from datasette_embeddings.store.cluster_facts import ClusterFacts, ClusterSettings
from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapFacts

MADE = 1_750_000_000  # 15 June 2025


def give_clusters(conn, name, clusters, *, none=(), summaries=None):
    """Clusters to the collection called *name*: words and documents, nearest first.

    The documents of each are at distances 0.1, 0.2 and so on; *none* are in no cluster.
    """
    store = Clusters(collection(conn, name))
    store.prepare()
    summaries = summaries or {}
    found = [
        Cluster(
            number,
            summaries.get(number) or ", ".join(words),
            len(ids),
            tuple(words),
            tuple(ids[:3]),
            summaries.get(number),
        )
        for number, (words, ids) in enumerate(clusters, 1)
    ]
    sizes = tuple(each.size for each in found)
    documents = sum(sizes) + len(none)
    facts = ClusterFacts(ClusterSettings(), sizes, documents, joined=2, made=MADE)
    with schema.transaction(conn):
        store.clear()
        store.write(
            (each, number, place / 10, "")
            for number, (_words, ids) in enumerate(clusters, 1)
            for place, each in enumerate(ids, 1)
        )
        store.write((each, None, None, "") for each in none)
        centers = {each.number: np.zeros(3, "<f4") for each in found}
        store.write_names(found, centers)
        store.store_facts(facts)


def give_map(conn, name, points):
    """A map of the collection called *name*: x and y of documents."""
    coordinates = Coordinates(collection(conn, name))
    coordinates.prepare()
    x, y = zip(*points.values(), strict=True)
    edges = float(min(x)), float(max(x)), float(min(y)), float(max(y))
    with schema.transaction(conn):
        coordinates.write(
            (each, float(x), float(y), 1, "") for each, (x, y) in points.items()
        )
        facts = MapFacts("pca", 0, len(points), 0, 1, *edges)
        coordinates.store_facts(facts, [1])
