"""Everything that is derived from the vectors of a collection, kept up to date."""

from __future__ import annotations

from datasette_embeddings.similarities import refreshing as similarities
from datasette_embeddings.store.collections import StoredCollection


def refresh(collection: StoredCollection) -> None:
    """Bring the similarities of *collection* up to date, if it has some."""
    similarities.refresh(collection)
