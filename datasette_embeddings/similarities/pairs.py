"""Each document's nearest others, exactly, at the speed of the product of matrices.

A block of rows times all rows gives their scores.  Finding the best in them costs one
look at each: columns stand in groups, and the *k* best are in the *k* groups with the
largest maxima.

float32 rounds a score by up to 1e-6, differently from place to place.  Where two scores
are closer than that, they are worked out in float64 and rounded, and the id decides
between equals: what is near to what depends on the vectors only, not on the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vector, Vectors

    Places = NDArray[np.intp]

# Bytes of the scores that are looked at together: a block of rows by all of them
BLOCK_BYTES = 24_000_000
LEAST_ROWS, MOST_ROWS = 16, 512
# Blocks in work at once
MOST_WORKERS = 8
# Columns of a group, whose maximum stands for them
GROUP = 12
# float32 may round two scores by this much together, and their digits that count
CLOSE = 4e-6
DIGITS = 6
# The score of nothing at all
NONE = -2.0


@dataclass(frozen=True)
class Documents:
    """Documents, each with one vector or several of length 1.

    *vectors*, (m, d), stand in the order of the documents; *starts*, (n,), says where
    those of each begin, and is None where each has one.
    """

    ids: Sequence[str]
    vectors: Vectors
    starts: Places | None = None

    @cached_property
    def ranks(self) -> Places:
        """Of each document its place among all ids in their order, (n,)."""
        import numpy as np

        order = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        ranks = np.empty(len(order), dtype=np.intp)
        ranks[order] = np.arange(len(order))
        return ranks

    def vectors_of(self, places: Places) -> tuple[Vectors, Places | None]:
        """The vectors of the documents at *places*, and where each of them begins."""
        import numpy as np

        if self.starts is None:
            return self.vectors[places], None
        ends = np.append(self.starts[1:], len(self.vectors))
        rows = [np.arange(self.starts[place], ends[place]) for place in places]
        lengths = np.array([len(each) for each in rows])
        return self.vectors[np.concatenate(rows)], np.cumsum(lengths) - lengths

    def scores(self, places: Places, memory: Vectors | None = None) -> Vectors:
        """The score of each document at *places* with every one, (b, n), in float32.

        They may lie in *memory*, of at least as many rows.
        """
        import numpy as np

        mine, my_starts = self.vectors_of(places)
        out = None if memory is None else memory[: len(mine)]
        scores: Vectors = np.matmul(mine, self.vectors.T, out=out)
        if self.starts is not None and my_starts is not None:
            # The best pair of their vectors stands for two documents
            scores = np.maximum.reduceat(scores, self.starts, axis=1)
            scores = np.maximum.reduceat(scores, my_starts, axis=0)
        return scores

    def exact_scores(self, place: int, others: Places) -> NDArray[np.float64]:
        """The score of the document at *place* with *others*, (n,), in float64."""
        import numpy as np

        mine, _starts = self.vectors_of(np.array([place]))
        theirs, starts = self.vectors_of(others)
        # einsum adds up each row by itself, in one order wherever it stands
        mine, theirs = mine.astype(np.float64), theirs.astype(np.float64)
        products = [np.einsum("ij,j->i", theirs, each) for each in mine]
        best: NDArray[np.float64] = np.maximum.reduce(products)
        if starts is not None:
            best = np.maximum.reduceat(best, starts)
        rounded: NDArray[np.float64] = np.clip(best, -1, 1).round(DIGITS)
        return rounded


@dataclass(frozen=True)
class Nearest:
    """The nearest others of the document at *place*, best first, with their scores."""

    place: int
    others: Places
    scores: Vector


@dataclass(frozen=True)
class Wanted:
    """How many others each document is to have, and how near they must be."""

    limit: int
    min_score: float | None = None

    def decided(self, scores: Vectors) -> NDArray[np.bool_]:
        """Of each row of *scores*, best first, whether float32 tells them apart."""
        import numpy as np

        close = scores[:, :-1] - scores[:, 1:] < CLOSE
        if self.min_score is not None:
            at_the_edge = np.abs(scores - self.min_score) < CLOSE
            close = np.concatenate([close, at_the_edge], axis=1)
        return np.logical_not(close.any(axis=1))


def nearest(
    documents: Documents, wanted: Wanted, places: Places | None = None
) -> Iterator[Nearest]:
    """What is *wanted* of every document, or of those at *places*; ties by id."""
    import numpy as np

    everywhere = np.arange(len(documents.ids)) if places is None else places
    work = list(blocks(documents, everywhere))
    if len(work) <= 1:
        for block in work:
            yield from nearest_of(documents, block, documents.scores(block), wanted)
        return
    from threadpoolctl import threadpool_limits

    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    memories = Memories(workers)

    def lists_of(block: Places) -> list[Nearest]:
        with memories.scores(documents, block) as scores:
            return list(nearest_of(documents, block, scores, wanted))

    # One core a block, product and all: a product that takes all cores keeps them
    # spinning while the best of its scores are found
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as threads:
        for lists in threads.map(lists_of, work):
            yield from lists


class Memories:
    """Where *count* workers have their scores: new memory takes as long as the best."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[Vectors | None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def scores(self, documents: Documents, places: Places) -> Iterator[Vectors]:
        """As :meth:`Documents.scores`; gone when the block ends."""
        memory = self._free.get()
        is_enough = memory is not None and len(memory) >= len(places)
        try:
            scores = documents.scores(places, memory if is_enough else None)
            if documents.starts is None and not is_enough:
                memory = scores
            yield scores
        finally:
            self._free.put(memory)


