"""The filters that a search page shows, each with a link that removes it."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.search.scope import ClusterNumbers, read_clusters
from datasette_embeddings.store.cluster_names import names_of
from datasette_embeddings.store.clusters import Clusters, cluster_name
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web import filters, search_request
from datasette_embeddings.web.resolve import Target
from datasette_embeddings.web.urls import Address

# Filters that a page names
SHOWN_FILTERS = 20
# Clusters that a page names
SHOWN_CLUSTERS = 5
CLUSTER, AREA = "_cluster", "_area"


@dataclass(frozen=True)
class Link:
    """A filter or a value of a facet on the page, and where it leads."""

    label: str
    path: str
    count: int = 0
    is_selected: bool = False


def filter_links(address: Address) -> list[Link]:
    """The first filters of *address*, those included that will turn out wrong."""
    links = []
    for pair in search_request.filters_of(address.args)[:SHOWN_FILTERS]:
        label = "=".join(pair)
        with suppress(ValueError, RecursionError):
            label = filters.in_words(pair) or label
        links.append(Link(label, address.toggle_filter(pair)))
    return links


async def scope_context(target: Target, address: Address) -> dict[str, Any]:
    """How many clusters there are, and the cluster and the area of *address*."""
    given, collection = ",".join(address.args.getlist(CLUSTER)), target.collection
    numbers: ClusterNumbers = ()
    names: dict[int, str] = {}
    count, links = 0, []
    with suppress(EmbeddingsError):
        numbers = read_clusters(given) if given else ()
    if collection.has_clusters:
        with suppress(EmbeddingsError, sqlite3.DatabaseError):
            count, names = await target.read(partial(_read_names, numbers))
    if given:
        label = f"Cluster: {_label(numbers, names) if numbers else given}"
        links.append(_removing(address, CLUSTER, label))
    if address.args.get(AREA):
        links.append(_removing(address, AREA, "Area of the map"))
    return {"cluster_count": count, "scope_links": links}


def _read_names(
    numbers: ClusterNumbers, collection: StoredCollection
) -> tuple[int, dict[int, str]]:
    """How many clusters there are, and the names of those of *numbers*."""
    return cluster_count(collection), names_of(collection, [*filter(None, numbers)])


def cluster_count(collection: StoredCollection) -> int:
    """How many clusters of *collection* have documents."""
    facts = Clusters(collection).facts
    return 0 if facts is None else sum(map(bool, facts.sizes))


def _label(numbers: ClusterNumbers, names: dict[int, str]) -> str:
    """Such as "sqlite, query; maps, tiles; none"."""
    shown = [
        "none" if each is None else names.get(each) or cluster_name(each, ())
        for each in numbers[:SHOWN_CLUSTERS]
    ]
    if len(numbers) > SHOWN_CLUSTERS:
        shown.append(f"and {len(numbers) - SHOWN_CLUSTERS} more")
    return "; ".join(shown)


def _removing(address: Address, name: str, label: str) -> Link:
    return Link(label, address.with_args({name: None, "_next": None}))
