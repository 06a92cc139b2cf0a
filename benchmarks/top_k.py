"""The ten items closest to a vector among 100,000 of 384 dimensions.

    python benchmarks/top_k.py

Measured: a warm search by vector in a collection on disk, every check for new commits
included.  Against: the product of the same matrix and vector alone, in numpy, which is
every score and no choice among them; and sqlite-vec's virtual table vec0, in memory, on
a connection of apsw.  All three are exact; the vectors have random directions.

Must hold: at most 1.5 times the bare product, and at least 6 times as fast as vec0.

Printed besides: the first search, which reads the matrix, and one after a commit that
had nothing to do with the collection.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import sqlite_vec
from measuring import (
    OURS,
    duration,
    median_seconds,
    print_line,
    print_share,
    print_speedup,
    seconds,
)
from random_items import COLLECTION, unit_vectors, write_collection

from datasette_embeddings.index.cache import indexes
from datasette_embeddings.search.nearest import nearest_to_vector
from datasette_embeddings.store import collections

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors

COUNT, DIMENSIONS = 100_000, 384
PRODUCT = "numpy's bare product"
WORK = f"top 10 of {COUNT:,} x {DIMENSIONS}"


def main() -> None:
    # The last rows ask, so that nothing is measured on one lucky vector
    vectors = unit_vectors(COUNT + 50, DIMENSIONS)
    vectors, questions = vectors[:COUNT], vectors[COUNT:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.db"
        write_collection(path, vectors)
        compare(path, vectors, questions)
        print_beginnings(path, questions[0])
        indexes.close()


def compare(path: Path, vectors: Vectors, questions: Vectors) -> None:
    ours, vec0 = our_search(path), vec0_search(vectors)
    assert ours(questions[0]) == vec0(questions[0]), "both find the same"
    matrix = our_matrix(path)
    times = median_seconds(
        5,
        {
            OURS: asking(ours, questions),
            PRODUCT: asking(lambda vector: matrix @ vector, questions),
            "vec0": asking(vec0, questions),
        },
        runs=20,
    )
    print_share(WORK, times, PRODUCT, at_most=1.5)
    print_speedup(WORK, times, "vec0", at_least=6)


def asking(
    search: Callable[[Vector], object], questions: Vectors
) -> Callable[[], object]:
    """*search* for another of *questions* every time."""
    turns: Iterator[Vector] = cycle(questions)
    return lambda: search(next(turns))


def our_search(path: Path) -> Callable[[Vector], list[int]]:
    conn = sqlite3.connect(path)
    collection = collections.collection(conn, COLLECTION)

    def search(vector: Vector) -> list[int]:
        found = nearest_to_vector(collection, vector)
        return [int(score.id.removeprefix("item-")) for score in found]

    return search


def our_matrix(path: Path) -> Vectors:
    """The very matrix of :func:`our_search`: a copy would push it out of the caches."""
    conn = sqlite3.connect(path)
    return indexes.index(collections.collection(conn, COLLECTION)).vectors


def vec0_search(vectors: Vectors) -> Callable[[Vector], list[int]]:
    conn = apsw.Connection(":memory:")
    conn.enable_load_extension(True)
    conn.load_extension(sqlite_vec.loadable_path())
    # Its default metric, L2: the cheapest, and on unit vectors the same order
    conn.execute(f"create virtual table items using vec0(vector float[{DIMENSIONS}])")
    with conn:
        conn.executemany(
            "insert into items (rowid, vector) values (?, ?)",
            ((row, vector.tobytes()) for row, vector in enumerate(vectors)),
        )

    def search(vector: Vector) -> list[int]:
        rows = conn.execute(
            """
            select rowid
            from items
            where vector match ?
            and k = 10
            order by distance
            """,
            [vector.tobytes()],
        )
        return [row[0] for row in rows]

    return search


def print_beginnings(path: Path, vector: Vector) -> None:
    """The searches that cost more than the others."""
    search, first, refreshed = our_search(path), [], []
    others = sqlite3.connect(path)
    others.execute("create table unrelated (number integer)")
    for number in range(5):
        indexes.close()
        first.append(seconds(lambda: search(vector)))
        others.execute("insert into unrelated values (?)", [number])
        others.commit()
        refreshed.append(seconds(lambda: search(vector)))
    for name, times in (
        ("first, the matrix is read", first),
        ("after an unrelated commit", refreshed),
    ):
        median = statistics.median(times)
        print_line(f"{WORK}, {name}", [f"ours {duration(median)}"], median)


if __name__ == "__main__":
    main()
