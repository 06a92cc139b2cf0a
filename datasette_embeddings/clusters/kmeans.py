"""k-means: each document belongs to the nearest of some centers, which are their means.

scikit-learn's k-means finds the first centers among a sample that fits into memory.
Lloyd's algorithm [1] then moves them by all documents, block by block.  Vectors have
length 1 and so have centers, so that the nearest is the one of the highest cosine.

[1] Least squares quantization in PCM, https://doi.org/10.1109/TIT.1982.1056489
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.analysis.documents import DocumentVectors
from datasette_embeddings.errors import MissingLibraryError
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.similarities.knn import one_core_each
from datasette_embeddings.vectors import BYTES_PER_NUMBER, Vector, Vectors

#: The cluster of each document from 0 on, (n,); -1 for none
Labels = NDArray[np.int32]
#: Positions of documents in the order of their ids, (n,): what is drawn of them does
#: not depend on the order in which they were stored
Order = NDArray[np.intp]

# Documents that place the first centers, and bytes of their vectors
SAMPLED, SAMPLED_BYTES = 25_000, 64_000_000
# Fewer for each center say little about it
LEAST_FOR_EACH = 10
# How often few documents are clustered, of which the best result stays
MOST_STARTS, STARTED = 5, 25_000
# How often all documents are assigned, and what part of them may move the last time
MOST_PASSES, MOVED = 15, 0.001
# Counts to choose from, those below FEWEST for few documents only, and the documents
# that are clustered and judged to choose one
COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)
FEWEST, FEW = 5, 60
TRIED, JUDGED = 5_000, 2_000


def kmeans(
    documents: DocumentVectors,
    order: Order,
    count: int,
    *,
    seed: int,
    progress: Callback = ignore,
) -> Labels:
    """The cluster of each document, of at most *count*.

    *progress* is called with the number of documents that were assigned, at most
    ``MOST_PASSES`` times all, and as often for the sample.
    """
    labels = np.full(len(documents), -1, dtype=np.int32)
    if not len(documents):
        return labels
    size = max(_sample_size(documents), LEAST_FOR_EACH * count)
    sample = _sample(documents, order, size, np.random.default_rng(seed))
    centers = _first_centers(sample, count, seed)
    del sample
    progress(len(documents))
    for _ in range(MOST_PASSES):
        moved, sums = _assign(documents, centers, labels, progress)
        if moved <= MOVED * len(documents):
            break
        centers = unit_means(sums, centers)
    return labels


def best_count(
    documents: DocumentVectors, order: Order, *, seed: int
) -> tuple[int, float | None]:
    """The count that separates documents best, and the silhouette that says so.

    It is the mean silhouette [1] of a sample of them, -1 to 1; None if there is nothing
    to choose.

    [1] Rousseeuw, https://doi.org/10.1016/0377-0427(87)90125-7
    """
    random = np.random.default_rng(seed)
    tried = _sample(documents, order, min(TRIED, _sample_size(documents)), random)
    tried = random.permutation(tried)
    fewest = FEWEST if len(documents) >= FEW else 0
    counts = [each for each in COUNTS if fewest <= each <= len(documents) // 2]
    best: tuple[float | None, int] = (None, 1)
    for count in counts:
        silhouette = _silhouette(tried, count, seed)
        if silhouette is not None and (best[0] is None or silhouette > best[0]):
            best = silhouette, count
    return best[1], best[0]


def unit_means(sums: NDArray[np.float64], centers: Vectors) -> Vectors:
    """The directions of *sums*, (k, d); where one has none, that of *centers*."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    has_one = lengths[:, 0] > 0
    means: Vectors = centers.copy()
    means[has_one] = (sums / np.where(lengths, lengths, 1))[has_one]
    return means


@contextmanager
def one_thread() -> Iterator[None]:
    """scikit-learn on one thread: with several, sums depend on which is done first.

    :raises MissingLibraryError: if scikit-learn is not installed.
    """
    check_library()
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # Fewer different vectors than clusters: the others stay empty
        warnings.simplefilter("ignore")
        yield


