"""Everything that is made of the vectors of a collection, kept up to date."""

from __future__ import annotations

from typing import Any

from datasette_embeddings.clusters.building import build as build_clusters
from datasette_embeddings.clusters.kmeans import check_library
from datasette_embeddings.clusters.refreshing import advice
from datasette_embeddings.clusters.refreshing import refresh as refresh_clusters
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.maps import building as maps
from datasette_embeddings.maps.projections import check_method
from datasette_embeddings.similarities import refreshing as similarities
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.similarities import Similarities


def refresh(collection: StoredCollection) -> None:
    """Bring what *collection* has of similarities, clusters and a map up to date."""
    similarities.refresh(collection)
    if collection.has_clusters:
        refresh_clusters(collection)
    if collection.has_map:
        maps.refresh(collection)


def check_can_rebuild(existing: StoredCollection | None) -> None:
    """Check that what *existing* has can be made again for its new vectors.

    :raises MissingLibraryError: if a library is not installed.
    """
    if existing is not None and existing.has_clusters:
        check_library()
    if existing is not None and existing.has_map:
        settings = Coordinates(existing).settings
        if settings is not None:
            check_method(settings.method)


def derive(
    collection: StoredCollection,
    existing: StoredCollection | None,
    options: IngestOptions,
) -> str | None:
    """Bring what is made of vectors up to date; *collection* has it as *existing*.

    If the one is being rebuilt for the other, everything is made again.  Similarities
    are as *options* say, if they do.  Returns what to do about outdated clusters.
    """
    # Chunks and dimensions may have come with this run
    collection, asked = current(collection), options.similarities
    callbacks: dict[str, Any] = {"start": options.start, "progress": options.progress}
    if asked is None and existing is not None:
        asked = Similarities(existing).settings
    if asked is not None:
        similarities.build(collection, asked, **callbacks)
    if existing is None or not (existing.has_clusters or existing.has_map):
        return None
    if collection.id == existing.id:
        if existing.has_clusters:
            refresh_clusters(collection)
        if existing.has_map:
            maps.refresh(collection)
    elif collection.count_items():
        found = Clusters(existing).settings if existing.has_clusters else None
        if found is not None:
            build_clusters(collection, found, **callbacks)
        drawn = Coordinates(existing).settings if existing.has_map else None
        if drawn is not None:
            maps.build(collection, drawn, **callbacks)
    return advice(current(collection))
