"""Time and memory of clusters, and how good they are beside scikit-learn's own.

    python -m benchmarks.clusters 100000 1000000

Each collection has vectors of ``scripts/random_walk.py`` and no words. The peer is
scikit-learn with the same vectors in memory, in the same run, on one thread: ``KMeans``
up to 100,000, ``MiniBatchKMeans`` above. Cost is the mean of one minus the cosine of a
document and the center of its cluster: the lower, the better.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
import warnings
from pathlib import Path
from subprocess import run
from sys import executable

import numpy as np

from benchmarks.measuring import print_line
from scripts.random_walk import COLLECTION, write

COUNT = 20
# Documents, seconds and gigabytes at most
HOLDS = {100_000: (20, 1.0), 1_000_000: (300, 1.5)}
EXACT = 100_000
OURS, PEER = "--ours", "--peer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", type=int, nargs="*", default=list(HOLDS))
    parser.add_argument("--database", type=Path, help="one that exists, for one side")
    parser.add_argument(OURS, action="store_true")
    parser.add_argument(PEER, action="store_true")
    given = parser.parse_args()
    if given.database:
        measure(given.database, is_ours=given.ours)
        return
    for documents in given.documents:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "walk.db"
            write(path, documents, 384, 0, False)
            compare(path, documents)


def compare(path: Path, documents: int) -> None:
    """Print the figures of both sides, each in a process of its own."""
    found = {}
    for side in (OURS, PEER):
        command = [executable, "-m", "benchmarks.clusters", "--database", path, side]
        done = run(command, capture_output=True, text=True, check=True)
        found[side] = [float(each) for each in done.stdout.split()]
    (seconds, cpu, memory, cost), (peer, peer_cpu, _memory, peer_cost) = (
        found[side] for side in (OURS, PEER)
    )
    most_seconds, most_memory = HOLDS.get(documents, (None, None))
    label = f"{documents:,} documents"
    figures = [f"ours {seconds:.1f} s, processor {cpu:.1f} s"]
    figures += [f"scikit-learn {peer:.1f} s, processor {peer_cpu:.1f} s"]
    print_line(label, figures, seconds, " s", at_most=most_seconds)
    print_line(
        f"{label}, memory", [f"{memory:.2f} GB"], memory, " GB", at_most=most_memory
    )
    costs = [f"ours {cost:.4f}", f"scikit-learn {peer_cost:.4f}"]
    print_line(f"{label}, cost", costs, cost / peer_cost, "x", at_most=1.01)


def measure(path: Path, *, is_ours: bool) -> None:
    """Print seconds, processor seconds, gigabytes at the peak and cost of one side."""
    begun, cpu = time.perf_counter(), time.process_time()
    cost = ours(path) if is_ours else peer(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(time.perf_counter() - begun, time.process_time() - cpu, peak, cost)


def ours(path: Path) -> float:
    from datasette_embeddings.clusters.building import build
    from datasette_embeddings.store.cluster_facts import ClusterSettings
    from datasette_embeddings.store.collections import collection

    with sqlite3.connect(path) as conn:
        build(collection(conn, COLLECTION), ClusterSettings(count=COUNT))
        sql = "select avg(distance) from embedding_clusters"
        return float(conn.execute(sql).fetchone()[0])


def peer(path: Path) -> float:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with sqlite3.connect(path) as conn:
        rows = conn.execute("select embedding from embeddings")
        vectors = np.stack([np.frombuffer(blob, "<f4") for (blob,) in rows])
    kind = KMeans if len(vectors) <= EXACT else MiniBatchKMeans
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        labels = kind(COUNT, n_init=1, random_state=0).fit(vectors).labels_
    sums = [vectors[labels == each].sum(axis=0) for each in range(COUNT)]
    # The mean cosine with the direction of the mean is the length of the sum
    return 1 - float(np.linalg.norm(sums, axis=1).sum()) / len(vectors)


if __name__ == "__main__":
    main()
