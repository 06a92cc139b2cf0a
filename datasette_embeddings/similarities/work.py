"""What is to be done to a collection's similarities, from reading it to writing them.

A list is worked out anew where its document changed or lost a neighbour; elsewhere it
is joined by the new documents that are near enough.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.index.cache import is_recent
from datasette_embeddings.similarities.pairs import (
    CLOSE,
    NONE,
    Documents,
    Nearest,
    Wanted,
    blocks,
    in_order,
    nearest,
    nearest_of,
)
from datasette_embeddings.similarities.reading import Changes, Reading, changes, read
from datasette_embeddings.store import items
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.similarities import (
    Marks,
    SimilarityRow,
    lists_with,
    similarity_lists,
    similarity_marks,
    write_similarities,
)
from datasette_embeddings.store.similarity_notes import (
    note_similarities,
    similarity_settings,
)

if TYPE_CHECKING:
    from datasette_embeddings.similarities.pairs import Places
    from datasette_embeddings.vectors import Vectors

# Version of the rules for comparing chunked documents; a change compares all again
RULES = 2
# Above this part of all, a full run is as fast
MOST_CHANGED = 0.3


@dataclass(frozen=True)
class Refreshed:
    """How many documents were compared anew, of how many."""

    compared: int
    documents: int


@dataclass(frozen=True)
class Joined(Nearest):
    """A list that new documents have joined; *noted* is what the table has of it."""

    noted: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Work:
    """What is to be done to a collection's similarities, as it was when it began."""

    collection: Collection
    settings: SimilaritySettings
    snapshot: tuple[float | None, ...]
    reading: Reading
    marks: Marks
    #: None where all lists are made anew
    changes: Changes | None

    @classmethod
    def begun(
        cls,
        collection: Collection,
        settings: SimilaritySettings,
        snapshot: tuple[float | None, ...],
    ) -> Work:
        reading = read(collection)
        marks = similarity_marks(collection)
        found: Changes | None = changes(reading, marks)
        is_same = similarity_settings(collection) == settings
        assert found is not None
        total = len(reading.documents.ids)
        # Who is left alone, or has as much to do as anew, begins anew
        is_anew = total < 2 or len(found.places) > MOST_CHANGED * total
        if not is_same or not marks.states or is_anew:
            found = None
        return cls(collection, settings, snapshot, reading, marks, found)

    @property
    def wanted(self) -> Wanted:
        """The settings as far as there are others."""
        others = len(self.reading.documents.ids) - 1
        return Wanted(max(0, min(self.settings.limit, others)), self.settings.min_score)

    @property
    def report(self) -> Refreshed:
        """How much work it is."""
        total = len(self.reading.documents.ids)
        return Refreshed(
            total if self.changes is None else len(self.changes.places), total
        )

    def is_current(self, conn: sqlite3.Connection) -> bool:
        """Whether nobody has changed the vectors or the lists since."""
        return (
            items.snapshot(conn, self.collection.id) == self.snapshot
            and similarity_marks(self.collection) == self.marks
        )

    def lists(
        self,
        conn: sqlite3.Connection,
        start: Callable[[int], None],
        progress: Callable[[int], None],
    ) -> list[Nearest]:
        """Every list that is not as it was."""
        documents, wanted = self.reading.documents, self.wanted
        start(self.report.compared)
        if not wanted.limit:
            return []
        if self.changes is None:
            return list(_told(nearest(documents, wanted), progress))
        return self._changed_lists(conn, self.changes, wanted, progress)

    def _changed_lists(
        self,
        conn: sqlite3.Connection,
        changed: Changes,
        wanted: Wanted,
        progress: Callable[[int], None],
    ) -> list[Nearest]:
        import numpy as np

        documents, places = self.reading.documents, self.reading.places
        old = changed.old
        losers = lists_with(self.collection, old) if old else set()
        lost = sorted(
            {places[each] for each in losers if each in places} - set(changed.places)
        )
        lowest = np.full(len(documents.ids), np.inf, dtype=np.float32)
        for each, score in self.marks.lowest.items():
            if score is not None and each in places:
                lowest[places[each]] = score
        # These are worked out by themselves
        lowest[changed.places] = lowest[lost] = np.inf
        lists: list[Nearest] = []
        joining: dict[int, list[tuple[int, float]]] = {}
        for block in blocks(documents, np.array(changed.places, dtype=np.intp)):
            scores = documents.scores(block)
            _note_joining(joining, block, scores, lowest)
            found = nearest_of(documents, block, scores, wanted)
            lists += _told(found, progress)
        if lost:
            lists += nearest(documents, wanted, np.array(lost, dtype=np.intp))
        ids = [documents.ids[place] for place in joining]
        noted = similarity_lists(self.collection, ids)
        for place, newcomers in joining.items():
            known = noted.get(documents.ids[place], [])
            lists.append(_joined(documents, place, known, newcomers, places, wanted))
        return lists

    def write(self, conn: sqlite3.Connection, lists: Sequence[Nearest]) -> None:
        """Put *lists* into the table; part of a transaction."""
        self.collection.check_exists()
        ids, states = self.reading.documents.ids, self.reading.states
        lists = sorted(lists, key=lambda each: ids[each.place])
        # None for what cannot be compared; what is alone has no list and takes anyone
        joined = [each for each in lists if isinstance(each, Joined)]
        lowest: dict[str, float | None] = dict.fromkeys(states.keys() - set(ids))
        anew = ids if self.changes is None else [ids[p] for p in self.changes.places]
        lowest.update(dict.fromkeys(anew, self._least()))
        lowest.update((ids[each.place], self._lowest(each)) for each in lists)
        marks = ((each, states[each], low) for each, low in lowest.items())
        replaced = lowest.keys() - {ids[each.place] for each in joined}
        write_similarities(
            self.collection,
            _rows(ids, lists),
            marks,
            replaced=None if self.changes is None else sorted(replaced),
            left=_left(ids, joined),
            gone=() if self.changes is None else self.changes.gone,
        )
        state = (
            None
            if is_recent(self.snapshot)
            else noted_state(self.collection, self.snapshot)
        )
        note_similarities(self.collection, self.settings, state)

    def _lowest(self, found: Nearest) -> float:
        """What a new document must score to join a list."""
        if len(found.others) < self.settings.limit:
            return self._least()
        return float(found.scores[-1])

    def _least(self) -> float:
        least = self.settings.min_score
        return NONE if least is None else least