def blocks(documents: Documents, places: Places) -> Iterator[Places]:
    """*places*, as many at a time as have their scores looked at together."""
    rows = BLOCK_BYTES // (4 * max(1, len(documents.vectors)))
    rows = min(MOST_ROWS, max(LEAST_ROWS, rows))
    for start in range(0, len(places), rows):
        yield places[start : start + rows]


def nearest_of(
    documents: Documents, places: Places, scores: Vectors, wanted: Wanted
) -> Iterator[Nearest]:
    """What is *wanted* of the documents at *places*, whose *scores* are (b, n)."""
    import numpy as np

    scores[np.arange(len(places)), places] = NONE
    # One more than wanted tells whether the last is close to the first left out
    best, values = _best(scores, wanted.limit + 1)
    decided = wanted.decided(values)
    limit = wanted.limit
    least = NONE / 2 if wanted.min_score is None else wanted.min_score
    counts = (values[:, :limit] >= least).sum(axis=1)
    values = np.clip(values, -1, 1)
    for row, place in enumerate(places.tolist()):
        if decided[row]:
            count = counts[row]
            yield Nearest(place, best[row, :count], values[row, :count])
        else:
            lowest = max(values[row, limit - 1], -1) - CLOSE
            candidates = np.flatnonzero(scores[row] >= lowest)
            yield in_order(documents, place, candidates, wanted)


def in_order(
    documents: Documents, place: int, candidates: Places, wanted: Wanted
) -> Nearest:
    """What is *wanted* of the document at *place* among *candidates*, to the digit."""
    import numpy as np

    candidates = candidates[candidates != place]
    if not len(candidates):
        return Nearest(place, candidates, np.empty(0, dtype=np.float32))
    scores = documents.exact_scores(place, candidates)
    order = np.lexsort((documents.ranks[candidates], -scores))[: wanted.limit]
    if wanted.min_score is not None:
        order = order[scores[order] >= wanted.min_score]
    return Nearest(place, candidates[order], scores[order].astype(np.float32))


def _best(scores: Vectors, wanted: int) -> tuple[Places, Vectors]:
    """The places and scores of the *wanted* best of each row, best first, (b, k)."""
    import numpy as np

    rows, columns = scores.shape
    missing = wanted - columns
    if missing > 0:
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=NONE)
        columns = wanted
    groups = columns // GROUP
    if groups <= wanted:
        everything = np.broadcast_to(np.arange(columns), scores.shape)
        return _sorted(everything, scores, wanted)
    whole = groups * GROUP
    # Column c is of group c % groups: the maximum goes along whole rows of memory
    maxima = scores[:, :whole].reshape(rows, GROUP, groups).max(axis=1)
    chosen = np.argpartition(maxima, groups - wanted, axis=1)[:, groups - wanted :]
    members = chosen[:, None, :] + (np.arange(GROUP) * groups)[None, :, None]
    candidates = members.reshape(rows, GROUP * wanted)
    rest = np.broadcast_to(np.arange(whole, columns), (rows, columns - whole))
    candidates = np.concatenate([candidates, rest], axis=1)
    return _sorted(candidates, np.take_along_axis(scores, candidates, axis=1), wanted)


def _sorted(candidates: Places, scores: Vectors, wanted: int) -> tuple[Places, Vectors]:
    import numpy as np

    least = scores.shape[1] - wanted
    best = np.argpartition(scores, least, axis=1)[:, least:]
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return (
        np.take_along_axis(candidates, best, axis=1),
        np.take_along_axis(values, order, axis=1),
    )
