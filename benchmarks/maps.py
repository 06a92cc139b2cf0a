"""How good maps are, and what they take: our methods against the libraries themselves.

    python benchmarks/maps.py DB COLLECTION [--sample N] [--way NAME ...]
    python benchmarks/maps.py --count 100000 [--way NAME ...]

A way is ours (``pca``, ``pacmap``) or a peer: ``pacmap-library`` and ``umap-library``,
called with their defaults on the same vectors, cosine as the distance of UMAP.  Each
runs in a process of its own, imports included; those whose library is missing are
reported.  Measured: time, of the clock and of the processor; peak memory, with the
vectors; of 1,000 documents, which part of their 15 nearest by cosine is among the 15
nearest on the map; and the trustworthiness of 2,500 documents among themselves (Venna
and Kaski, 2001, scikit-learn's).

--sample N gives every way N documents; ours places the rest among them, as it does of
its own accord above 20,000.  --count makes so many vectors by `scripts/random_walk.py`.

Must hold: 100,000 x 384 by ours in 60 s of the processor; the default keeps at least
0.95 of the neighbours that the library of the same method keeps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import print_line

WALK = Path(__file__).parent.parent / "scripts" / "random_walk.py"
WAYS = ("pca", "pacmap", "pacmap-library", "umap-library")
NEIGHBORS, ASKED, TRUSTED = 15, 1_000, 2_500


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database", nargs="?")
    parser.add_argument("collection", nargs="?", default="walk")
    parser.add_argument("--count", type=int)
    parser.add_argument("--sample", type=int, default=20_000)
    parser.add_argument("--way", choices=WAYS, action="append")
    # What the script calls itself with
    parser.add_argument("--only", choices=WAYS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measured(given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if given.count:
            given.database = str(Path(folder) / "walk.db")
            command = [sys.executable, WALK, given.database, str(given.count)]
            subprocess.run([*command, "--no-words"], check=True)
        found = {}
        for way in given.way or WAYS:
            found[way] = in_process(way, given)
            show(way, found[way])
    compare(found.get("pacmap", {}), found.get("pacmap-library", {}))


def in_process(way: str, given: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, given.database, given.collection]
    command += ["--sample", str(given.sample), "--only", way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def show(way: str, found: dict[str, Any]) -> None:
    if "error" in found:
        print(f"map by {way} | {found['error']}", flush=True)
        return
    figures = [
        f"{found['seconds']:.1f} s, {found['processor']:.1f} s of the processor",
        f"{found['megabytes']:.0f} MB",
        f"keeps {found['kept']:.1%} of {NEIGHBORS} neighbours",
        f"trustworthiness {found['trust']:.3f}",
    ]
    work = f"map by {way}, {found['documents']:,} documents"
    most = None if way.endswith("-library") else 60
    print_line(work, figures, found["processor"], " s", at_most=most)


def compare(ours: dict[str, Any], peer: dict[str, Any]) -> None:
    if "kept" not in ours or "kept" not in peer:
        return
    ratio = ours["kept"] / peer["kept"]
    speed = peer["processor"] / ours["processor"]
    figures = [f"{ratio:.2f} of its neighbours", f"{speed:.1f}x as fast"]
    print_line("ours beside pacmap-library", figures, ratio, at_least=0.95)


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Make the map in this process, and judge it."""
    # Not before: what the ways import counts
    import sqlite3

    from datasette_embeddings.analysis.documents import document_vectors
    from datasette_embeddings.maps import building
    from datasette_embeddings.maps.placement import place
    from datasette_embeddings.maps.tiles import shuffled
    from datasette_embeddings.models.base import ignore
    from datasette_embeddings.store.collections import collection
    from datasette_embeddings.store.map_facts import MapSettings

    building.MOST_FITTED = given.sample
    stored = collection(sqlite3.connect(given.database), given.collection)
    with document_vectors(stored) as documents:
        vectors = documents.file.rows(np.arange(len(documents)))
        start, processor = time.perf_counter(), time.process_time()
        if given.only.endswith("-library"):
            fitted = shuffled(documents.ids)[: given.sample]
            points = np.empty((len(vectors), 2))
            points[fitted] = by_library(given.only, vectors[fitted])
            rest = np.setdiff1d(np.arange(len(vectors)), fitted)
            if len(rest):
                placed = place(vectors[rest], [vectors[fitted]], points[fitted])
                points[rest] = placed
        else:
            points = building._points(documents, MapSettings(given.only), ignore)
    took = time.perf_counter() - start, time.process_time() - processor
    # Linux counts in KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {
        "documents": len(vectors),
        "seconds": took[0],
        "processor": took[1],
        "megabytes": peak,
        **quality(vectors, points),
    }


def by_library(way: str, vectors: np.ndarray) -> np.ndarray:
    if way == "umap-library":
        import umap

        model = umap.UMAP(metric="cosine", random_state=0, n_jobs=1)
        return np.asarray(model.fit_transform(vectors))
    import pacmap

    return np.asarray(pacmap.PaCMAP(random_state=0).fit_transform(vectors, init="pca"))


def quality(vectors: np.ndarray, points: np.ndarray) -> dict[str, float]:
    from scipy.spatial import cKDTree
    from sklearn.manifold import trustworthiness

    random, count = np.random.default_rng(5), len(vectors)
    asked = random.choice(count, min(ASKED, count), replace=False)
    scores = vectors[asked] @ vectors.T
    scores[np.arange(len(asked)), asked] = -np.inf
    near = np.argpartition(-scores, NEIGHBORS, axis=1)[:, :NEIGHBORS]
    shown = cKDTree(points).query(points[asked], NEIGHBORS + 1)[1]
    kept = [
        len(set(one) & (set(other) - {own})) / NEIGHBORS
        for one, other, own in zip(near, shown, asked, strict=True)
    ]
    some = random.choice(count, min(TRUSTED, count), replace=False)
    trust = trustworthiness(
        vectors[some], points[some], n_neighbors=NEIGHBORS, metric="cosine"
    )
    return {"kept": float(np.mean(kept)), "trust": float(trust)}


if __name__ == "__main__":
    main()
