"""What `scale.py` compares: a way to search, ours first, and what all ways share.

What a way needs is imported by its own process, so that its memory is its own.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

DIMENSIONS, K, THREADS = 384, 10, 2
#: Of every graph: the neighbors of an item, and how many items are looked at while one
#: is added or searched for. Twice what is usual, because vectors of 384 numbers need it
LINKS, ADDING, SEARCHING = 32, 64, 128
#: Lists of every inverted file that a search reads
PROBED = 32
#: Items whose vectors are compared exactly, where a way compares some
COMPARED = 100

Search = Callable[[np.ndarray], list[int]]


@dataclass(frozen=True)
class Way:
    """What *build* saves of a database in a folder, *load* searches in a new process.

    A search returns the numbers of the ``K`` nearest items, from 0.
    """

    #: None for what saves nothing
    build: Callable[[Path, Path], None] | None
    load: Callable[[Path, Path], Search]
    #: Imported before the clock of *load* runs
    libraries: tuple[str, ...]
    #: How it was set, and why
    settings: str
    #: The largest count that it is tried with
    most: int = 100_000_000


def every_vector(database: Path) -> np.ndarray:
    """The vectors of *database* by rowid, (n, DIMENSIONS)."""
    conn = sqlite3.connect(database)
    (count,) = conn.execute("select max(rowid) from embeddings").fetchone()
    vectors = np.empty((count, DIMENSIONS), np.float32)
    rows = conn.execute("select embedding from embeddings order by rowid")
    for row, (blob,) in zip(vectors, rows, strict=True):
        row[:] = np.frombuffer(blob, np.float32)
    return vectors


def best_of(rows: np.ndarray, vectors: np.ndarray, vector: np.ndarray) -> list[int]:
    """The nearest of *rows*, compared exactly."""
    return rows[np.argsort(-(vectors[rows] @ vector))][:K].tolist()


def lists_of(count: int) -> int:
    """How many lists an inverted file of *count* items has, as faiss recommends."""
    return int(4 * math.sqrt(count))


def items_of(database: Path) -> int:
    conn = sqlite3.connect(database)
    (count,) = conn.execute("select max(rowid) from embeddings").fetchone()
    return count


def save_vectors(database: Path, folder: Path) -> None:
    np.save(folder / "vectors.npy", every_vector(database))


def load_product(_database: Path, folder: Path) -> Search:
    vectors = np.load(folder / "vectors.npy")

    def search(vector: np.ndarray) -> list[int]:
        scores = vectors @ vector
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])].tolist()

    return search


def ours(kind: str, database: Path) -> tuple:
    """Indexes of *kind*, and the collection of *database*."""
    from datasette_embeddings.index.cache import Indexes
    from datasette_embeddings.store.collections import collection

    indexes = Indexes()
    indexes.kind = kind
    return indexes, collection(sqlite3.connect(database), "walk")


def build_ours(database: Path, _folder: Path) -> None:
    indexes, found = ours("compact", database)
    indexes.save(found)


def load_ours(kind: str, database: Path, _folder: Path) -> Search:
    indexes, found = ours(kind, database)
    return lambda vector: [
        int(hit.id) for hit in indexes.index(found).nearest(vector, K)
    ]


OWN = {
    # The first is exact: it tells the recall of the others
    "numpy's product": Way(
        save_vectors, load_product, (), "every vector in memory, one product a search"
    ),
    "ours, exact": Way(
        None,
        partial(load_ours, "exact"),
        ("datasette_embeddings.index.cache", "simsimd"),
        "`index: exact`, every vector in memory, read from the database; up to 100,000",
        most=100_000,
    ),
    "ours, compact": Way(
        build_ours,
        partial(load_ours, "compact"),
        ("datasette_embeddings.index.cache", "simsimd"),
        "`index: compact`, saved in the database; the best 400 compared exactly",
    ),
}
