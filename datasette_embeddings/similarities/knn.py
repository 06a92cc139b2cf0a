"""The nearest others of each document, exactly, at the speed of a product of matrices.

A block of rows times all rows gives their scores. Finding the best of them looks at
each score once: columns form groups, and the *k* best are in the *k* groups with the
largest maxima.

float32 rounds a score by up to 1e-6, differently from block to block. Scores that are
closer than that are computed again in float64 and rounded, and the id decides between
equals: the result depends on the vectors only, not on the run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.vectors import Vector, Vectors

Positions = NDArray[np.intp]
#: Is called with the positions of rows, (b,), and columns, (m,), and scores, (b, m)
Watch = Callable[[Positions, Positions, Vectors], None]

# Bytes of the scores of a block of rows with all rows
BLOCK_BYTES = 24_000_000
LEAST_ROWS, MOST_ROWS = 16, 512
# Blocks in work at once
MOST_WORKERS = 8
# Columns of a group, which its maximum represents
GROUP = 12
# Two float32 scores closer than this may be in either order; digits that count
CLOSE = 4e-6
DIGITS = 6
# Lower than any score
NO_SCORE = -2.0


@dataclass(frozen=True)
class Documents:
    """Documents, each with one vector or several of length 1.

    *vectors*, (m, d), are in the order of the documents; *starts*, (n,), says where
    those of each begin, and is None where each document has one.
    """

    ids: Sequence[str]
    vectors: Vectors
    starts: Positions | None = None

    @cached_property
    def ranks(self) -> Positions:
        """The rank of each document among all ids in their order, (n,)."""
        order = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        ranks = np.empty(len(order), dtype=np.intp)
        ranks[order] = np.arange(len(order))
        return ranks

    def vectors_of(self, positions: Positions) -> tuple[Vectors, Positions | None]:
        """The vectors of the documents at *positions*, and where each one's begin."""
        if self.starts is None:
            return self.vectors[positions], None
        ends = np.append(self.starts[1:], len(self.vectors))
        rows = [np.arange(self.starts[each], ends[each]) for each in positions]
        lengths = np.array([len(each) for each in rows])
        return self.vectors[np.concatenate(rows)], np.cumsum(lengths) - lengths

    def scores(self, positions: Positions, memory: Vectors | None = None) -> Vectors:
        """The score of each document at *positions* with every one, (b, n), in float32.

        They are written to *memory* if given, which has at least as many rows.
        """
        mine, my_starts = self.vectors_of(positions)
        out = None if memory is None else memory[: len(mine)]
        scores: Vectors = np.matmul(mine, self.vectors.T, out=out)
        if self.starts is not None and my_starts is not None:
            # The best pair of their vectors stands for two documents
            scores = np.maximum.reduceat(scores, self.starts, axis=1)
            scores = np.maximum.reduceat(scores, my_starts, axis=0)
        return scores

    def exact_scores(self, position: int, others: Positions) -> NDArray[np.float64]:
        """The score of the document at *position* with *others*, (n,), in float64."""
        mine, _starts = self.vectors_of(np.array([position]))
        theirs, starts = self.vectors_of(others)
        # einsum adds up each row by itself, in the same order wherever it is
        mine, theirs = mine.astype(np.float64), theirs.astype(np.float64)
        products = [np.einsum("ij,j->i", theirs, each) for each in mine]
        best: NDArray[np.float64] = np.maximum.reduce(products)
        if starts is not None:
            best = np.maximum.reduceat(best, starts)
        rounded: NDArray[np.float64] = np.clip(best, -1, 1).round(DIGITS)
        return rounded


@dataclass(frozen=True)
class Nearest:
    """The nearest others of the document at *position* and their scores, best first."""

    position: int
    others: Positions
    scores: Vector