def check_library() -> None:
    """Check that scikit-learn is there.

    :raises MissingLibraryError: if it is not.
    """
    try:
        import sklearn.cluster  # noqa: F401 - whether it can be
    except ImportError as error:
        raise MissingLibraryError("scikit-learn", "a search for clusters") from error


def _sample_size(documents: DocumentVectors) -> int:
    width = BYTES_PER_NUMBER * max(1, documents.file.dimensions)
    return min(SAMPLED, SAMPLED_BYTES // width)


def _sample(
    documents: DocumentVectors, order: Order, size: int, random: np.random.Generator
) -> Vectors:
    """The vectors of *size* documents, or of all, in the order of their ids."""
    chosen = order
    if size < len(order):
        chosen = order[np.sort(random.choice(len(order), size, replace=False))]
    ascending = np.argsort(chosen)
    vectors = np.empty((len(chosen), documents.file.dimensions), np.float32)
    vectors[ascending] = documents.file.rows(chosen[ascending])
    return vectors


def _fitted(vectors: Vectors, count: int, seed: int) -> tuple[Labels, Vectors]:
    """The clusters of *vectors* by scikit-learn, and their means."""
    with one_thread():
        from sklearn.cluster import KMeans

        starts = max(1, min(MOST_STARTS, STARTED // len(vectors)))
        count = min(count, len(vectors))
        model = KMeans(count, n_init=starts, random_state=seed).fit(vectors)
        return model.labels_, model.cluster_centers_


def _first_centers(sample: Vectors, count: int, seed: int) -> Vectors:
    """*count* centers of *sample*, (k, d), of length 1."""
    _labels, means = _fitted(sample, count, seed)
    return unit_means(means.astype(np.float64), sample[: len(means)])


def _silhouette(vectors: Vectors, count: int, seed: int) -> float | None:
    """How well *count* clusters separate *vectors*; None if these are all alike."""
    labels, _means = _fitted(vectors, count, seed)
    labels, vectors = labels[:JUDGED], vectors[:JUDGED]
    if not 1 < len(np.unique(labels)) < len(labels):
        return None
    with one_thread():
        from sklearn.metrics import silhouette_score

        return float(silhouette_score(vectors, labels, metric="cosine"))


def _assign(
    documents: DocumentVectors, centers: Vectors, labels: Labels, progress: Callback
) -> tuple[int, NDArray[np.float64]]:
    """Set *labels* to the nearest of *centers*: how many changed, and sums, (k, d)."""
    sums = np.zeros(centers.shape)
    moved = 0

    def assign(start: int) -> tuple[int, int, NDArray[np.intp], Vectors]:
        block = documents.file.block(start)
        nearest = (block @ centers.T).argmax(axis=1)
        own = labels[start : start + len(block)]
        changed = int(np.count_nonzero(own != nearest))
        own[:] = nearest
        return len(block), changed, *sums_by_label(block, nearest)

    with one_core_each() as threads:
        # Added in the order of blocks, whichever is done first
        for count, changed, used, part in threads.map(assign, documents.file.starts()):
            moved += changed
            sums[used] += part
            progress(count)
    return moved, sums


def sums_by_label(
    vectors: Vectors, labels: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Vectors]:
    """The labels that occur, (u,), and the sum of the vectors of each, (u, d)."""
    order = np.argsort(labels, kind="stable")
    used, firsts = np.unique(labels[order], return_index=True)
    return used, np.add.reduceat(vectors[order], firsts, axis=0)


def nearest_center(vectors: Vectors, centers: Vectors) -> tuple[Labels, Vector]:
    """The nearest of *centers* for each of *vectors*, and one minus their cosine."""
    scores = vectors @ centers.T
    nearest = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), nearest]
    return nearest.astype(np.int32), np.maximum(0, 1 - best)
