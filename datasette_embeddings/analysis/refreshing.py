"""Everything that is derived from the vectors of a collection, kept up to date."""

from __future__ import annotations

from datasette_embeddings.analysis import maps
from datasette_embeddings.analysis.projections import check_method
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.similarities import refreshing as similarities
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates


def refresh(collection: StoredCollection) -> None:
    """Bring what *collection* has of similarities and a map up to date."""
    similarities.refresh(collection)
    if collection.has_map:
        maps.refresh(collection)


def check_can_rebuild(existing: StoredCollection | None) -> None:
    """Check that what *existing* has can be made again for a rebuilt collection.

    Nothing is embedded in vain.

    :raises MissingLibraryError: if a library is not installed.
    """
    if existing is not None and existing.has_map:
        settings = Coordinates(existing).settings
        if settings is not None:
            check_method(settings.method)


def follow(
    existing: StoredCollection,
    collection: StoredCollection,
    *,
    start: Callback = ignore,
    progress: Callback = ignore,
) -> None:
    """Let *collection* have the map that *existing* has.

    It is refreshed, or made again if the one is being rebuilt for the other.
    """
    if existing.has_map and collection.id == existing.id:
        maps.refresh(collection)
    elif existing.has_map:
        settings = Coordinates(existing).settings
        if settings is not None and collection.count_items():
            maps.build(collection, settings, start=start, progress=progress)
