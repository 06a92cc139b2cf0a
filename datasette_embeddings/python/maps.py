"""The map of a collection, for Python programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import MissingLibraryError, NoMapError
from datasette_embeddings.maps.export import map_rows
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates


@dataclass(frozen=True, eq=False)
class CollectionMap:
    """Where the documents of a collection are: *x* and *y*, (n,), of *ids*."""

    ids: list[str]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    #: The number of each document's cluster; None in none, and without clusters
    clusters: list[int | None]
    titles: list[str | None]
    method: str
    seed: int

    def __len__(self) -> int:
        return len(self.ids)

    def to_json(self) -> str:
        """A JSON list of objects: id, x, y, cluster and title, for example for Plot."""
        return json.dumps(self._rows(), ensure_ascii=False)

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas.DataFrame
        """A ``pandas.DataFrame``: id, x, y, cluster, title.

        :raises MissingLibraryError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingLibraryError("pandas", "to_pandas()") from error
        columns = ["id", "x", "y", "cluster", "title"]
        return pandas.DataFrame(self._rows(), columns=columns)

    def _rows(self) -> list[dict[str, object]]:
        x, y = self.x.tolist(), self.y.tolist()
        columns = zip(self.ids, x, y, self.clusters, self.titles, strict=True)
        names = ("id", "x", "y", "cluster", "title")
        return [dict(zip(names, row, strict=True)) for row in columns]


def read_map(collection: StoredCollection) -> CollectionMap:
    """The stored map of *collection*.

    :raises NoMapError: if it has none.
    """
    facts = Coordinates(collection).facts
    if facts is None:
        raise NoMapError(collection.name, "make_map() makes it")
    rows: list[dict[str, Any]] = list(map_rows(collection))
    return CollectionMap(
        [row["id"] for row in rows],
        np.array([row["x"] for row in rows], np.float64),
        np.array([row["y"] for row in rows], np.float64),
        [row.get("cluster") for row in rows],
        [row["title"] for row in rows],
        facts.method,
        facts.seed,
    )
