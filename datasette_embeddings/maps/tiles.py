"""The points of a map as tiles, so that a page loads what it shows and no more."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.store.coordinates import DEPTH, HIDDEN_TILE, TILE_POINTS
from datasette_embeddings.store.map_areas import Numbers, Square


def assign_tiles(
    ids: Sequence[str], x: Numbers, y: Numbers, square: Square
) -> NDArray[np.int64]:
    """The tile of each point in *square*, (n,), which depends on nothing else.

    A tile has the first ``TILE_POINTS`` of the points in it that those above it have
    not, in the order of a hash of their ids: so the first tiles have a fair sample of
    all. What does not fit into the last is in ``HIDDEN_TILE``.
    """
    tiles = np.full(len(ids), HIDDEN_TILE, dtype=np.int64)
    rest = shuffled(ids)
    column, row = _cells(x, square.left, square), _cells(y, square.bottom, square)
    node = np.ones(len(ids), dtype=np.int64)
    for depth in range(DEPTH + 1):
        # By tile, and within it still by the hash
        rest = rest[np.argsort(node[rest], kind="stable")]
        starts = np.flatnonzero(np.diff(node[rest], prepend=0))
        counts = np.diff(starts, append=len(rest))
        place = np.arange(len(rest)) - np.repeat(starts, counts)
        has_room = place < TILE_POINTS
        tiles[rest[has_room]] = node[rest[has_room]]
        rest = rest[~has_room]
        shift = DEPTH - 1 - depth
        if not len(rest) or shift < 0:
            break
        quarter = (column[rest] >> shift & 1) + 2 * (row[rest] >> shift & 1)
        node[rest] = 4 * node[rest] + quarter
    return tiles


def shuffled(ids: Sequence[str]) -> NDArray[np.intp]:
    """The positions of *ids* by a hash of each: the first are a fair sample of all."""
    hashes = np.array([_hash(each) for each in ids], np.uint64)
    return np.argsort(hashes, kind="stable")


def _cells(places: Numbers, start: float, square: Square) -> NDArray[np.int64]:
    """In which of the columns or rows of the smallest tiles *places* are: (n,)."""
    count = 2**DEPTH
    cells: Numbers = np.floor((places - start) / square.side * count)
    return cells.clip(0, count - 1).astype(np.int64)


def _hash(document_id: str) -> int:
    # Other programs may store text that is not valid Unicode
    data = document_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
