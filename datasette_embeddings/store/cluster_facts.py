"""What is stored about the clusters of a collection as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KMEANS, HDBSCAN = "kmeans", "hdbscan"
METHODS = (KMEANS, HDBSCAN)
# More are no overview, and take long
MOST_COUNT = 1_000
LARGEST_MIN_SIZE = 1_000_000
LARGEST_SEED = 2**31 - 1
# Sizes that are read; hdbscan may find more clusters than another method is asked for
MOST_SIZES = 10_000
# The last second of the year 9999
LAST_SECOND = 253_402_300_799
# Above this part of all documents, those that joined make clusters outdated
MOST_JOINED = 0.1


@dataclass(frozen=True)
class ClusterSettings:
    """How clusters are to be found."""

    method: str = KMEANS
    #: How many; None: as many as separate the documents best
    count: int | None = None
    #: HDBSCAN: the fewest documents of a cluster; None: chosen by their number
    min_size: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ClusterFacts:
    """What is stored about all clusters of a collection."""

    settings: ClusterSettings
    #: Of each cluster from 1 on, how many documents it has
    sizes: tuple[int, ...]
    #: Documents, those in no cluster too
    documents: int
    #: Documents that were added or changed since the last full run
    joined: int = 0
    #: By which the count was chosen, -1 to 1; None if it was not
    silhouette: float | None = None
    #: Of the vectors that the clusters are of
    state: list[float | None] | None = None
    #: When the last full run was, in Unix seconds; None if that is unknown
    made: int | None = None
    #: A random number, another with each write of clusters
    version: int = 0

    @property
    def is_outdated(self) -> bool:
        """Whether another full run would change much: many documents joined."""
        return self.joined > MOST_JOINED * self.documents

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ClusterFacts | None:
        """The facts in *stored*; None without a known method.

        Another program may have written any values.
        """
        if stored.get("method") not in METHODS:
            return None
        silhouette, sizes = stored.get("silhouette"), stored.get("sizes")
        if not isinstance(sizes, list) or len(sizes) > MOST_SIZES:
            sizes = []
        state = stored.get("state")
        return cls(
            _settings(stored),
            tuple(each if type(each) is int and each > 0 else 0 for each in sizes),
            _whole(stored, "documents", 0) or 0,
            _whole(stored, "joined", 0) or 0,
            silhouette if isinstance(silhouette, float) else None,
            state if isinstance(state, list) else None,
            _whole(stored, "made", 0, LAST_SECOND),
            _whole(stored, "version", 0) or 0,
        )

    def to_json(self) -> dict[str, object]:
        """What :meth:`from_json` reads; settings and facts side by side."""
        settings = self.settings
        is_chosen = settings.method == KMEANS and settings.count is None
        values = {
            **vars(settings),
            **{key: each for key, each in vars(self).items() if key != "settings"},
            "count": len(self.sizes) if is_chosen else settings.count,
            "is_chosen": is_chosen,
        }
        return {name: value for name, value in values.items() if value is not None}


def _settings(stored: Mapping[str, Any]) -> ClusterSettings:
    """The settings in *stored*, without what no run takes."""
    is_kmeans = stored["method"] == KMEANS
    count, size = None, None
    if is_kmeans and not stored.get("is_chosen"):
        count = _whole(stored, "count", 1, MOST_COUNT)
    if not is_kmeans:
        size = _whole(stored, "min_size", 2, LARGEST_MIN_SIZE)
    seed = _whole(stored, "seed", 0, LARGEST_SEED) or 0
    return ClusterSettings(stored["method"], count, size, seed)


def _whole(
    stored: Mapping[str, Any], key: str, least: int, most: int = 2**53
) -> int | None:
    """The whole number called *key*, if it is one from *least* to *most*."""
    value = stored.get(key)
    is_valid = type(value) is int and least <= value <= most
    return value if is_valid else None
