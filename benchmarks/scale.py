"""A collection that is larger than the memory for it, beside other ways to search it.

    pip install faiss-cpu turbovec
    python benchmarks/scale.py [--count 300000]

Vectors of 384 dimensions from `scripts/random_walk.py`, seed 0; 100 questions are near
some of them.  Measured: the seconds until the first answer, resident memory beyond that
of the process before, and the median and 99th of 100 searches for the ten nearest; the
recall is the part of them that the exact search finds.  Each way runs in a process of
its own.  Ours: the compact index over the SQLite file, with ids.  Against: sqlite-vec's
vec0 on disk, faiss (Flat, HNSW) and turbovec at two bits with the best 30 compared
exactly, all three with every vector in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datasette_embeddings import collection
from datasette_embeddings.index.cache import Indexes
from datasette_embeddings.vectors import Vector, Vectors, normalize

SCRIPTS = Path(__file__).parent.parent / "scripts"
DIMENSIONS, QUESTIONS, K = 384, 100, 10
Search = Callable[[Vector], list[int]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300_000)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--database", type=Path)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measured(WAYS[given.way], given.database)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walk.db"
        script = SCRIPTS / "random_walk.py"
        command = [sys.executable, script, path, str(given.count), "--no-words"]
        subprocess.run(command, check=True)
        right = None
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--database", path]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{way:22} {done.stderr.strip().splitlines()[-1]}")
                continue
            found = json.loads(done.stdout)
            right = right or found["found"]
            pairs = zip(found["found"], right, strict=True)
            recall = np.mean([len({*a} & {*b}) / K for a, b in pairs])
            print(
                f"{way:22} first answer {found['first']:6.1f} s, "
                f"memory {found['memory']:5.0f} MB, median {found['median']:7.2f} ms, "
                f"99 of 100 {found['late']:7.2f} ms, recall {recall:.4f}"
            )


def measured(way: Callable[[Path], Search], path: Path) -> dict[str, object]:
    conn = sqlite3.connect(path)
    questions = near_some_of(conn)
    before, start = resident(), time.perf_counter()
    search = way(path)
    search(questions[0])
    first, times, found = time.perf_counter() - start, [], []
    for question in questions:
        start = time.perf_counter()
        found.append(search(question))
        times.append(1000 * (time.perf_counter() - start))
    return {
        "first": first,
        "memory": resident() - before,
        "median": float(np.median(times)),
        "late": float(np.percentile(times, 99)),
        "found": found,
    }


def near_some_of(conn: sqlite3.Connection) -> Vectors:
    random = np.random.default_rng(1)
    (count,) = conn.execute("select max(rowid) from embeddings").fetchone()
    rows = [
        conn.execute("select embedding from embeddings where rowid = ?", [each])
        for each in random.integers(1, count + 1, QUESTIONS).tolist()
    ]
    vectors = np.frombuffer(b"".join(row.fetchone()[0] for row in rows), np.float32)
    noise = random.standard_normal((QUESTIONS, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    return normalize(vectors.reshape(QUESTIONS, -1) + np.float32(0.5 * noise))


def every_vector(path: Path) -> Vectors:
    conn = sqlite3.connect(path)
    (count,) = conn.execute("select count(*) from embeddings").fetchone()
    vectors = np.empty((count, DIMENSIONS), np.float32)
    rows = conn.execute("select embedding from embeddings order by rowid")
    for row, (blob,) in zip(vectors, rows, strict=True):
        row[:] = np.frombuffer(blob, np.float32)
    return vectors


def numpy_product(path: Path) -> Search:
    vectors = every_vector(path)

    def search(vector: Vector) -> list[int]:
        scores = vectors @ vector
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])].tolist()

    return search


def ours(path: Path) -> Search:
    indexes = Indexes()
    indexes.kind = "compact"
    found = collection(sqlite3.connect(path), "walk")

    def search(vector: Vector) -> list[int]:
        return [int(hit.id) for hit in indexes.index(found).nearest(vector, K)]

    return search


def vec0(path: Path) -> Search:
    import apsw
    import sqlite_vec

    conn = apsw.Connection(str(path.with_suffix(".vec.db")))
    conn.enable_load_extension(True)
    conn.load_extension(sqlite_vec.loadable_path())
    conn.execute(f"create virtual table items using vec0(vector float[{DIMENSIONS}])")
    rows = sqlite3.connect(path).execute("select rowid - 1, embedding from embeddings")
    with conn:
        conn.executemany("insert into items (rowid, vector) values (?, ?)", rows)

    def search(vector: Vector) -> list[int]:
        sql = "select rowid from items where vector match ? and k = ? order by distance"
        return [row for (row,) in conn.execute(sql, [vector.tobytes(), K])]

    return search


def faiss_index(path: Path, description: str) -> Search:
    import faiss

    index = faiss.index_factory(DIMENSIONS, description, faiss.METRIC_INNER_PRODUCT)
    index.add(every_vector(path))
    return lambda vector: index.search(vector[None], K)[1][0].tolist()


def turbovec(path: Path) -> Search:
    from turbovec import TurboQuantIndex

    vectors = every_vector(path)
    index = TurboQuantIndex(DIMENSIONS, 2)
    index.add(vectors)
    index.prepare()

    def search(vector: Vector) -> list[int]:
        _scores, rows = index.search(vector[None], 30)
        rows = np.asarray(rows[0])
        return rows[np.argsort(-(vectors[rows] @ vector))][:K].tolist()

    return search


def resident() -> float:
    printed = subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())])
    return int(printed) * 1024 / 1e6


#: The first is exact: it tells the recall of the others
WAYS: dict[str, Callable[[Path], Search]] = {
    "numpy's product": numpy_product,
    "ours, compact": ours,
    "sqlite-vec": vec0,
    "faiss Flat": lambda path: faiss_index(path, "Flat"),
    "faiss HNSW32": lambda path: faiss_index(path, "HNSW32"),
    "turbovec, 2 bits": turbovec,
}


if __name__ == "__main__":
    main()
