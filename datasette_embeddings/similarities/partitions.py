"""The nearest others of each document of a large collection: nearly all of them.

To compare every pair of a million takes hours. Instead each vector joins the two
nearest of many random clusters, and those of a cluster are compared. Another round with
other clusters finds other pairs, until the lists of a sample of documents have nearly
all that a comparison with every vector finds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.similarities.knn import (
    BLOCK_BYTES,
    Positions,
    Watch,
    one_core_each,
)
from datasette_embeddings.similarities.lists import ROUNDING, Lists
from datasette_embeddings.similarities.vector_file import BLOCK_ROWS, StoredDocuments
from datasette_embeddings.vectors import Vectors

# Numbers that are multiplied; to look at a score takes as long as some of them. The
# first take 3 to 6 minutes on two cores: every pair of 230,000 vectors of 384 numbers.
# All rounds take at most the others, 5 to 9 minutes
EVERY_PAIR, ALL_ROUNDS, PER_SCORE = 3e13, 4e13, 200
# More rounds find next to nothing
MOST_ROUNDS = 40
# Documents that are compared with all, and what part of their nearest ends the rounds
SAMPLED, ENOUGH = 300, 0.98
# Clusters that a vector joins. One finds half as many pairs, and three take longer
JOINED = 2
# Vectors that place a center, and how often they do
PER_CENTER, STEPS = 16, 2
# Times the average that a cluster has of vectors, at most
LARGEST = 4


def is_affordable(rows: int, vectors: int, dimensions: int) -> bool:
    """Whether *rows* vectors are compared with all of *vectors*."""
    return rows * vectors * (dimensions + PER_SCORE) <= EVERY_PAIR


def compare_in_rounds(
    documents: StoredDocuments,
    settings: SimilaritySettings,
    start: Callback = ignore,
    progress: Callback = ignore,
) -> tuple[Lists, float]:
    """Nearly all lists, and what part of the nearest they have, as measured."""
    random = np.random.default_rng(0)
    total, count = len(documents.ids), documents.vectors.count
    lists, recall = Lists(np.arange(total), total, settings), 1.0
    if not total:
        return lists, recall
    clusters = max(JOINED, round(JOINED * math.sqrt(count)))
    # A round multiplies each vector with the centers and with its clusters
    scores = count * (clusters + JOINED**2 * count / clusters)
    work = scores * (documents.vectors.dimensions + PER_SCORE)
    rounds = min(MOST_ROUNDS, max(1, int(ALL_ROUNDS / max(1, work))))
    start(rounds * count)
    sample = np.sort(random.choice(total, min(SAMPLED, total), replace=False))
    expected = compare_exactly(documents, settings, sample)
    with one_core_each() as threads:

        def compare(members: Positions) -> int:
            vectors = documents.vectors.rows(members)
            owners = documents.of_vector[members]
            for rows in _blocks(len(members), len(members)):
                lists.offer(owners[rows], owners, vectors[rows] @ vectors.T)
            return len(members)

        for _ in range(rounds):
            centers = _centers(documents, clusters, random)
            parts = _clusters(documents, centers, random, threads)
            for done in threads.map(compare, parts):
                progress(done // JOINED)
            recall = _recall(lists, sample, expected)
            if recall >= ENOUGH:
                break
        if total < count:
            _score_again(documents, lists, threads)
            recall = _recall(lists, sample, expected)
    return lists, recall


def compare_exactly(
    documents: StoredDocuments,
    settings: SimilaritySettings,
    positions: Sequence[int] | Positions,
    *,
    progress: Callback = ignore,
    watch: Watch | None = None,
) -> Lists:
    """The nearest of all others of the documents at *positions*.

    *progress* is called with how many more are done, *watch* with all scores.
    """
    total, count = len(documents.ids), documents.vectors.count
    mine = np.sort(np.array(positions, dtype=np.intp))
    lists = Lists(mine, total, settings)
    places = np.full(total + 1, -1, dtype=np.intp)
    places[mine] = np.arange(len(mine))
    # Vectors that are left out are at -1
    rows = np.flatnonzero(places[documents.of_vector] >= 0)
    vectors, owners = documents.vectors.rows(rows), places[documents.of_vector[rows]]
    with one_core_each() as threads:
        for first in documents.vectors.starts():
            block = documents.vectors.block(first)
            others = documents.of_vector[first : first + len(block)]
            last = first + len(block)
            if others.min() < 0:
                block, others = block[others >= 0], others[others >= 0]

            def compare(
                part: slice, others: Positions = others, block: Vectors = block
            ) -> None:
                scores = vectors[part] @ block.T
                lists.offer(owners[part], others, scores)
                if watch is not None:
                    watch(mine[owners[part]], others, scores)

            list(threads.map(compare, _blocks(len(rows), len(block))))
            progress(last * len(mine) // count - first * len(mine) // count)
    return lists


def _blocks(rows: int, columns: int) -> list[slice]:
    """Parts of *rows* whose scores with *columns* take little memory."""
    step = max(1, BLOCK_BYTES // (4 * max(1, columns)))
    return [slice(start, start + step) for start in range(0, rows, step)]


def _centers(
    documents: StoredDocuments, count: int, random: np.random.Generator
) -> Vectors:
    """*count* centers of some of the vectors, (k, d): a few steps of k-means."""
    total = documents.vectors.count
    some = random.choice(total, min(total, PER_CENTER * count), replace=False)
    vectors = documents.vectors.rows(np.sort(some))
    centers = vectors[random.choice(len(vectors), count, replace=len(vectors) < count)]
    for _ in range(STEPS):
        parts = _blocks(len(vectors), count)
        nearest = np.concatenate(
            [(vectors[part] @ centers.T).argmax(axis=1) for part in parts]
        )
        order = np.argsort(nearest, kind="stable")
        used, firsts = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(vectors[order], firsts, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centers[used] = sums / np.maximum(lengths, ROUNDING)
    return centers


def _clusters(
    documents: StoredDocuments,
    centers: Vectors,
    random: np.random.Generator,
    threads: ThreadPoolExecutor,
) -> list[Positions]:
    """The rows of the vectors of each cluster, in their order."""
    count = documents.vectors.count
    joined = np.empty((count, JOINED), dtype=np.int32)

    def join(first: int) -> None:
        vectors = documents.vectors.block(first)
        scores = vectors @ centers.T
        rows = np.arange(len(vectors))
        for number in range(JOINED):
            best = scores.argmax(axis=1)
            joined[first : first + len(vectors), number] = best
            scores[rows, best] = -np.inf

    list(threads.map(join, documents.vectors.starts()))
    joined[documents.of_vector < 0] = len(centers)
    order = np.argsort(joined.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(joined.reshape(-1), minlength=len(centers)))
    clusters = np.split(order // JOINED, ends[: len(centers)])[: len(centers)]
    most = math.ceil(LARGEST * JOINED * count / len(centers))
    parts = []
    for members in clusters:
        # Thousands of equal vectors are in one cluster
        mixed = random.permutation(members) if len(members) > most else members
        for start in range(0, len(members), most):
            parts.append(np.sort(mixed[start : start + most]))
    return parts


def _score_again(
    documents: StoredDocuments, lists: Lists, threads: ThreadPoolExecutor
) -> None:
    """Score documents by all their vectors, of which the best pair may not have met."""
    order = np.argsort(documents.of_vector, kind="stable")
    owners, every = documents.of_vector[order], np.arange(len(documents.ids))
    firsts = np.searchsorted(owners, every)
    ends = np.searchsorted(owners, every, side="right")

    def score(start: int) -> None:
        for row in every[start : start + BLOCK_ROWS].tolist():
            others = lists.others[row][lists.others[row] >= 0]
            if len(others):
                of_each = [order[firsts[n] : ends[n]] for n in (row, *others.tolist())]
                lengths = np.array([len(rows) for rows in of_each])
                rows = np.concatenate(of_each)
                vectors = documents.vectors.rows(np.sort(rows))
                vectors = vectors[np.argsort(np.argsort(rows))]
                pairs = vectors @ vectors[: lengths[0]].T
                starts = np.cumsum(lengths) - lengths
                scores = np.maximum.reduceat(pairs.max(axis=1), starts)[1:]
                lists.add(np.full(len(others), row), others, scores)

    list(threads.map(score, every[::BLOCK_ROWS].tolist()))


def _recall(lists: Lists, sample: Positions, expected: Lists) -> float:
    """What part of the *expected* others of *sample* the *lists* have, by score."""
    counts = np.count_nonzero(expected.others >= 0, axis=1)
    worst = expected.scores[np.arange(len(sample)), np.maximum(counts, 1) - 1]
    is_near = lists.scores[sample] >= worst[:, None] - 2 * ROUNDING
    found = np.minimum(np.count_nonzero(is_near, axis=1), counts)
    return float(found.sum() / max(1, counts.sum())) if counts.any() else 1.0
