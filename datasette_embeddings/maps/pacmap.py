"""PaCMAP: a map on which near vectors are near, and groups lie as in the whole.

Wang, Huang, Rudin, Shaposhnik: Understanding How Dimension Reduction Tools Work, JMLR
22 (2021), 201. Pairs of points attract or repel each other, at first those that are
not far from each other (mid-near pairs) more than neighbours are. The numbers are the
paper's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.similarities.knn import Positions, best_columns
from datasette_embeddings.vectors import Vectors

#: Coordinates, (n, 2)
Points: TypeAlias = NDArray[np.float64]

NEIGHBORS, MID_NEAR, FURTHER = 10, 5, 20
# Neighbours are chosen from so many more, by their distance relative to those of others
CANDIDATES = NEIGHBORS + 50
# The nearest of so many at random are left out, and the second nearest is mid-near
DRAWN = 6
#: Steps of each of the three phases
PHASES = 100, 100, 250
STEPS = sum(PHASES)
# Of the coordinates of PCA, with which it begins
FIRST_SCALE = 0.01
# Of Adam (Kingma and Ba, 2015)
RATE, BETA_1, BETA_2, EPSILON = 1.0, 0.9, 0.999, 1e-7
BLOCK_ROWS = 512


@dataclass(frozen=True)
class _Pairs:
    """Pairs of points: row *i* of *others*, (n, k), has the others of point *i*.

    Their pull at the squared distance *d* is *strength* / (*reach* + 1 + d)^2.
    """

    others: Positions
    reach: float
    strength: float

    def add_gradient(self, points: Points, weight: float, gradient: Points) -> None:
        """Add *weight* times the gradient of the loss at *points*, (n, 2)."""
        count, width = self.others.shape
        others = self.others.reshape(-1)
        x, y = points.T
        dx = (x[:, None] - x[others].reshape(count, width)).astype(np.float32)
        dy = (y[:, None] - y[others].reshape(count, width)).astype(np.float32)
        pull = dx * dx
        pull += dy * dy
        pull += self.reach + 1
        np.square(pull, out=pull)
        np.divide(weight * self.strength, pull, out=pull)
        for axis, force in enumerate((dx, dy)):
            force *= pull
            gradient[:, axis] += force.sum(axis=1)
            back = np.bincount(others, force.reshape(-1), minlength=count)
            gradient[:, axis] -= back


def pacmap(
    vectors: Vectors, start: Points, seed: int, progress: Callback = ignore
) -> Points:
    """The coordinates of *vectors*, (n, d), on a map that begins as *start*: (n, 2).

    *start*, (n, 2), are their coordinates by PCA. *progress* is called with how many
    vectors the steps done so far come to.
    """
    random = np.random.default_rng(seed)
    count = len(vectors)
    near = _neighbors(vectors)
    groups = (
        _Pairs(near, 10, 20),
        _Pairs(_mid_near(vectors, random), 10_000, 20_000),
        _Pairs(_further(near, random), 0, -2),
    )
    points = start * FIRST_SCALE
    mean, square = np.zeros((2, count, 2))
    for step, weights in enumerate(_weights(), start=1):
        gradient = np.zeros((count, 2))
        for pairs, weight in zip(groups, weights, strict=True):
            if weight:
                pairs.add_gradient(points, weight, gradient)
        mean += (1 - BETA_1) * (gradient - mean)
        square += (1 - BETA_2) * (gradient**2 - square)
        rate = RATE * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
        points -= rate * mean / (np.sqrt(square) + EPSILON)
        progress(count * step // STEPS - count * (step - 1) // STEPS)
    return points


def _weights() -> Iterator[tuple[float, float, float]]:
    """The weights of neighbours, mid-near and further pairs in each step."""
    first, second, third = PHASES
    for step in range(first):
        part = step / first
        yield 2.0, 1000 * (1 - part) + 3 * part, 1.0
    yield from [(3.0, 3.0, 1.0)] * second
    yield from [(1.0, 0.0, 1.0)] * third


def _neighbors(vectors: Vectors) -> Positions:
    """The neighbours of each vector, (n, k): nearest by a distance that is relative.

    It is divided by how far the fourth to sixth nearest of both are, so that points in
    dense places are not neighbours of all others.
    """
    count = len(vectors)
    wide = min(CANDIDATES, count - 1)
    nearest = np.empty((count, wide), dtype=np.intp)
    distances = np.empty((count, wide), dtype=np.float32)
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    for begin in range(0, count, BLOCK_ROWS):
        rows = np.arange(begin, min(begin + BLOCK_ROWS, count))
        scores = 2 * (vectors[rows] @ vectors.T) - lengths
        scores[np.arange(len(rows)), rows] = -np.inf
        nearest[rows], best = best_columns(scores, wide)
        distances[rows] = lengths[rows, None] - best
    np.maximum(distances, 0, out=distances)
    scale = np.sqrt(distances[:, 3:6]).mean(axis=1) if wide > 3 else np.ones(count)
    scale = np.maximum(scale, 1e-10)
    relative = distances / (scale[:, None] * scale[nearest])
    order = np.argsort(relative, axis=1, kind="stable")[:, : min(NEIGHBORS, wide)]
    return np.take_along_axis(nearest, order, axis=1)


def _mid_near(vectors: Vectors, random: np.random.Generator) -> Positions:
    """Points that are neither near nor far, (n, k): the second nearest of a few."""
    count = len(vectors)
    found = np.empty((count, MID_NEAR), dtype=np.intp)
    for begin in range(0, count, BLOCK_ROWS):
        rows = np.arange(begin, min(begin + BLOCK_ROWS, count))
        for column in range(MID_NEAR):
            drawn = _others(rows, DRAWN, count, random)
            gaps = vectors[drawn] - vectors[rows, None]
            order = np.argsort(np.einsum("ijk,ijk->ij", gaps, gaps), axis=1)
            found[rows, column] = drawn[np.arange(len(rows)), order[:, 1]]
    return found


def _further(near: Positions, random: np.random.Generator) -> Positions:
    """Points at random, (n, k): not neighbours, if there are enough others."""
    count = len(near)
    rows = np.arange(count)
    found = _others(rows, FURTHER, count, random)
    for _attempt in range(5):
        is_near = (found[:, :, None] == near[:, None, :]).any(axis=2)
        if not is_near.any():
            break
        found[is_near] = _others(rows, FURTHER, count, random)[is_near]
    return found


def _others(
    rows: Positions, width: int, count: int, random: np.random.Generator
) -> Positions:
    """Positions at random, (n, width), none of which is that of its row."""
    drawn = random.integers(0, count - 1, (len(rows), width))
    return drawn + (drawn >= rows[:, None])
