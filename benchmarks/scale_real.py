"""What a compact index finds of the ten nearest items of a real collection."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from datasette_embeddings.index import compact
from datasette_embeddings.index.cache import Indexes
from datasette_embeddings.store.collections import collection
from datasette_embeddings.vectors import normalize

QUESTIONS, K = 300, 10
#: Those of a search, and as few as are 400 of a collection ten times as large
CANDIDATES = (compact.CANDIDATES, compact.CANDIDATES // 10)
# Scores that differ by less are equal: float32 products are not summed in one order
TIE = 1e-5


def real(database: str, name: str) -> None:
    """Print the recall of 300 items of *name*, each a question, in *database*."""
    conn = sqlite3.connect(f"{Path(database).resolve().as_uri()}?mode=ro", uri=True)
    found = collection(conn, name)
    sql = "select embedding from embeddings where collection_id = ? order by rowid"
    blobs = b"".join(blob for (blob,) in conn.execute(sql, [found.id]))
    vectors = normalize(np.frombuffer(blobs, "<f4").reshape(found.count_items(), -1))
    indexes = Indexes()
    indexes.kind = "compact"
    index = indexes.index(found)
    chosen = np.random.default_rng(0).permutation(len(vectors))[:QUESTIONS]
    print(f"{database} {name}: {len(vectors):,} vectors, {len(chosen)} questions")
    for candidates in CANDIDATES:
        compact.CANDIDATES = candidates
        recalls = []
        for vector in vectors[chosen]:
            least = np.partition(vectors @ vector, -K)[-K] - TIE
            scores = [hit.score for hit in index.nearest(vector, K)]
            recalls.append(sum(score >= least for score in scores) / K)
        share = candidates / len(vectors)
        print(
            f"  {candidates} compared, {share:.1%} of all: recall@{K} "
            f"{np.mean(recalls):.4f}, worst {min(recalls):.1f}"
        )
