"""Each document's nearest others, stored, so that related content needs no model."""

from __future__ import annotations

from datasette_embeddings.similarities.refreshing import (
    build,
    count_stale,
    refresh,
    remove,
)
from datasette_embeddings.similarities.work import Refreshed

__all__ = ["Refreshed", "build", "count_stale", "refresh", "remove"]
