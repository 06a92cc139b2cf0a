"""The table of similarities, made and kept up to date as vectors are added and change.

After any history the table is what a full run would write; in a large collection, which
is compared in random clusters, a list that is computed again is exact.  That is so if
its document changed or lost a neighbour; new documents that are near enough join the
other lists.  If more than a part of the documents changed, all lists are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import itemgetter

import numpy as np

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.similarities import knn
from datasette_embeddings.similarities.changes import changes, read_documents
from datasette_embeddings.similarities.knn import Nearest, Positions, nearest, reranked
from datasette_embeddings.similarities.partitions import (
    compare_exactly,
    compare_in_rounds,
    is_affordable,
)
from datasette_embeddings.similarities.vector_file import StoredDocuments, VectorFile
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.items import is_recent
from datasette_embeddings.store.schema import kept_in_memory, one_moment, transaction
from datasette_embeddings.store.similarities import Similarities, SimilarityRow
from datasette_embeddings.vectors import Vectors

# A run starts again when another program wrote meanwhile, at most so often
ATTEMPTS = 3
# Version of the rules for comparing chunked documents; a change compares all again
RULES = 2
# Above this part of all, a full run is as fast
MOST_CHANGED = 0.3


@dataclass(frozen=True)
class Refreshed:
    """How many documents were compared, of how many."""

    compared: int
    documents: int
    #: What part of the nearest the lists have, as measured; None if they have all
    recall: float | None = None


def build(
    collection: StoredCollection,
    settings: SimilaritySettings,
    *,
    start: Callback = ignore,
    progress: Callback = ignore,
) -> Refreshed:
    """Store the nearest others of each document, and keep them up to date from now on.

    *start* is called with the number of lists to make, *progress* with how many more
    are made. In a large collection each list counts once for each round, of which fewer
    may be enough.
    """
    if settings.limit < 1:
        raise InvalidInputError(
            f"Expected a limit, a whole number from 1; found {settings.limit}"
        )
    if settings.min_score is not None and not -1 <= settings.min_score <= 1:
        raise InvalidInputError(
            f"Expected a lowest score from -1 to 1, found {settings.min_score}"
        )
    conn = collection.conn
    # Its result changes with every commit of another connection
    read_version = partial(conn.execute, "pragma data_version")
    Similarities(collection).prepare()
    is_large = _is_large(collection)
    with kept_in_memory(conn, is_mapped=not is_large):
        for attempt in range(ATTEMPTS):
            # The last attempt makes other programs wait
            is_last = attempt == ATTEMPTS - 1
            with (
                transaction(conn) if is_last else nullcontext(),
                VectorFile() if is_large else nullcontext() as file,
            ):
                version = read_version().fetchone()
                with one_moment(conn):
                    state, table = _state(collection), Similarities(collection)
                    if (table.settings, table.state) == (settings, state):
                        break
                    run = _Run(collection, settings, state, file)
                lists = run.lists(start, progress)
                with transaction(conn):
                    if version == read_version().fetchone() or run.is_current():
                        return run.write(lists)
    return Refreshed(0, collection.count_items(), table.recall)


def refresh(collection: StoredCollection) -> Refreshed | None:
    """Bring the similarities of *collection* up to date; None if it has none."""
    settings = Similarities(collection).settings
    return None if settings is None else build(collection, settings)


def count_stale(collection: StoredCollection) -> int:
    """How many documents changed, came or went since their similarities were stored."""
    table = Similarities(collection)
    if table.settings is None:
        return 0
    with VectorFile() if _is_large(collection) else nullcontext() as file:
        changed, gone = changes(*read_documents(collection, file), table.marks())
    return len(changed) + len(gone)


def remove(collection: StoredCollection) -> None:
    """Delete the similarities of *collection*, and stop keeping them up to date."""
    table = Similarities(collection)
    table.prepare()
    with transaction(collection.conn):
        table.clear()
        table.store_settings(None)


def _state(collection: StoredCollection) -> list[float | None]:
    """The state of the vectors, as it is stored with their similarities."""
    return [RULES, *collection.snapshot()]


def _is_large(collection: StoredCollection) -> bool:
    """Whether to compare all vectors of *collection* would take too long."""
    count = collection.count_items()
    return not is_affordable(count, count, collection.dimensions or 0)


class _Run:
    """What is to be done to the similarities of a collection, as it was at first."""

    def __init__(
        self,
        collection: StoredCollection,
        settings: SimilaritySettings,
        state: list[float | None],
        file: VectorFile | None,
    ) -> None:
        self.collection, self.settings, self.state = collection, settings, state
        self.least = knn.NO_SCORE if settings.min_score is None else settings.min_score
        self.documents, self.states = read_documents(collection, file)
        self.table = Similarities(collection)
        self.marks, self.recall = self.table.marks(), self.table.recall
        changed, self.gone = changes(self.documents, self.states, self.marks)
        #: The positions of documents to compare
        self.changed: Sequence[int] = changed
        total = len(self.documents.ids)
        has_much = not self.marks or len(self.changed) > MOST_CHANGED * total
        was_large = file is None and self.recall is not None
        self.is_full = has_much or was_large or self.table.settings != settings
        #: The lists that may change, as they are stored
        self.stored: list[SimilarityRow] = []

    def is_current(self) -> bool:
        """Whether neither the vectors nor the lists have changed since."""
        state = _state(self.collection)
        return state == self.state and (
            self.is_full or self.table.marks() == self.marks
        )

    def lists(self, start: Callback, progress: Callback) -> Iterable[Nearest]:
        """Every list that changes, by the id of its document."""
        lists = None if self.is_full else self._changed_lists(start, progress)
        if lists is None:
            self.is_full, self.changed = True, range(len(self.documents.ids))
            # They are many, and all are written again
            self.marks = {}
            if isinstance(self.documents, StoredDocuments):
                found, self.recall = compare_in_rounds(
                    self.documents, self.settings, start, progress
                )
                return found
            self.recall = None
            start(len(self.changed))
            every = self.documents, self.settings, self.changed
            lists = list(nearest(*every, progress=progress))
        return sorted(lists, key=lambda each: self.documents.ids[each.position])

    def _changed_lists(
        self, start: Callback, progress: Callback
    ) -> list[Nearest] | None:
        """The lists that change; None if it takes too long to compare them all."""
        ids = self.documents.ids
        positions = {each: position for position, each in enumerate(ids)}
        changed = {ids[position] for position in self.changed}
        old = [*self.gone, *(changed & self.marks.keys())]
        losers = self.table.lists_with(old) - changed
        lost = [positions[each] for each in losers if each in positions]
        made: Callable[..., Iterable[Nearest]]
        if isinstance(self.documents, StoredDocuments):
            file, part = self.documents.vectors, (len(changed) + len(lost)) / len(ids)
            if not is_affordable(round(file.count * part), file.count, file.dimensions):
                return None
            made = partial(compare_exactly, self.documents, self.settings)
        else:
            made = partial(nearest, self.documents, self.settings)
        cutoffs = np.full(len(ids), np.inf, dtype=np.float32)
        for each, (_state, cutoff) in self.marks.items():
            if each in positions:
                cutoffs[positions[each]] = cutoff
        cutoffs[self.changed] = cutoffs[lost] = np.inf
        joining: dict[int, list[tuple[int, float]]] = {}

        def collect_joining(block: Positions, all_: Positions, scores: Vectors) -> None:
            rows, columns = np.nonzero(scores >= cutoffs[all_] - knn.CLOSE)
            values = scores[rows, columns]
            if isinstance(self.documents, StoredDocuments):
                # As the stored ones are, to which they are equal or not
                values = values.round(knn.DIGITS)
            others = zip(block[rows].tolist(), values.tolist(), strict=True)
            for column, other in zip(all_[columns].tolist(), others, strict=True):
                joining.setdefault(column, []).append(other)

        start(len(self.changed) + len(lost))
        lists = [
            *made(self.changed, progress=progress, watch=collect_joining),
            *made(lost, progress=progress),
        ]
        joined = {ids[position] for position in joining}
        affected = losers | changed | joined | set(self.gone)
        self.stored = self.table.rows(sorted(affected))
        for each, other, score in self.stored:
            if each in joined and other in positions:
                joining[positions[each]].append((positions[other], score))
        return lists + [self._joined(*each) for each in joining.items()]

    def _joined(self, position: int, scored: list[tuple[int, float]]) -> Nearest:
        """The list of a document: the best of those *scored*, old and new."""
        limit, least = self.settings.limit, self.least
        # A document may come with several vectors: its best score counts
        best = dict(sorted(scored, key=itemgetter(1)))
        candidates = sorted(best.items(), key=lambda each: (-each[1], each[0]))
        others = np.array([other for other, _score in candidates], dtype=np.intp)
        scores = [score for _other, score in candidates[: limit + 1]]
        # As in knn: numpy takes three times as long for a thousand short lists
        gaps = [abs(one - next_) for one, next_ in pairwise(scores)]
        gaps += [abs(each - least) for each in scores]
        is_close = any(gap < knn.CLOSE for gap in gaps)
        if is_close and isinstance(self.documents, knn.Documents):
            return reranked(self.documents, position, others, self.settings)
        near = [min(score, 1.0) for score in scores[:limit] if score >= least]
        found = np.array(near, dtype=np.float32)
        return Nearest(position, others[: len(near)], found)

    def write(self, lists: Iterable[Nearest]) -> Refreshed:
        """Put *lists* into the table; part of a transaction."""
        current(self.collection)
        ids = self.documents.ids
        rows: Iterable[SimilarityRow] = _rows(ids, lists)
        deleted: list[tuple[str, str]] = []
        if self.is_full:
            self.table.clear()
        else:
            new = set(rows)
            kept = {row[:2] for row in new}
            deleted = [row[:2] for row in self.stored if row[:2] not in kept]
            rows = sorted(new.difference(self.stored))
        marks = (
            (ids[each.position], self.states[ids[each.position]], self._cutoff(each))
            for each in lists
        )
        self.table.write(rows, marks, deleted=deleted, gone=self.gone)
        state = None if is_recent(self.state) else self.state
        self.table.store_settings(self.settings, state, self.recall)
        return Refreshed(len(self.changed), len(ids), self.recall)

    def _cutoff(self, found: Nearest) -> float:
        """What a new document must score to join a list."""
        is_full = len(found.others) == self.settings.limit
        return float(found.scores[-1]) if is_full else self.least


def _rows(ids: Sequence[str], lists: Iterable[Nearest]) -> Iterator[SimilarityRow]:
    for each in lists:
        others, scores = each.others.tolist(), each.scores.tolist()
        for other, score in zip(others, scores, strict=True):
            yield ids[each.position], ids[other], score
