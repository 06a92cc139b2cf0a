"""HDBSCAN: clusters are where documents are dense; the others are in no cluster.

scikit-learn's [1], in the leaves of its tree: the whole tree often has one cluster of
nearly everything.  Distances between texts in hundreds of dimensions are nearly equal
and take long, so that vectors are reduced by PCA first.

[1] Campello, Moulavi, Sander, https://doi.org/10.1007/978-3-642-37456-2_14
"""

from __future__ import annotations

import math

import numpy as np

from datasette_embeddings.analysis.documents import DocumentVectors
from datasette_embeddings.clusters.kmeans import Labels, Order, one_thread
from datasette_embeddings.errors import InvalidInputError

# 20,000 take half a minute on one core, twice as many four times as long
MOST_DOCUMENTS = 20_000
COMPONENTS = 25
# The fewest documents of a cluster, unless it is given: the root of all by this
ROOTS, LEAST = 7, 3


def dense_clusters(
    documents: DocumentVectors, order: Order, *, min_size: int | None = None
) -> Labels:
    """The cluster of each document, -1 for none.

    :raises InvalidInputError: for more than ``MOST_DOCUMENTS``.
    """
    total = len(documents)
    if total > MOST_DOCUMENTS:
        raise InvalidInputError(
            f"Expected at most {MOST_DOCUMENTS:,} documents for hdbscan, found "
            f"{total:,}. Use --method kmeans"
        )
    labels = np.full(total, -1, dtype=np.int32)
    size = min_size or default_min_size(total)
    if total < max(2, size):
        return labels
    vectors = np.concatenate([block for _start, block in documents.blocks()])[order]
    with one_thread():
        from sklearn.cluster import HDBSCAN
        from sklearn.decomposition import PCA

        components = min(COMPONENTS, *vectors.shape)
        pca = PCA(components, svd_solver="covariance_eigh")
        reduced = pca.fit_transform(vectors)
        model = HDBSCAN(
            min_cluster_size=size, cluster_selection_method="leaf", copy=True
        )
        labels[order] = model.fit(reduced).labels_
    return labels


def default_min_size(documents: int) -> int:
    """The fewest documents of a cluster: 3 of 577, 10 of 5,000, 20 of 20,000."""
    return max(LEAST, round(math.sqrt(documents) / ROOTS))
