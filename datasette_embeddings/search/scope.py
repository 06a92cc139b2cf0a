"""What a search is limited to: some of its clusters, an area of its map, or both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from datasette_embeddings.chunking import chunk_id
from datasette_embeddings.errors import (
    InvalidInputError,
    NoClustersError,
    NoMapError,
    quoted,
)
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.store.chunks import (
    chunks_of_documents,
    existing_documents,
    stored_documents,
)
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_areas import MOST_CORNERS

#: What stands for the documents that are in no cluster
NO_CLUSTER = "none"
# Clusters that one search may name
MOST_CLUSTERS = 100
# Digits of one of them; SQLite takes no longer ones
LONGEST_CLUSTER = 18
# Characters of a coordinate; Python writes no longer ones
LONGEST_COORDINATE = 30
FEWEST_CORNERS = 3

#: Numbers of clusters; None for the documents that are in none
ClusterNumbers: TypeAlias = tuple[int | None, ...]
#: The corners of an area, each an x and a y on the map
Area: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Scope:
    """The documents in any of *clusters* and in *area*; an empty one is no limit."""

    clusters: ClusterNumbers = ()
    area: Area = ()

    def documents(self, collection: StoredCollection) -> set[str]:
        """The ids of its documents.

        :raises InvalidInputError: if the collection has no such cluster, or no map.
        """
        self.check(collection)
        found: set[str] | None = None
        if self.clusters:
            known = Clusters(collection)
            found = set().union(*map(known.document_ids, self.clusters))
        if self.area:
            within = Coordinates(collection).within(self.area)
            found = within if found is None else found & within
        return found or set()

    def items(self, collection: StoredCollection) -> frozenset[str]:
        """The ids of its documents, and those of their chunks."""
        documents = self.documents(collection)
        return frozenset(documents | chunks_of_documents(collection, documents))

    def check(self, collection: StoredCollection) -> None:
        """Check that *collection* has its clusters, and a map if it has an area.

        :raises InvalidInputError: if not, with the command that makes them.
        """
        if self.area and not collection.has_map:
            raise NoMapError(collection.name)
        if not self.clusters:
            return
        facts = Clusters(collection).facts if collection.has_clusters else None
        if facts is None:
            raise NoClustersError(collection.name)
        for number in self.clusters:
            if number is not None and number > len(facts.sizes):
                known = f"1 to {len(facts.sizes):,}" if facts.sizes else "none"
                raise InvalidInputError(
                    f"No cluster {quoted(number)} in {collection.name!r}; "
                    f"there are {known}"
                )


def read_clusters(value: object) -> ClusterNumbers:
    """The clusters that *value* names: 3, "3,5", "none", or a list of these.

    :raises InvalidInputError: if it is anything else.
    """
    pieces = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, str) and len(value) <= MOST_CLUSTERS * (LONGEST_CLUSTER + 2):
        pieces = value.split(",")
    numbers = list(map(_cluster_number, pieces[: MOST_CLUSTERS + 1]))
    if 0 in numbers or not 1 <= len(numbers) <= MOST_CLUSTERS:
        raise InvalidInputError(
            f"Expected 1 to {MOST_CLUSTERS} clusters, such as 3 or 3,5, or "
            f"{NO_CLUSTER} for what is in none; found {quoted(value)}"
        )
    return tuple(dict.fromkeys(numbers))


def _cluster_number(piece: object) -> int | None:
    """The number of a cluster, None for those of none, or 0 if *piece* is no number."""
    if isinstance(piece, float) and piece.is_integer():
        piece = int(piece)
    text = str(piece).strip() if type(piece) in (int, str) else ""
    if text == NO_CLUSTER:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_CLUSTER
    return int(text) if is_number else 0


def shown_clusters(clusters: ClusterNumbers) -> list[int | str]:
    """*clusters* as JSON has them."""
    return [NO_CLUSTER if each is None else each for each in clusters]


def read_area(value: object) -> Area:
    """The corners that *value* lists: "x1,y1,x2,y2,…", these numbers, or pairs of them.

    :raises InvalidInputError: if they are too few, too many, or not finite.
    """
    given = value
    if isinstance(value, str) and len(value) <= 2 * MOST_CORNERS * LONGEST_COORDINATE:
        value = value.split(",")
    numbers: list[object] = []
    if isinstance(value, list | tuple) and len(value) <= 2 * MOST_CORNERS:
        for each in value:
            is_pair = isinstance(each, list | tuple) and len(each) == 2
            numbers += each if is_pair else [each]
    corners = [*map(_coordinate, numbers)]
    count, rest = divmod(len(corners), 2)
    if rest or not FEWEST_CORNERS <= count <= MOST_CORNERS or None in corners:
        raise InvalidInputError(
            f"Expected an area of {FEWEST_CORNERS} to {MOST_CORNERS} corners as "
            f"x1,y1,x2,y2 and so on, each a finite number; found {quoted(given)}"
        )
    known = [each for each in corners if each is not None]
    return tuple(zip(known[::2], known[1::2], strict=True))


def _coordinate(piece: object) -> float | None:
    """A finite number, or the text of one; None for anything else."""
    if type(piece) not in (int, float, str):
        return None
    text = str(piece).strip()
    if len(text) > LONGEST_COORDINATE:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def scope_page(
    collection: StoredCollection,
    scope: Scope,
    *,
    limit: int,
    offset: int = 0,
    among: frozenset[str] | None = None,
    prefix: str = "",
    least: float = -1.0,
) -> tuple[list[Hit], int]:
    """A page of the documents of *scope*, and how many there are.

    Those of clusters come in the order of their distance to the center, and have the
    cosine to it as their score; those of an area alone come by id, and have the score
    0. Of a document in chunks the first one stands for it. Only documents of *among*
    whose ids begin with *prefix*, and with a score of *least*.

    :raises InvalidInputError: if the collection has no such cluster, or no map.
    """
    scope.check(collection)
    known, clusters = Clusters(collection), scope.clusters
    is_narrowed = among is not None or bool(prefix) or least > -1
    rows: Sequence[tuple[str, float | None]]
    if len(clusters) == 1 and clusters[0] and not scope.area and not is_narrowed:
        # One of the indexes of SQLite has its documents in their order
        facts = known.facts
        count = facts.sizes[clusters[0] - 1] if facts else 0
        rows = known.members(clusters[0], limit=limit, offset=offset)
    else:
        found = _distances(collection, scope)
        chosen = [
            (each, distance)
            for each, distance in found.items()
            if each.startswith(prefix)
            and (among is None or each in among)
            and _score(distance) >= least
        ]
        chosen.sort(key=lambda row: (row[1] is None, row[1] or 0.0, row[0]))
        count, rows = len(chosen), chosen[offset : offset + limit]
    ids = [each for each, _distance in rows]
    existing = existing_documents(collection, ids)
    chunks = stored_documents(collection, ids)
    hits = [
        Hit(
            chunk_id(each, 0) if each in chunks else each,
            _score(distance),
            chunk=chunks.get(each),
            cosine=None if distance is None else _score(distance),
        )
        for each, distance in rows
        if each in existing
    ]
    return hits, count


def _distances(collection: StoredCollection, scope: Scope) -> dict[str, float | None]:
    """The distance of each document of *scope* to the center of its cluster."""
    known, found = Clusters(collection), dict[str, float | None]()
    within = None
    if scope.area:
        within = Coordinates(collection).within(scope.area)
    if not scope.clusters:
        return dict.fromkeys(within or ())
    for number in scope.clusters:
        if number is None:
            found.update(dict.fromkeys(known.document_ids(None)))
        else:
            # No limit
            found.update(known.members(number, limit=-1))
    return {each: found[each] for each in found if within is None or each in within}


def _score(distance: float | None) -> float:
    """The cosine to the center; 0 where there is none."""
    return 0.0 if distance is None else 1.0 - distance
