"""The methods by which a map is made of vectors: pca, pacmap, umap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from datasette_embeddings.errors import InvalidInputError, MissingLibraryError, quoted
from datasette_embeddings.maps.pacmap import Points, pacmap
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.vectors import Vectors

PCA, PACMAP, UMAP = "pca", "pacmap", "umap"
METHODS = (PACMAP, PCA, UMAP)
#: It keeps as many neighbours as UMAP, in a twentieth of the time, and needs no library
DEFAULT_METHOD = PACMAP
# PaCMAP compares vectors by so many principal components
PACMAP_DIMENSIONS = 100
# Fewer documents have too few neighbours for the other methods
LEAST_DOCUMENTS = 15

Method: TypeAlias = Callable[[Vectors, Points, int, Callback], Points]


class Components:
    """The directions in which vectors differ most: principal component analysis.

    *axes*, (d, k), are the eigenvectors of the covariance of all vectors, largest
    eigenvalue first. The largest number of each is positive, so that the result does
    not depend on the library of linear algebra.
    """

    def __init__(self, blocks: Iterable[Vectors], dimensions: int, count: int) -> None:
        total = np.zeros(dimensions)
        products = np.zeros((dimensions, dimensions))
        vectors = 0
        for block in blocks:
            total += block.sum(axis=0, dtype=np.float64)
            products += block.T @ block
            vectors += len(block)
        self.mean = total / max(vectors, 1)
        covariance = products - vectors * np.outer(self.mean, self.mean)
        _values, axes = np.linalg.eigh(covariance)
        axes = axes[:, ::-1][:, :count]
        largest = np.abs(axes).argmax(axis=0)
        self.axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1)

    def of(self, vectors: Vectors) -> Points:
        """The coordinates of *vectors* on the axes, (n, k)."""
        coordinates: Points = (vectors - self.mean) @ self.axes
        return coordinates


def check_method(method: str) -> None:
    """Check that *method* exists and that its library is installed.

    :raises InvalidInputError: if it does not exist.
    :raises MissingLibraryError: if the library is missing.
    """
    if method not in METHODS:
        raise InvalidInputError(
            f"Expected a method, one of {', '.join(METHODS)}; found {quoted(method)}"
        )
    if method == UMAP:
        _umap_library()


def projected(
    method: str, vectors: Vectors, seed: int, progress: Callback = ignore
) -> Points:
    """The coordinates of *vectors*, (n, d), by *method*, (n, 2).

    So few vectors that the method has no neighbours to go by are shown by PCA, and so
    are those that are all equal. *progress* is called with how many more are done.

    :raises MissingLibraryError: if the library of the method is missing.
    """
    start = flat(Components([vectors], vectors.shape[1], 2).of(vectors))
    is_tiny = len(vectors) < LEAST_DOCUMENTS or np.ptp(start) < 1e-6
    if method == PCA or is_tiny:
        progress(len(vectors))
        return start
    return _METHODS[method](vectors, start, seed, progress)


def flat(coordinates: Points) -> Points:
    """*coordinates*, (n, 0 to 2), as (n, 2); what is missing is 0."""
    return np.pad(coordinates, ((0, 0), (0, 2 - coordinates.shape[1])))


def _pacmap(vectors: Vectors, start: Points, seed: int, progress: Callback) -> Points:
    dimensions = vectors.shape[1]
    if dimensions > PACMAP_DIMENSIONS:
        components = Components([vectors], dimensions, PACMAP_DIMENSIONS)
        vectors = components.of(vectors).astype(np.float32)
    return pacmap(vectors, start, seed, progress)


def _umap(vectors: Vectors, _start: Points, seed: int, progress: Callback) -> Points:
    """UMAP with its own settings; one thread, so that the result is reproducible."""
    count = len(vectors)
    reducer = _umap_library()(
        n_neighbors=min(15, count - 1), metric="cosine", random_state=seed, n_jobs=1
    )
    points = np.asarray(reducer.fit_transform(vectors), dtype=np.float64)
    progress(count)
    return points


def _umap_library() -> Callable[..., Any]:
    try:
        import umap
    except ImportError as error:
        raise MissingLibraryError("umap-learn", "the method umap") from error
    found: Callable[..., Any] = umap.UMAP
    return found


_METHODS: Mapping[str, Method] = {PACMAP: _pacmap, UMAP: _umap}
