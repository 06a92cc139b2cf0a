"""What a full run finds: the cluster of each document, centers and distances."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datasette_embeddings.analysis.documents import DocumentVectors
from datasette_embeddings.clusters.density import dense_clusters
from datasette_embeddings.clusters.kmeans import (
    Labels,
    best_count,
    kmeans,
    sums_by_label,
    unit_means,
)
from datasette_embeddings.models.base import Callback
from datasette_embeddings.store.cluster_facts import KMEANS, ClusterSettings
from datasette_embeddings.store.clusters import ClusterRow
from datasette_embeddings.vectors import Vector, Vectors


class Clustering:
    """The clusters of documents: numbers from 1 by size, centers and distances."""

    def __init__(
        self, documents: DocumentVectors, settings: ClusterSettings, progress: Callback
    ) -> None:
        self.documents = documents
        ids = documents.ids
        #: The positions of documents by their ids
        self.order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.intp)
        self.silhouette: float | None = None
        labels = self._labels(settings, progress)
        sizes = np.bincount(labels[labels >= 0])
        by_size = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
        numbers = np.full(len(sizes) + 1, -1, dtype=np.int32)
        numbers[by_size] = np.arange(len(by_size))
        #: The number of each document's cluster less 1, (n,); -1 for none
        self.labels: Labels = numbers[labels]
        self.count = len(by_size)
        self.centers = self._centers()
        self.distances = self._distances()

    def _labels(self, settings: ClusterSettings, progress: Callback) -> Labels:
        of = self.documents, self.order
        if settings.method != KMEANS:
            return dense_clusters(*of, min_size=settings.min_size)
        count, seed = settings.count, settings.seed
        if count is None:
            count, self.silhouette = best_count(*of, seed=seed)
        return kmeans(*of, count, seed=seed, progress=progress)

    def _centers(self) -> Vectors:
        """The directions of the means of clusters, (k, d)."""
        shape = self.count, self.documents.file.dimensions
        # The last row is of those in no cluster
        sums = np.zeros((self.count + 1, shape[1]))
        for first, block in self.documents.blocks():
            labels = self.labels[first : first + len(block)].astype(np.intp)
            used, parts = sums_by_label(block, labels)
            sums[used] += parts
        return unit_means(sums[: self.count], np.zeros(shape, np.float32))

    def _distances(self) -> Vector:
        """One minus the cosine of each document and the center of its cluster, (n,)."""
        distances = np.zeros(len(self.documents), np.float32)
        for first, block in self.documents.blocks():
            if self.count:
                own = self.centers[self.labels[first : first + len(block)]]
                cosines = np.einsum("ij,ij->i", block, own)
                distances[first : first + len(block)] = np.maximum(0, 1 - cosines)
        return distances

    def members(self) -> dict[int, list[str]]:
        """The documents of each cluster by its number, nearest to the center first."""
        labels, distances = self.labels[self.order], self.distances[self.order]
        # Of equal distances the lower id comes first
        by_cluster = self.order[np.lexsort((distances, labels))]
        outside = int(np.count_nonzero(self.labels < 0))
        ends = np.cumsum(np.bincount(self.labels[self.labels >= 0])) + outside
        ids, parts = self.documents.ids, np.split(by_cluster, [outside, *ends])[1:-1]
        return {
            number: [ids[each] for each in part] for number, part in enumerate(parts, 1)
        }

    def rows(self) -> Iterator[ClusterRow]:
        """What the table has of each document, by id."""
        ids, states = self.documents.ids, self.documents.states
        for each in self.order.tolist():
            label = int(self.labels[each])
            if label < 0:
                yield ids[each], None, None, states[each]
            else:
                yield ids[each], label + 1, float(self.distances[each]), states[each]