def nearest(
    documents: Documents,
    settings: SimilaritySettings,
    positions: Sequence[int],
    *,
    progress: Callback = ignore,
    watch: Watch | None = None,
) -> Iterator[Nearest]:
    """The nearest others of the documents at *positions*, block by block.

    *progress* is called with the number of documents of each block that is done,
    *watch* with the scores of each block with all documents.
    """
    rows = BLOCK_BYTES // (4 * max(1, len(documents.vectors)))
    rows = min(MOST_ROWS, max(LEAST_ROWS, rows))
    every = np.array(positions, dtype=np.intp)
    blocks = [every[start : start + rows] for start in range(0, len(every), rows)]
    local = threading.local()

    def lists_of(block: Positions) -> list[Nearest]:
        # New memory takes as long as finding the best; no later block is larger
        scores = documents.scores(block, getattr(local, "scores", None))
        if documents.starts is None:
            local.scores = scores
        if watch is not None:
            watch(block, np.arange(scores.shape[1]), scores)
        return list(_nearest_of(documents, block, scores, settings))

    with ExitStack() as stack:
        lists: Iterator[list[Nearest]] = map(lists_of, blocks)
        if len(blocks) > 1:
            lists = stack.enter_context(one_core_each()).map(lists_of, blocks)
        for some in lists:
            progress(len(some))
            yield from some


@contextmanager
def one_core_each() -> Iterator[ThreadPoolExecutor]:
    """Threads whose products take one core each.

    A product that takes all cores keeps them spinning while the best of its scores
    are found.
    """
    from threadpoolctl import threadpool_limits

    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as threads:
        yield threads


def _nearest_of(
    documents: Documents,
    positions: Positions,
    scores: Vectors,
    settings: SimilaritySettings,
) -> Iterator[Nearest]:
    """The nearest others of the documents at *positions*, by *scores*, (b, n)."""
    # There may be fewer others than the limit
    limit = min(settings.limit, scores.shape[1] - 1)
    least = settings.min_score
    scores[np.arange(len(positions)), positions] = NO_SCORE
    # One more tells whether the last is close to the first that is left out
    best, values = best_columns(scores, limit + 1)
    close = values[:, :-1] - values[:, 1:] < CLOSE
    if least is not None:
        close = np.concatenate([close, np.abs(values - least) < CLOSE], axis=1)
    is_close: NDArray[np.bool_] = np.any(close, axis=1)
    counts = (values[:, :limit] > (NO_SCORE if least is None else least)).sum(1)
    values = np.clip(values, -1, 1)
    for row, position in enumerate(positions.tolist()):
        if is_close[row]:
            lowest = max(values[row, limit - 1], -1) - CLOSE
            candidates = np.flatnonzero(scores[row] >= lowest)
            yield reranked(documents, position, candidates, settings)
        else:
            count = counts[row]
            yield Nearest(position, best[row, :count], values[row, :count])


def reranked(
    documents: Documents,
    position: int,
    candidates: Positions,
    settings: SimilaritySettings,
) -> Nearest:
    """The nearest of *candidates* to the document at *position*, by exact scores."""
    candidates = candidates[candidates != position]
    if not len(candidates):
        return Nearest(position, candidates, np.empty(0, dtype=np.float32))
    scores = documents.exact_scores(position, candidates)
    order = np.lexsort((documents.ranks[candidates], -scores))[: settings.limit]
    if settings.min_score is not None:
        order = order[scores[order] >= settings.min_score]
    return Nearest(position, candidates[order], scores[order].astype(np.float32))


def best_columns(scores: Vectors, count: int) -> tuple[Positions, Vectors]:
    """The columns and scores of the *count* best of each row, best first, (b, k)."""
    rows, columns = scores.shape
    if columns < count:
        scores = np.pad(
            scores, ((0, 0), (0, count - columns)), constant_values=NO_SCORE
        )
        columns = count
    groups = columns // GROUP
    if groups <= count:
        candidates = np.broadcast_to(np.arange(columns), scores.shape)
    else:
        whole = groups * GROUP
        # Column c is of group c % groups: the maximum goes along whole rows of memory
        maxima = scores[:, :whole].reshape(rows, GROUP, groups).max(axis=1)
        chosen = np.argpartition(maxima, groups - count, axis=1)[:, groups - count :]
        members = chosen[:, None, :] + (np.arange(GROUP) * groups)[None, :, None]
        candidates = members.reshape(rows, GROUP * count)
        rest = np.broadcast_to(np.arange(whole, columns), (rows, columns - whole))
        candidates = np.concatenate([candidates, rest], axis=1)
        scores = np.take_along_axis(scores, candidates, axis=1)
    least = scores.shape[1] - count
    best = np.argpartition(scores, least, axis=1)[:, least:]
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return (
        np.take_along_axis(candidates, best, axis=1),
        np.take_along_axis(values, order, axis=1),
    )
