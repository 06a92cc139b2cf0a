"""Clusters that a test writes itself."""

from __future__ import annotations

import numpy as np

from datasette_embeddings.store import schema
from datasette_embeddings.store.cluster_facts import ClusterFacts, ClusterSettings
from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.store.collections import collection

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
    return collection(conn, name)


def give_named_clusters(conn, name, members):
    """:func:`give_clusters` by their names; under None, the documents in none."""
    named = [([each], ids) for each, ids in members.items() if each is not None]
    return give_clusters(conn, name, named, none=members.get(None, ()))