def noted_state(
    collection: Collection, snapshot: Sequence[float | None]
) -> list[float | None]:
    """The stored state of the vectors that similarities were computed from."""
    return [*snapshot, RULES] if collection.has_chunks else list(snapshot)


def _told(
    lists: Iterator[Nearest], progress: Callable[[int], None]
) -> Iterator[Nearest]:
    for each in lists:
        progress(1)
        yield each


def _note_joining(
    joining: dict[int, list[tuple[int, float]]],
    block: Places,
    scores: Vectors,
    lowest: Vectors,
) -> None:
    """Note which documents of *block* score enough for which lists."""
    import numpy as np

    rows, columns = np.nonzero(scores >= lowest - CLOSE)
    values = scores[rows, columns]
    for row, column, score in zip(
        block[rows].tolist(), columns.tolist(), values.tolist(), strict=True
    ):
        joining.setdefault(column, []).append((row, score))


def _joined(
    documents: Documents,
    place: int,
    noted: Sequence[tuple[str, float]],
    newcomers: Sequence[tuple[int, float]],
    places: Mapping[str, int],
    wanted: Wanted,
) -> Joined:
    """The list of *place* with *newcomers* in it."""
    import numpy as np

    both = [*((places[each], score) for each, score in noted), *newcomers]
    both.sort(key=itemgetter(1), reverse=True)
    others = np.array([other for other, _score in both], dtype=np.intp)
    scores = [score for _other, score in both[: wanted.limit + 1]]
    # A thousand short lists: the same as Wanted.decided, at a third of numpy's time
    is_decided = all(one - next_ >= CLOSE for one, next_ in pairwise(scores))
    least = NONE if wanted.min_score is None else wanted.min_score
    if not is_decided or any(abs(score - least) < CLOSE for score in scores):
        now = in_order(documents, place, others, wanted)
        return Joined(place, now.others, now.scores, noted)
    near = [min(score, 1.0) for score in scores[: wanted.limit] if score >= least]
    found = np.array(near, dtype=np.float32)
    return Joined(place, others[: len(near)], found, noted)


def _rows(ids: Sequence[str], lists: Sequence[Nearest]) -> Iterator[SimilarityRow]:
    """What is to be written of *lists*."""
    for each in lists:
        noted = set(each.noted) if isinstance(each, Joined) else ()
        document_id = ids[each.place]
        for other, score in zip(
            each.others.tolist(), each.scores.tolist(), strict=True
        ):
            if (ids[other], score) not in noted:
                yield document_id, ids[other], score


def _left(ids: Sequence[str], lists: Sequence[Joined]) -> Iterator[tuple[str, str]]:
    """Who is not in *lists* any more."""
    for each in lists:
        now = {ids[other] for other in each.others.tolist()}
        for other, _score in each.noted:
            if other not in now:
                yield ids[each.place], other
