"""Each item's ten nearest others, written to the table, against the bare product.

    python benchmarks/all_pairs.py
    python benchmarks/all_pairs.py --count 1000000

Measured: from a database file to one in which ``similarities`` is committed, vectors
read and rows written.  Against: numpy's product of the same matrix with itself, in
blocks of 1,024 rows, in the same run.  Then what a change costs, as a part of the full
run; one query of the table; and the peak memory of 100,000 x 384.

With --count: so many vectors of 384 dimensions from `scripts/random_walk.py`, seed 0,
which has near neighbors as real texts have.  Measured: time, of the clock and of the
processor, the peak memory, and the recall of 200 items that are compared with all.

Must hold: at most 1.8 times the bare product; 472 x 1536 in 0.2 s; of 20,000 x 512, 1%
inserted in 0.25 s and 1% changed in 0.6 s, one item in 100 ms beside the commit; a
query in 0.1 ms; 100,000 x 384 within 1 GB; a million in 10 minutes on two free cores
and 1.5 GB, with a recall of 0.97.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measuring import OURS, duration, median_seconds, print_line, print_share, seconds
from random_items import COLLECTION, unit_vectors, write_collection

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import Document
from datasette_embeddings.similarities import refreshing
from datasette_embeddings.similarities.refreshing import refresh
from datasette_embeddings.store import collections
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.similarities import Similarities
from datasette_embeddings.vectors import normalize

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vectors

TEN = SimilaritySettings(10)
BLOCK_ROWS = 1_024
PEER = "bare product"
WALK = Path(__file__).parent.parent / "scripts" / "random_walk.py"
# Items whose recall is measured; scores that differ by less are equal
MEASURED, ROUNDING = 200, 2e-6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.count:
            large(folder / "walk.db", given.count)
            return
        for count, dimensions in ((472, 1_536), (16_796, 384), (20_000, 512)):
            full_run(folder / f"{count}.db", count, dimensions)
        changes(folder / "20000.db")
        queries(folder / "20000.db")
        memory(folder / "large.db")


def full_run(path: Path, count: int, dimensions: int) -> None:
    vectors = unit_vectors(count, dimensions)
    write_collection(path, vectors)
    works = {OURS: lambda: build(path), PEER: lambda: bare_product(vectors)}
    times = median_seconds(5, works)
    work = f"all pairs, top 10, {count:,} x {dimensions}"
    if count < 1_000:
        figures = [f"ours {duration(times[OURS])}"]
        print_line(work, figures, times[OURS], " s", at_most=0.2)
    else:
        print_share(work, times, PEER, at_most=1.8)


def build(path: Path, name: str = COLLECTION) -> None:
    """A full run, on a connection of its own."""
    conn = sqlite3.connect(path)
    collection = collections.collection(conn, name)
    with transaction(conn):
        if Similarities(collection).settings:
            Similarities(collection).store_settings(None)
    refreshing.build(collection, TEN)
    conn.close()


def bare_product(vectors: Vectors) -> None:
    for start in range(0, len(vectors), BLOCK_ROWS):
        vectors[start : start + BLOCK_ROWS] @ vectors.T


def changes(path: Path) -> None:
    """What it takes to bring the table up to date, as a part of a full run."""
    full = seconds(lambda: build(path))
    random = np.random.default_rng(7)
    for work, ids, at_most in (
        ("1% inserted", [f"new-{number}" for number in range(200)], 0.25),
        ("1% changed", [f"item-{number * 100}" for number in range(200)], 0.6),
    ):
        times, fulls = [], []
        for _ in range(5):
            times.append(refreshed(path, ids, random))
            fulls.append(seconds(lambda: build(path)))
        took, full = statistics.median(times), statistics.median(fulls)
        figures = [f"ours {duration(took)}", f"full run {duration(full)}"]
        figures.append(f"{took / full:.1%} of it")
        print_line(f"20,000 x 512, {work}", figures, took, " s", at_most=at_most)
    took = statistics.median(refreshed(path, ["one"], random) for _ in range(9))
    bare = statistics.median(commit(path) for _ in range(9))
    figures = [f"ours {duration(took)}", f"of which a commit {duration(bare)}"]
    without = (took - bare) * 1000
    print_line("one item, without the commit", figures, without, " ms", at_most=100)


def refreshed(path: Path, ids: list[str], random: np.random.Generator) -> float:
    """How long it takes after new vectors for *ids*, of a copy of the database."""
    copy = path.with_suffix(".copy")
    shutil.copyfile(path, copy)
    conn = sqlite3.connect(copy)
    collection = collections.collection(conn, COLLECTION)
    vectors = normalize(random.standard_normal((len(ids), 512)).astype(np.float32))
    documents = [Document(each, each) for each in ids]
    with transaction(conn):
        write_embeddings(collection, documents, vectors, store_content=True)
    conn.close()
    conn = sqlite3.connect(copy)
    try:
        return seconds(lambda: refresh(collection.bound_to(conn)))
    finally:
        conn.close()


def commit(path: Path) -> float:
    """How long it takes to commit a change of a few rows, in a copy of the database."""
    copy = path.with_suffix(".copy")
    shutil.copyfile(path, copy)
    conn = sqlite3.connect(copy)
    conn.execute("update similarities set score = -score where id = 'item-7'")
    conn.execute("update similarities set score = -score where id = 'item-9007'")
    try:
        return seconds(conn.commit)
    finally:
        conn.close()


def queries(path: Path) -> None:
    conn = sqlite3.connect(path)
    sql = "select other_id from similarities where id = ? order by score desc limit 10"

    def ask() -> None:
        for number in range(1_000):
            assert len(conn.execute(sql, [f"item-{number * 17}"]).fetchall()) == 10

    took = statistics.median(seconds(ask) for _ in range(5)) / 1_000
    figures = [f"ours {took * 1000:.3f} ms"]
    print_line("related items of one", figures, took * 1000, " ms", at_most=0.1)
    conn.close()


def memory(path: Path) -> None:
    write_collection(path, unit_vectors(100_000, 384))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        took, megabytes = pool.apply(peak, [path])
    figures = [f"ours {megabytes:.0f} MB", f"in {took:.0f} s"]
    print_line("peak memory, 100,000 x 384", figures, megabytes, " MB", at_most=1_000)


def peak(path: Path, name: str = COLLECTION) -> tuple[float, float]:
    took = seconds(lambda: build(path, name))
    # Linux counts in KiB
    return took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def large(path: Path, count: int) -> None:
    command = [sys.executable, WALK, path, str(count), "--no-words"]
    subprocess.run(command, check=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (took, megabytes), processor = pool.apply(peak_of_walk, [path])
    work = f"all pairs, {count:,} x 384"
    figures = [f"ours {took:.0f} s", f"{processor:.0f} s of the processor"]
    print_line(work, figures, took, " s", at_most=600)
    figures = [f"ours {megabytes:.0f} MB"]
    print_line("its peak memory", figures, megabytes, " MB", at_most=1_500)
    conn = sqlite3.connect(path)
    stored = Similarities(collections.collection(conn, "walk")).recall
    found = recall(conn, count)
    figures = [f"ours {found:.4f}", f"as it measured itself {stored}"]
    print_line("its recall@10", figures, found, at_least=0.97)
    conn.close()


def peak_of_walk(path: Path) -> tuple[tuple[float, float], float]:
    return peak(path, "walk"), time.process_time()


def recall(conn: sqlite3.Connection, count: int) -> float:
    """The part of the ten nearest of some items that the table has."""
    ids = np.random.default_rng(7).choice(count, MEASURED, replace=False).tolist()
    sql = "select embedding from embeddings where id = ?"
    rows = [conn.execute(sql, [str(each)]).fetchone()[0] for each in ids]
    mine = np.frombuffer(b"".join(rows), np.float32).reshape(MEASURED, -1)
    # Each is its own nearest
    best = np.full((MEASURED, 11), -np.inf, np.float32)
    vectors = conn.execute("select embedding from embeddings")
    while block := vectors.fetchmany(BLOCK_ROWS):
        joined = b"".join(row[0] for row in block)
        scores = mine @ np.frombuffer(joined, np.float32).reshape(len(block), -1).T
        best = np.concatenate([best, scores], axis=1)
        best = np.partition(best, -11, axis=1)[:, -11:]
    sql = "select count(*) from similarities where id = ? and score >= ?"
    limits = (best.min(axis=1) - ROUNDING).tolist()
    keys = zip(map(str, ids), limits, strict=True)
    found = [conn.execute(sql, each).fetchone()[0] for each in keys]
    return sum(found) / (10 * MEASURED)


if __name__ == "__main__":
    main()
